//! A seed that is generated from the table of operations. It contains every operation that needs only activations of
//! one length, so that a new operation of this form is fuzzed from the start.

use super::meta;
use crate::builder::{Parts, Program};
use crate::operands::{Applied, applied};
use elbo::Likelihood;
use elbo::program::{Opcode, ProgramKind, TensorKind};

/// Elements of every vector.
const LEN: u32 = 4;

/// Applies every operation separately to noise, and sums half the squares of all results.
pub(super) fn table() -> Parts {
    let mut parts = Parts::new();
    parts.program(ProgramKind::SampleDensity, |p| {
        let noise = [p.normal(LEN), p.normal(LEN), p.normal(LEN)];
        let operations = Opcode::ALL.into_iter().filter_map(of_vectors);
        let mut scalars: Vec<u16> = operations.map(|applied| apply(p, applied, noise)).collect();
        // Terms are added in pairs, so that the bound of the sum doubles with every level and not with every term.
        while scalars.len() > 1 {
            scalars = scalars
                .chunks(2)
                .map(|pair| if let [a, b] = *pair { p.scalar(Opcode::Add, &[a, b], 0) } else { pair[0] })
                .collect();
        }
        p.outputs(&[noise[0], scalars[0]]);
    });
    parts.meta = meta("table", Likelihood::Gaussian, LEN as u16);
    parts
}

/// An operation that needs only vectors of one length.
fn of_vectors(opcode: Opcode) -> Option<Applied> {
    let settled = opcode.inputs() > 0 && opcode.rules().output_len(LEN).is_some();
    let applied = applied(opcode, &[LEN]).into_iter().next()?;
    let takes_vectors = applied.inputs.iter().all(|input| input.kind == TensorKind::I16);
    (settled && takes_vectors).then_some(applied)
}

fn apply(p: &mut Program<'_>, Applied { op, inputs, output }: Applied, noise: [u16; 3]) -> u16 {
    let result = p.op(op, &noise[..inputs.len()], output);
    if output.kind == TensorKind::I16 {
        p.scalar(Opcode::HalfSumSq, &[result], 0)
    } else if output.len > 1 {
        p.scalar(Opcode::Mean, &[result], 0)
    } else {
        result
    }
}
