//! Convolutions and transposed convolutions. The [kernel](crate::kernel::conv()) is the definition.

use super::bounds::{FULL, OperandError, require};
use super::machine::{Machine, Step, range};
use super::{Count, Matrices, Operation, Steps, Transform};
use crate::kernel::{self, ConvGeometry, DenseMatrix};
use crate::ops::record::Op;

pub(super) struct Conv;

impl Operation for Conv {
    const STEPS: Steps = Steps::of(184, 0);
    const EXTRA_BOUND: u16 = FULL;

    /// The largest bound of the matrices of its phases. The matrices must fit together.
    fn bound(o: &Step<'_>, matrices: &Matrices<'_>) -> Result<u16, OperandError> {
        use OperandError::{Bound, Kind, Shape};
        let geometry = ConvGeometry::unpack(o.op.imm, o.op.param);
        require(geometry.is_valid(), Shape)?;
        let first = matrices(o.op.arg).ok_or(Kind)?;
        let channels = first.cols / geometry.taps(0).max(1);
        require(geometry.input_len(channels) == Some(o.a().len()), Shape)?;
        require(geometry.output_len(first.rows) == Some(o.y().len()), Shape)?;
        let mut largest = 1;
        for phase in 0..geometry.phases() {
            let index = u16::try_from(phase).ok().and_then(|phase| o.op.arg.checked_add(phase));
            let matrix = index.and_then(matrices).ok_or(Kind)?;
            let cols = geometry.taps(phase).checked_mul(channels);
            require(cols == Some(matrix.cols) && matrix.rows == first.rows, Shape)?;
            require(o.a().bound() <= matrix.input_bound, Bound)?;
            largest = largest.max(matrix.output_bound);
        }
        Ok(largest)
    }

    fn scratch_len(op: &Op, matrices: &Matrices<'_>) -> Option<u32> {
        let geometry = ConvGeometry::unpack(op.imm, op.param);
        let matrix = matrices(op.arg).filter(|_| geometry.is_valid())?;
        geometry.scratch_len(matrix.cols.checked_div(geometry.taps(0))?, matrix.rows)
    }

    fn cost(o: &Step<'_>, matrices: &Matrices<'_>) -> Count {
        let op = &o.op;
        matrices(op.arg).map_or(Count::of_steps(0), |matrix| {
            let geometry = ConvGeometry::unpack(op.imm, op.param);
            let channels = matrix.cols.checked_div(geometry.taps(0)).unwrap_or(0);
            let macs = geometry.macs(channels, matrix.rows);
            let gathered = geometry.macs(channels, 1).saturating_mul(3).saturating_add(geometry.macs(1, 1) * TAP);
            let pixels = u64::from(geometry.output_len(1).unwrap_or(0));
            let patches = pixels * (PATCH + u64::from(matrix.rows) * ROW) + u64::from(geometry.phases()) * PHASE;
            let counted = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
            Count { work: counted(macs.saturating_add(gathered).saturating_add(patches)), macs: counted(macs) }
        })
    }
}

/// Steps of each pixel of a gathered patch.
const TAP: u64 = 10;
/// Steps of each phase.
const PHASE: u64 = 42;
/// Steps of each output pixel.
const PATCH: u64 = 86;
/// Steps of each channel of an output pixel, besides those of its weights.
const ROW: u64 = 9;

impl Transform for Conv {
    fn run(machine: &mut Machine<'_, '_>, step: &Step<'_>) {
        let (op, a, scratch, y) = (&step.op, step.a(), step.c(), step.y());
        let ranges = [a, scratch, y].map(|tensor| range(tensor.offset(), tensor.len()));
        if let Ok([x, scratch, out]) = machine.arena.get_disjoint_mut(ranges) {
            let geometry = ConvGeometry::unpack(op.imm, op.param);
            let matrix = |phase: u32| machine.scope.dense_matrix(op.arg.checked_add(u16::try_from(phase).ok()?)?);
            let Some(first) = matrix(0) else { return };
            // The cost follows from the first matrix. After a change of the flash the others may have other sides.
            let channels = first.cols.checked_div(geometry.taps(0) as usize).unwrap_or_default();
            let fits = |phase: u32, m: &DenseMatrix<'_>| {
                m.rows == first.rows && m.cols == channels * geometry.taps(phase) as usize
            };
            let matrices = |phase: usize| matrix(phase as u32).filter(|m| fits(phase as u32, m));
            kernel::conv(x, geometry, matrices, scratch, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Packing;
    use crate::ops::record::{Matrix, Op, Tensor};
    use crate::ops::{Opcode, op_cost};

    #[test]
    fn work_of_the_largest_convolution_fits() {
        let geometry =
            ConvGeometry { height: 255, width: 255, kernel: 15, stride: 1, up: 15, pad: 0, output_padding: 14 };
        let (imm, param) = geometry.pack();
        let op = Op { opcode: Opcode::Conv, param, output: 0, inputs: [0; 3], arg: 0, imm };
        for size in [1 << 16, u32::MAX] {
            let packing = Some(Packing::RowMajor);
            let matrix =
                Matrix { rows: size, cols: size, packing, input_bound: 1, output_bound: 1, params: 0, weights: 0 };
            let cost = op_cost(&op, &[Tensor::default(); 3], &Tensor::default(), &|_| Some(matrix));
            assert!(cost.work > cost.macs || cost.macs == u64::MAX, "{cost:?}");
        }
    }
}
