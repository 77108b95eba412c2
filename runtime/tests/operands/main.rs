//! Tests `bounds::output_bounds`: the requirements of every operation on its operands, violated one at a time.

mod case;
#[cfg(feature = "conv")]
mod convolutions;
mod lengths;
mod scales;

use case::{Case, case, vector};
use elbo::bounds::OperandError as E;
use elbo::program::Opcode;

/// The operations of this build.
fn opcodes() -> impl Iterator<Item = Opcode> {
    Opcode::ALL.into_iter().filter(|opcode| opcode.compiled())
}

#[track_caller]
fn gives(opcode: Opcode, expected: Result<u16, E>, edit: impl FnOnce(&mut Case)) {
    let mut case = case(opcode);
    edit(&mut case);
    let expected = if opcode.compiled() { expected } else { Err(E::Kind) };
    assert_eq!(case.bounds().map(|bounds| bounds[0]), expected, "{opcode:?}");
}

#[test]
fn bounds_that_follow() {
    for opcode in Opcode::ALL {
        let case = case(opcode);
        let expected = if opcode.compiled() { Ok([case.bound, case.extra]) } else { Err(E::Kind) };
        assert_eq!(case.bounds(), expected, "{opcode:?}");
    }
    assert_eq!(case(Opcode::Invalid).bounds(), Err(E::Kind));
}

#[test]
fn what_is_written_declares_nothing() {
    for opcode in opcodes().filter(|opcode| *opcode != Opcode::Loop) {
        let mut case = case(opcode);
        case.output.bound = 13;
        if opcode.writes_extra() {
            case.inputs[2].bound = 13;
        }
        assert_eq!(case.bounds(), Ok([case.bound, case.extra]), "{opcode:?}");
    }
}

#[test]
fn operands_that_do_not_exist_have_no_effect() {
    for opcode in opcodes() {
        let mut case = case(opcode);
        let used = if opcode.writes_extra() { 3 } else { opcode.inputs() };
        let unused = if matches!(opcode, Opcode::Conv | Opcode::Couplings) { 1..2 } else { used..3 };
        for slot in unused {
            case.inputs[slot] = vector(3, 999, 77);
        }
        assert_eq!(case.bounds(), Ok([case.bound, case.extra]), "{opcode:?}");
    }
}
