//! Matrix products with the crate `gemm`, split into two halves by `rayon::join`.

use gemm::Parallelism;

/// A product with fewer multiply-accumulates than this stays on its thread.
const SPLIT_AT: usize = 1 << 18;

/// One product `dst = lhs rhs`, dimensions `[m, n] = [m, k] [k, n]`, strides in elements.
#[derive(Clone, Copy)]
pub(super) struct Product {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub dst: *mut f32,
    /// Row stride of `dst`; its column stride is 1.
    pub dst_rs: usize,
    pub lhs: *const f32,
    pub lhs_rs: usize,
    pub lhs_cs: usize,
    pub rhs: *const f32,
    pub rhs_rs: usize,
    pub rhs_cs: usize,
    /// Whether the product is added to `dst`. Otherwise it overwrites `dst`.
    pub add: bool,
}

// SAFETY: a product only carries addresses; whoever runs it answers for them (see `run`).
unsafe impl Send for Product {}
// SAFETY: as above.
unsafe impl Sync for Product {}

impl Product {
    /// `[m, n] = [m, k] [k, n]` over dense row-major storage; a transposed operand is stored `[k, m]` or `[n, k]`.
    pub fn new(size: (usize, usize, usize), dst: *mut f32, lhs: (*const f32, bool), rhs: (*const f32, bool)) -> Self {
        let (m, n, k) = size;
        let (lhs_rs, lhs_cs) = if lhs.1 { (1, m) } else { (k, 1) };
        let (rhs_rs, rhs_cs) = if rhs.1 { (1, k) } else { (n, 1) };
        Self { m, n, k, dst, dst_rs: n, lhs: lhs.0, lhs_rs, lhs_cs, rhs: rhs.0, rhs_rs, rhs_cs, add: false }
    }

    /// Whether the product is large enough for two threads.
    pub fn large(&self) -> bool {
        self.m * self.n * self.k >= SPLIT_AT
    }

    /// Whether [`Self::halves`] splits the columns. Otherwise it splits the rows.
    pub fn cuts_columns(&self) -> bool {
        self.n >= self.m
    }

    /// Where [`Self::halves`] splits: about in the middle, at a multiple of 16 if the side is long enough.
    pub fn cut(&self) -> usize {
        let whole = if self.cuts_columns() { self.n } else { self.m };
        if whole >= 64 { (whole / 2).next_multiple_of(16) } else { whole / 2 }
    }

    /// Two products that each compute half of the longer side of `dst`.
    pub fn halves(self) -> (Self, Self) {
        let (mut a, mut b) = (self, self);
        let at = self.cut();
        if self.cuts_columns() {
            (a.n, b.n) = (at, self.n - at);
            b.dst = self.dst.wrapping_add(at);
            b.rhs = self.rhs.wrapping_add(at * self.rhs_cs);
        } else {
            (a.m, b.m) = (at, self.m - at);
            b.dst = self.dst.wrapping_add(at * self.dst_rs);
            b.lhs = self.lhs.wrapping_add(at * self.lhs_rs);
        }
        (a, b)
    }

    /// Computes the product on this thread into `dst`.
    ///
    /// # Safety
    /// `lhs` and `rhs` are readable over the stated dimensions and strides, and `dst` is writable (and readable, to be
    /// added to). Nothing else accesses that part of `dst` meanwhile, and `dst` overlaps neither operand.
    pub unsafe fn run(&self) {
        if self.m == 0 || self.n == 0 {
            return;
        }
        // SAFETY: the caller's promise.
        unsafe {
            gemm::gemm(
                self.m,
                self.n,
                self.k,
                self.dst,
                1,
                self.dst_rs as isize,
                self.add,
                self.lhs,
                self.lhs_cs as isize,
                self.lhs_rs as isize,
                self.rhs,
                self.rhs_cs as isize,
                self.rhs_rs as isize,
                if self.add { 1.0f32 } else { 0.0 },
                1.0f32,
                false,
                false,
                false,
                Parallelism::None,
            );
        }
    }
}

/// Like [`matmul`], but on this thread. The product is added to `out` if `add` is true.
pub(super) fn product(
    size: (usize, usize, usize),
    lhs: (&[f32], bool),
    rhs: (&[f32], bool),
    out: &mut [f32],
    add: bool,
) {
    let (m, n, k) = size;
    assert_eq!((lhs.0.len(), rhs.0.len(), out.len()), (m * k, k * n, m * n), "matrix dimensions");
    let product = Product::new(size, out.as_mut_ptr(), (lhs.0.as_ptr(), lhs.1), (rhs.0.as_ptr(), rhs.1));
    // SAFETY: the lengths were checked and `out` is borrowed exclusively.
    unsafe { Product { add, ..product }.run() };
}

/// `out [m, n] = lhs [m, k] rhs [k, n]`, all row-major. A large product is computed by two threads.
///
/// An operand is `(values, transposed)`. If `transposed` is true, `lhs` is stored as `[k, m]` and `rhs` as `[n, k]`.
///
/// # Panics
/// The length of a slice is not that of its matrix.
pub fn matmul(size: (usize, usize, usize), lhs: (&[f32], bool), rhs: (&[f32], bool), out: &mut [f32]) {
    let (m, n, k) = size;
    assert_eq!((lhs.0.len(), rhs.0.len(), out.len()), (m * k, k * n, m * n), "matrix dimensions");
    let product = Product::new(size, out.as_mut_ptr(), (lhs.0.as_ptr(), lhs.1), (rhs.0.as_ptr(), rhs.1));
    // SAFETY: the lengths were checked, `out` is borrowed exclusively, and the halves write disjoint parts of it.
    unsafe {
        if product.large() {
            let (a, b) = product.halves();
            rayon::join(|| a.run(), || b.run());
        } else {
            product.run();
        }
    }
}
