use super::*;
use crate::{BlobWriter, DenseLayer};
use elbo::coupling::{CouplingStack, HiddenActivation};
use elbo::kernel::{ConvGeometry, Packing};
use elbo::{Limits, LoadError, Model};
use std::string::ToString;

fn layer(blob: &mut BlobWriter, rows: usize, cols: usize) -> u16 {
    let (weights, bias, multiplier) = (std::vec![3; rows * cols], std::vec![1; rows], std::vec![1 << 29; rows]);
    let (weights, bias, multiplier) = (&weights[..], &bias[..], &multiplier[..]);
    let packing = Packing::RowMajor;
    blob.matrix(&DenseLayer { rows, cols, weights, bias, multiplier, packing, input_bound: FULL }).unwrap()
}

#[track_caller]
fn loads(blob: &BlobWriter) {
    let words = blob.finish();
    let loaded = Model::load(bytemuck::cast_slice(&words), Limits::host());
    assert_eq!(loaded.map(|_| ()), Ok::<(), LoadError>(()));
}

#[test]
fn every_helper_writes_what_the_runtime_proves() {
    let mut blob = BlobWriter::new();
    let dense = layer(&mut blob, 2, 3);
    let kernel = layer(&mut blob, 2, 4);
    let (translation, scale) = (layer(&mut blob, 1, 1), layer(&mut blob, 1, 1));
    assert_eq!((translation, scale), (2, 3));
    blob.program(ProgramKind::SampleDensity, |p| {
        let z = p.normal(3)?;
        let h = p.dense(z, dense, 11)?;
        let h = p.map_in_place(Opcode::Relu, &[h], 11, 0)?;
        let h = p.clamp(h, 10, -3000, 3000)?;
        let z = p.concat(h, z, 10)?;
        let z = p.slice(z, 1, 2)?;
        let activation = HiddenActivation::Identity;
        let stack = CouplingStack {
            couplings: 1,
            layers: 0,
            activation,
            sixteen: false,
            inverse: false,
            normal: false,
            scale_log2: 0,
        };
        let whole = p.couplings(stack, translation, 1, z, 10)?;
        let image = p.slice(whole, 0, 2)?;
        let params = p.normal(5)?;
        let x = p.flow(Opcode::Planar, image, params, false)?;
        let [first, second] = [whole, x].map(|output| p.extra_of(output).unwrap());
        let sum = p.scalar(Opcode::Add, &[first, second], 0)?;
        let sum = p.offset(sum, -65536)?;
        p.outputs(&[x, sum])
    })
    .unwrap();
    blob.program(ProgramKind::Classify, |p| {
        let x = p.input(9, 12, 4096)?;
        let geometry = ConvGeometry { height: 3, width: 3, kernel: 2, stride: 1, up: 1, pad: 0, output_padding: 0 };
        let y = p.conv(x, kernel, geometry, 12)?;
        let score = p.slice(y, 0, 1)?;
        let rows = p.begin_vectors(3, 3, 15)?;
        let class = p.one_hot(3, 12, 4096)?;
        let _ = p.map(Opcode::AddVec, &[score, score], 11, 0)?;
        let class = p.map(Opcode::Softmax, &[class], 15, 0)?;
        assert_eq!(p.end(class)?, rows);
        let y = p.mean_vectors(rows, 3)?;
        p.outputs(&[y])
    })
    .unwrap();
    loads(&blob);
}

#[test]
fn nested_loops_are_counted_as_the_runtime_counts_them() {
    let mut blob = BlobWriter::new();
    let write = |p: &mut ProgramWriter<'_>| {
        let x = p.input(4, 12, 4096)?;
        let outer = p.begin(5)?;
        let inner = p.begin(3)?;
        let noise = p.normal(4)?;
        let z = p.map(Opcode::AddVec, &[noise, x], 11, 0)?;
        let term = p.scalar(Opcode::HalfSumSq, &[z], 0)?;
        p.end(term)?;
        let mean = p.scalar(Opcode::Mean, &[inner], 0)?;
        p.end(mean)?;
        let y = p.scalar(Opcode::LogMeanExp, &[outer], 0)?;
        p.outputs(&[y])
    };
    blob.program(ProgramKind::ScoreMonteCarlo, write).unwrap();
    // The proof compares work and lifetimes with those that it computes.
    loads(&blob);
    let record = blob.records().programs[0];
    // Noise, a sum, half the squares, the end; then the inner loop, a mean, the end; then the outer loop and the bound.
    let inner = 15 * ((72 + 4 * 7) + (72 + 4 * 6) + (112 + 4) + (72 + 12));
    let outer = 5 * (72 + (272 + 3 * 6) + (72 + 12));
    assert_eq!((record.work, record.macs), (inner + outer + 72 + (140 + 5 * 29), 0));
    assert_eq!(blob.records().tensors[0].last, 8, "every iteration of both reads the input");
}

