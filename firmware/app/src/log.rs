//! Logs through defmt if the feature `defmt` is enabled, and does nothing otherwise.

macro_rules! info {
    ($($argument:tt)*) => {{
        #[cfg(feature = "defmt")]
        defmt::info!($($argument)*);
    }};
}

macro_rules! warning {
    ($($argument:tt)*) => {{
        #[cfg(feature = "defmt")]
        defmt::warn!($($argument)*);
    }};
}

pub(crate) use {info, warning};
