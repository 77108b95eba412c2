//! The seeds, linked into the program's image.

macro_rules! seeds {
    ($($name:literal),*) => {
        /// The stored seeds by name: small valid blobs that together cover every operation.
        pub static SEEDS: &[(&str, &[u8])] = &[$(($name, {
            static BYTES: &[u8] = elbo::include_blob!(concat!("../../seeds/", $name, ".elbo"));
            BYTES
        })),*];
    };
}
seeds!(
    "bernoulli",
    "gaussian",
    "elementwise",
    "nested",
    "decode",
    "coupling",
    "flow",
    "dlgm",
    "adgm",
    "conv",
    "mixture",
    "front",
    "table"
);
