//! Lifetimes of tensors: the shortest ones that the runtime accepts.

use crate::error::WriteError;
use alloc::vec::Vec;
use elbo::program::{Op, Tensor};

/// Sets `last` of every tensor. It is the last operation that reads the tensor. If a loop reads a tensor from outside,
/// it is the end of the outermost such loop. For an output of the program it is the number of operations + 1. The
/// output of a loop lives at least until the loop's end.
pub(crate) fn settle(tensors: &mut [Tensor], ops: &[Op], outputs: &[u16]) -> Result<(), WriteError> {
    for tensor in tensors.iter_mut() {
        tensor.last = tensor.first;
    }
    // Operations count from 1. An inner loop ends, and is listed here, before the loops around it.
    let (mut open, mut loops): (Vec<u16>, Vec<(u16, u16)>) = (Vec::new(), Vec::new());
    for (op, here) in ops.iter().zip(1u16..) {
        for input in op.inputs {
            if let Some(tensor) = tensors.get_mut(usize::from(input)) {
                tensor.last = tensor.last.max(here);
            }
        }
        let facts = op.opcode.facts();
        if facts.opens_loop() {
            open.push(here);
        } else if facts.closes_loop() {
            loops.extend(open.pop().map(|start| (start, here)));
        }
    }
    for (start, end) in &loops {
        for tensor in tensors.iter_mut() {
            // A tensor that was written before a loop and is read inside is read again by every iteration.
            if (tensor.first <= *start && tensor.last > *start) || tensor.first == *start {
                tensor.last = tensor.last.max(*end);
            }
        }
    }
    for output in outputs {
        if let Some(tensor) = tensors.get_mut(usize::from(*output)) {
            tensor.last = ops.len() as u16 + 1;
        }
    }
    let leaves = |tensor: &Tensor| {
        loops.iter().any(|(start, end)| *start < tensor.first && tensor.first < *end && *end < tensor.last)
    };
    tensors.iter().position(leaves).map_or(Ok(()), |tensor| Err(WriteError::LeavesLoop { tensor }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::operation;
    use elbo::program::Opcode;

    fn settled(ops: &[Op], outputs: &[u16]) -> Result<Vec<(u16, u16)>, WriteError> {
        let writer = |tensor: u16| ops.iter().position(|op| op.writes(tensor)).map_or(0, |op| op as u16 + 1);
        let mut tensors: Vec<Tensor> = (0..7).map(|t| Tensor { first: writer(t), ..Tensor::default() }).collect();
        settle(&mut tensors, ops, outputs)?;
        Ok(tensors.iter().map(|tensor| (tensor.first, tensor.last)).collect())
    }

    fn nested(last_read: u16) -> [Op; 8] {
        let writing = |opcode, inputs: &[u16], output| Op { output, ..operation(opcode, inputs) };
        [
            writing(Opcode::Relu, &[0], 1),
            writing(Opcode::Loop, &[], 2),
            writing(Opcode::Relu, &[1], 3),
            writing(Opcode::Loop, &[], 4),
            writing(Opcode::AddVec, &[0, 3], 5),
            operation(Opcode::End, &[5]),
            operation(Opcode::End, &[3]),
            writing(Opcode::Relu, &[last_read], 6),
        ]
    }

    #[test]
    fn loops_keep_alive_what_they_read_from_outside() {
        let lives = settled(&nested(2), &[6]).unwrap();
        // Tensor 0 is read in the inner loop and was written before both loops. Tensor 3 was written inside the outer
        // loop.
        assert_eq!(lives, [(0, 7), (1, 7), (2, 8), (3, 7), (4, 6), (5, 6), (8, 9)]);
    }

    #[test]
    fn what_a_loop_writes_does_not_leave_it() {
        assert_eq!(settled(&nested(5), &[6]), Err(WriteError::LeavesLoop { tensor: 5 }));
        assert_eq!(settled(&nested(2), &[3]), Err(WriteError::LeavesLoop { tensor: 3 }));
    }

    #[test]
    fn what_nothing_reads_dies_where_it_is_written() {
        let lives = settled(&nested(0), &[6]).unwrap();
        assert_eq!((lives[0], lives[2]), ((0, 8), (2, 7)));
    }
}
