//! Matrices: shape, layout, padding, and accumulators that cannot overflow.

use crate::{base, breaks, load};
use elbo::LoadError as E;
use elbo::kernel::Packing;
use elbo_fuzz_blobs::builder::Parts;

#[test]
fn matrices() {
    for matrix in 0..2u16 {
        let at = usize::from(matrix);
        breaks(E::MatrixShape { matrix }, |p| p.matrices[at].packing = None);
        for wrong in [0, 65537] {
            breaks(E::MatrixShape { matrix }, |p| p.matrices[at].rows = wrong);
            breaks(E::MatrixShape { matrix }, |p| p.matrices[at].cols = wrong);
        }
        for wrong in [0, 32769] {
            breaks(E::MatrixShape { matrix }, |p| p.matrices[at].input_bound = wrong);
        }
        breaks(E::MatrixLayout { matrix }, |p| p.matrices[at].params += 1);
        breaks(E::MatrixLayout { matrix }, |p| p.matrices[at].weights -= 1);
        breaks(E::OutputBound { matrix }, |p| p.matrices[at].output_bound += 1);
        let (params, weights) = (base().matrices[at].params as usize, base().matrices[at].weights as usize);
        // Row 3 pads three rows to four, bytes 1.. of a row's second word pad five columns to eight.
        breaks(E::Padding { matrix }, |p| p.data[params + 3] = 1);
        breaks(E::Padding { matrix }, |p| p.data[params + 7] = 1);
        let second = if matrix == 0 { 1 } else { 4 };
        breaks(E::Padding { matrix }, |p| p.data[weights + second] |= 1 << 8);
        breaks(E::Padding { matrix }, |p| p.data[weights + second] |= 1 << 31);
        for row in 0..3u16 {
            let lane = usize::from(row);
            breaks(E::Overflow { matrix, row }, |p| p.data[params + lane] = i32::MAX as u32);
            breaks(E::Overflow { matrix, row }, |p| p.data[params + lane] = i32::MIN as u32);
            breaks(E::Overflow { matrix, row }, |p| p.data[params + 4 + lane] = 1 << 31);
        }
    }
    breaks(E::Padding { matrix: 1 }, |p| p.data[p.matrices[1].weights as usize + 3] = 1);
    breaks(E::MatrixLayout { matrix: 2 }, |p| p.data.push(0));
    breaks(E::MatrixLayout { matrix: 1 }, |p| _ = p.data.pop());
    breaks(E::MatrixLayout { matrix: 1 }, |p| p.data.truncate(p.matrices[1].params as usize + 3));
}

#[test]
fn the_widest_row_overflows_and_a_lighter_one_does_not() {
    for packing in [Packing::RowMajor, Packing::Dsp4] {
        let mut parts = Parts::new();
        parts.matrix([1, 65536], packing, 255, |_, _| -128, |_| 0, |_| 1 << 30);
        assert_eq!(load(&parts.words()), Ok(()));
        parts.matrices[0].input_bound = 32768;
        assert_eq!(load(&parts.words()), Err(E::Overflow { matrix: 0, row: 0 }));
    }
}
