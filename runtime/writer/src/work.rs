//! The number of steps of a run: the cost of every operation, multiplied by the iterations of the loops around it.

use core::fmt;
use elbo::program::{Cost, MAX_LOOP_DEPTH, Matrix, Op, Opcode, Tensor, op_cost};

/// Loops are nested more deeply than a program allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooDeep;

impl fmt::Display for TooDeep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "loops are nested more than {MAX_LOOP_DEPTH} deep")
    }
}

impl core::error::Error for TooDeep {}

/// Counts the work of a program from its operations, which are passed in order. Sums saturate, and the runtime refuses
/// a program whose work is `u64::MAX`.
#[derive(Clone, Debug)]
pub struct WorkCounter {
    total: Cost,
    /// How often an operation runs outside every loop, in the outermost loop, and so on.
    repeats: [u64; MAX_LOOP_DEPTH + 1],
    depth: usize,
}

impl Default for WorkCounter {
    fn default() -> Self {
        Self { total: Cost::default(), repeats: [1; MAX_LOOP_DEPTH + 1], depth: 0 }
    }
}

impl WorkCounter {
    /// Counts the next operation. The arguments are the tensors that it reads, the one that it writes, and the
    /// program's matrices.
    ///
    /// # Errors
    /// [`TooDeep`] for a loop inside [`MAX_LOOP_DEPTH`] others. It is not counted.
    pub fn count(
        &mut self,
        op: &Op,
        inputs: &[Tensor; 3],
        output: &Tensor,
        matrices: &dyn Fn(u16) -> Option<Matrix>,
    ) -> Result<(), TooDeep> {
        let cost = op_cost(op, inputs, output, matrices);
        let repeat = self.repeats.get(self.depth).copied().unwrap_or(1);
        if op.opcode == Opcode::Loop {
            let inside = self.repeats.get_mut(self.depth + 1).ok_or(TooDeep)?;
            *inside = repeat.saturating_mul(u64::from(op.imm));
            self.depth += 1;
        } else if op.opcode == Opcode::End {
            self.depth = self.depth.saturating_sub(1);
        }
        self.total.work = self.total.work.saturating_add(cost.work.saturating_mul(repeat));
        self.total.macs = self.total.macs.saturating_add(cost.macs.saturating_mul(repeat));
        Ok(())
    }

    /// The cost of a run of the operations so far.
    pub fn total(&self) -> Cost {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use elbo::program::NO_TENSOR;

    fn count(counter: &mut WorkCounter, opcode: Opcode, imm: u32, len: u32) -> Result<(), TooDeep> {
        let op = Op { opcode, param: 0, output: 0, inputs: [NO_TENSOR; 3], arg: 0, imm };
        let tensor = Tensor { len, ..Tensor::default() };
        let matrix = Matrix { rows: 3, cols: 5, packing: None, input_bound: 1, output_bound: 1, params: 0, weights: 0 };
        counter.count(&op, &[tensor; 3], &tensor, &|index| (index == 0).then_some(matrix))
    }

    #[test]
    fn loops_multiply_what_they_repeat_and_nothing_after_them() {
        let mut counter = WorkCounter::default();
        count(&mut counter, Opcode::Loop, 7, 7).unwrap();
        count(&mut counter, Opcode::Loop, 2, 2).unwrap();
        count(&mut counter, Opcode::Dense, 0, 5).unwrap();
        count(&mut counter, Opcode::End, 0, 1).unwrap();
        count(&mut counter, Opcode::End, 0, 3).unwrap();
        count(&mut counter, Opcode::Relu, 0, 10).unwrap();
        // The outer loop, the inner one, three rows of two words, the ends with one and with three elements, a map.
        let work = 72 + 7 * 72 + 14 * (120 + 3 * (8 + 5)) + 14 * (72 + 3) + 7 * (72 + 9) + (92 + 10 * 3);
        assert_eq!(counter.total(), Cost { work, macs: 14 * 15 });
    }

    #[test]
    fn sums_saturate_and_the_depth_is_limited() {
        let mut counter = WorkCounter::default();
        for _ in 0..MAX_LOOP_DEPTH {
            count(&mut counter, Opcode::Loop, u32::MAX, 1).unwrap();
        }
        assert_eq!(count(&mut counter, Opcode::Loop, 2, 1), Err(TooDeep));
        assert_eq!(counter.total().work, u64::MAX);
    }
}
