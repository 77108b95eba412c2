//! Memory for a session.

/// Memory of `N` halfwords, aligned for every kernel. `N` must be at least
/// [`Model::arena_len`](crate::Model::arena_len).
///
/// ```
/// static ARENA: elbo::Arena<1024> = elbo::Arena::new();
/// ```
#[derive(Debug)]
#[repr(C, align(8))]
pub struct Arena<const N: usize>([i16; N]);

impl<const N: usize> Arena<N> {
    /// Creates an arena of zeros. A `static` arena takes no flash.
    pub const fn new() -> Self {
        Self([0; N])
    }

    /// The halfwords, for [`Model::session`](crate::Model::session).
    pub fn as_mut_slice(&mut self) -> &mut [i16] {
        &mut self.0
    }
}

impl<const N: usize> Default for Arena<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// Links the contents of a blob file into the program, aligned to 16 bytes, as a `&'static [u8]`.
///
/// ```
/// # macro_rules! include_bytes { ($path:expr) => { b"ELBO" } }
/// static MODEL: &[u8] = elbo::include_blob!("../tests/data/digits.elbo");
/// # assert_eq!(MODEL.as_ptr() as usize % 16, 0);
/// ```
#[macro_export]
macro_rules! include_blob {
    ($path:expr) => {{
        #[repr(C, align(16))]
        struct Aligned<T: ?Sized>(T);
        static BLOB: &Aligned<[u8]> = &Aligned(*include_bytes!($path));
        &BLOB.0
    }};
}
