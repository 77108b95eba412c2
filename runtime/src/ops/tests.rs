use super::*;
use crate::kernel::Packing;
use crate::ops::record::TensorKind;

#[test]
fn codes_count_from_one() {
    for (index, opcode) in Opcode::ALL.into_iter().enumerate() {
        assert_eq!(opcode as usize, index + 1);
        assert_eq!(Opcode::from_code(index as u32 + 1), opcode);
    }
    assert_eq!(Opcode::from_code(0), Opcode::Invalid);
    assert_eq!(Opcode::from_code(Opcode::ALL.len() as u32 + 1), Opcode::Invalid);
}

#[test]
fn an_operation_has_steps_if_it_is_compiled() {
    assert!(!Opcode::Invalid.included());
    assert!(Opcode::ALL.iter().all(|opcode| opcode.included() == opcode.compiled()));
}

#[test]
fn features_have_their_names() {
    let features = |opcode: Opcode| opcode.features().collect::<std::vec::Vec<_>>();
    assert!(features(Opcode::Dense).is_empty());
    assert_eq!(features(Opcode::Conv), ["conv"]);
    assert_eq!(features(Opcode::Select), ["dlgm", "mixture"]);
}

#[test]
fn work_grows_with_what_an_operation_touches() {
    let matrix = |rows, cols| {
        move |_: u16| {
            let (packing, input_bound, output_bound) = (Some(Packing::RowMajor), 1, 1);
            Some(Matrix { rows, cols, packing, input_bound, output_bound, params: 0, weights: 0 })
        }
    };
    let op = |opcode| Op { opcode, param: 0, output: 0, inputs: [0; 3], arg: 0, imm: 0 };
    let vector = |len| Tensor { kind: TensorKind::I16, len, ..Tensor::default() };
    let cost = |opcode, rows, cols| {
        op_cost(&op(opcode), &[vector(10), vector(100), vector(9)], &vector(2), &matrix(rows, cols))
    };
    let work = |opcode| cost(opcode, 3, 5).work;
    assert_eq!((work(Opcode::Relu), work(Opcode::Concat)), (92 + 3 * 10, 72 + 3 * (10 + 100)));
    if cfg!(feature = "loops") {
        assert_eq!((work(Opcode::Loop), work(Opcode::End)), (72, 72 + 3 * 10));
        let scalars = Tensor { kind: TensorKind::Nats, ..vector(10) };
        assert_eq!(op_cost(&op(Opcode::End), &[scalars; 3], &scalars, &matrix(3, 5)).work, 72 + 12 * 10);
    }
    if cfg!(feature = "flow") {
        // A step of two coordinates has five parameters, or four if it is radial.
        assert_eq!(work(Opcode::Planar), 128 + 20 * 280 + 100 * 18);
        assert_eq!(work(Opcode::Radial), 128 + 25 * 400 + 100 * 36);
    }
    // The columns fill two words.
    assert_eq!(cost(Opcode::Dense, 3, 5), Cost { work: 120 + 3 * (8 + 5), macs: 15 });
    // The number of weights exceeds 32 bits.
    let most = cost(Opcode::Dense, 1 << 16, 1 << 16);
    assert_eq!(most, Cost { work: (1 << 32) + (5 << 16) + 120, macs: 1 << 32 });
}
