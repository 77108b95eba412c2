//! Memory for a session.

/// `N` halfwords, aligned for every kernel; `N` is [`Model::arena_len`](crate::Model::arena_len) or more.
///
/// ```
/// static ARENA: elbo::Arena<1024> = elbo::Arena::new();
/// ```
#[derive(Debug)]
#[repr(C, align(8))]
pub struct Arena<const N: usize>([i16; N]);

impl<const N: usize> Arena<N> {
    /// An arena of zeros, which costs no flash in a `static`.
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

/// A blob from a file, linked into the program at a multiple of 16 bytes: `&'static [u8]`.
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
