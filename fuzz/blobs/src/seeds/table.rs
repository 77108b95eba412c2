//! A seed that is generated from the table of operations. It contains every operation that needs only activations of
//! one length, so that a new operation of this form is fuzzed from the start.

use super::meta;
use crate::builder::{Parts, Program, nats_of, vector_of};
use elbo::Likelihood;
use elbo::program::{Extra, NO_TENSOR, Op, Opcode, ProgramKind, ScaleRule, TensorKind};

/// Elements of every vector.
const LEN: u32 = 4;
/// Values of the field `imm`: a fraction in Q15, an interval, zero. An operation that uses the field gets the first
/// value that it accepts.
const IMMEDIATES: [u32; 3] = [1 << 13, 0x1000_E000, 0];

/// Applies every operation separately to noise, and sums half the squares of all results.
pub(super) fn table() -> Parts {
    let mut parts = Parts::new();
    parts.program(ProgramKind::SampleDensity, |p| {
        let noise = [p.normal(LEN), p.normal(LEN), p.normal(LEN)];
        let mut scalars: Vec<u16> =
            Opcode::ALL.into_iter().filter(|opcode| follows(*opcode)).map(|opcode| apply(p, opcode, noise)).collect();
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

/// Whether an operation needs only vectors of one length.
fn follows(opcode: Opcode) -> bool {
    let rules = opcode.rules();
    let takes_vectors =
        rules.inputs() > 0 && (0..rules.inputs()).all(|slot| rules.input_kind(slot) == Some(TensorKind::I16));
    let settled = rules.output_len(LEN).is_some() && rules.extra() == Extra::None && !rules.uses_arg();
    takes_vectors && settled
}

fn apply(p: &mut Program<'_>, opcode: Opcode, noise: [u16; 3]) -> u16 {
    let rules = opcode.rules();
    let inputs = &noise[..rules.inputs()];
    let frac = if let ScaleRule::Exactly(frac) = rules.written_scale() { frac } else { 12 };
    let in_nats = rules.output_kind() == Some(TensorKind::Nats);
    let output = if in_nats { nats_of(rules.output_len(LEN).unwrap_or(1)) } else { vector_of(LEN, frac) };
    let immediates = if rules.uses_imm() { &IMMEDIATES[..] } else { &[0] };
    let op = |imm| Op { opcode, param: 0, output: NO_TENSOR, inputs: [NO_TENSOR; 3], arg: 0, imm };
    let result = immediates.iter().find_map(|imm| p.try_op(op(*imm), inputs, output));
    let result = result.unwrap_or_else(|| panic!("{opcode:?} takes none of the table's operands"));
    if !in_nats {
        p.scalar(Opcode::HalfSumSq, &[result], 0)
    } else if output.len > 1 {
        p.scalar(Opcode::Mean, &[result], 0)
    } else {
        result
    }
}