#[test]
fn an_extra_comes_before_or_after_and_nothing_else_changes() {
    let program = |first: bool| {
        let mut p = ProgramWriter::new(ProgramKind::SampleDensity, &[]);
        if first {
            p.extra_first();
        }
        let (z, params) = (p.normal(2).unwrap(), p.normal(5).unwrap());
        let y = p.flow(Opcode::Planar, z, params, false).unwrap();
        let third = p.extra_of(y).unwrap();
        p.outputs(&[y, third]).unwrap();
        p.finish().unwrap()
    };
    let (after, before) = (program(false), program(true));
    assert_eq!((after.outputs, before.outputs), ([2, 3], [3, 2]));
    for [output, third] in [[after.tensors[2], after.tensors[3]], [before.tensors[3], before.tensors[2]]] {
        assert_eq!((output.kind, output.len, third.kind, third.len), (TensorKind::I16, 2, TensorKind::Nats, 1));
        assert_eq!((output.first, output.last, third.first, third.last), (3, 4, 3, 4));
    }
    assert_eq!((after.work, after.arena_len()), (before.work, before.arena_len()));
}

#[test]
fn a_planner_may_move_what_is_not_alive_together() {
    let mut blob = BlobWriter::new();
    let mut p = ProgramWriter::new(ProgramKind::Reconstruct, &[]);
    let x = p.input(6, 12, 4096).unwrap();
    let tanh = p.map(Opcode::Tanh, &[x], 15, 0).unwrap();
    let y = p.map(Opcode::Sigmoid, &[tanh], 15, 0).unwrap();
    p.outputs(&[y]).unwrap();
    let mut program = p.finish().unwrap();
    assert_eq!(program.arena_len(), 24);
    program.tensors[usize::from(y)].offset = 0;
    blob.add(&program).unwrap();
    assert_eq!(blob.records().arena_len, 16);
    loads(&blob);
}

#[test]
fn refusals_say_which_operation_and_why() {
    let mut p = ProgramWriter::new(ProgramKind::Reconstruct, &[]);
    let x = p.input(4, 12, 4096).unwrap();
    let y = p.map(Opcode::Relu, &[x], 12, 0).unwrap();
    let before = (p.ops().to_vec(), p.tensors().to_vec());
    let operands = |opcode, reason| Err(WriteError::Operands { op: 1, opcode, reason });
    assert_eq!(p.map(Opcode::Relu, &[y], 11, 0), operands(Opcode::Relu, OperandError::Scale));
    assert_eq!(p.scalar(Opcode::Neg, &[y], 0), operands(Opcode::Neg, OperandError::Kind));
    assert_eq!(p.slice(y, 3, 2), operands(Opcode::Slice, OperandError::Shape));
    assert_eq!(p.clamp(y, 12, 5, 4), operands(Opcode::Clamp, OperandError::Bound));
    assert_eq!(p.dense(y, 0, 12), operands(Opcode::Dense, OperandError::Kind));
    assert_eq!(p.append(operation(Opcode::Invalid, &[]), vector(1, 0)), operands(Opcode::Invalid, OperandError::Kind));
    let reference = |opcode, tensor| Err(WriteError::Reference { op: 1, opcode, tensor });
    assert_eq!(p.map(Opcode::Relu, &[2], 12, 0), Err(WriteError::Reference { op: 1, opcode: Opcode::Relu, tensor: 2 }));
    assert_eq!(p.map(Opcode::Relu, &[x, y], 12, 0), reference(Opcode::Relu, y));
    assert_eq!(p.map(Opcode::AddVec, &[x], 12, 0), reference(Opcode::AddVec, NO_TENSOR));
    for wrong in [vector(0, 12), vector(65537, 12), vector(4, 16), Tensor::default()] {
        assert_eq!(p.append(operation(Opcode::Relu, &[y]), wrong), Err(WriteError::Tensor { tensor: 2 }));
    }
    assert_eq!(p.end(y), Err(WriteError::NoLoop { op: 1 }));
    assert_eq!(p.outputs(&[2]), Err(WriteError::Slots));
    assert_eq!(p.outputs(&[x, y, y]), Err(WriteError::Slots));
    assert_eq!((p.ops().to_vec(), p.tensors().to_vec()), before, "nothing was appended");
    assert_eq!(
        p.map(Opcode::Relu, &[y], 11, 0).unwrap_err().to_string(),
        "operation 1 (Relu) refuses its operands: it does not support their scales"
    );
}

#[test]
fn inputs_have_two_slots_and_a_bound() {
    let mut p = ProgramWriter::new(ProgramKind::Impute, &[]);
    assert_eq!(p.input(4, 12, 0), Err(WriteError::Tensor { tensor: 0 }));
    assert_eq!(p.input(4, 12, 32769), Err(WriteError::Tensor { tensor: 0 }));
    assert_eq!((p.input(4, 12, 1), p.input(4, 12, FULL)), (Ok(0), Ok(1)));
    assert_eq!(p.input(4, 12, 1), Err(WriteError::Slots));
}

#[test]
fn loops_are_ended_in_order_and_read_after_their_end() {
    let mut p = ProgramWriter::new(ProgramKind::Score, &[]);
    let x = p.input(4, 12, 4096).unwrap();
    let terms = p.begin(2).unwrap();
    let open = WriteError::Reference { op: 1, opcode: Opcode::Mean, tensor: terms };
    assert_eq!(p.scalar(Opcode::Mean, &[terms], 0), Err(open));
    assert_eq!(p.clone().finish(), Err(WriteError::OpenLoop { vector: terms }));
    assert_eq!(p.end(x), Err(WriteError::Operands { op: 1, opcode: Opcode::End, reason: OperandError::Kind }));
    for _ in 1..elbo::program::MAX_LOOP_DEPTH {
        p.begin(2).unwrap();
    }
    assert_eq!(p.begin(2), Err(WriteError::TooDeep { op: 4 }));
}
