//! Every operation at its extremes: the shortest and long operands, and the shapes that need the most and the fewest
//! instructions for the work that they count. A benchmark and a test compare the instructions with the work.

use crate::builder::{Parts, Program, nats_of, vector_of};
use crate::operands::{self, Applied, applied, record};
use elbo::coupling::{CouplingStack, HiddenActivation};
use elbo::front::{Bands, Statistic, Taper};
use elbo::kernel::{ConvGeometry, Packing};
use elbo::program::{Op, Opcode, ProgramKind, Tensor, TensorKind};

/// An operation with certain operands.
pub struct Extreme {
    /// The operation and its operands.
    pub name: String,
    /// Lengths of the vectors of noise that it reads.
    vectors: Vec<u32>,
    /// Number of scalars that it may read.
    scalars: u32,
    write: Box<Write>,
}

/// Writes the matrices of an operation and returns a function that appends it.
type Write = dyn Fn(&mut Parts) -> Box<Append>;
type Append = dyn Fn(&mut Program<'_>, &Operands);

/// What operations read.
struct Operands {
    vectors: Vec<u16>,
    scalar: u16,
    /// As many scalars as a long vector has elements.
    scalars: u16,
}

impl Extreme {
    fn new(name: String, long: u32, vectors: &[u32], write: impl Fn(&mut Parts) -> Box<Append> + 'static) -> Self {
        Self { name, vectors: vectors.to_vec(), scalars: long, write: Box::new(write) }
    }

    /// One that needs no matrices.
    fn plain(
        name: String,
        long: u32,
        vectors: &[u32],
        append: impl Fn(&mut Program<'_>, &Operands) + Clone + 'static,
    ) -> Self {
        Self::new(name, long, vectors, move |_| Box::new(append.clone()))
    }

    /// The words of a blob with two programs: [`ONCE`] runs the operation once and [`OFTEN`] [`TIMES`] times.
    pub fn words(&self) -> Vec<u32> {
        self.blob(&[(ONCE, 1), (OFTEN, TIMES)])
    }

    /// The words of a blob with one program, in which the operation stands `times` times.
    pub fn repeated(&self, times: u32) -> Vec<u32> {
        self.blob(&[(OFTEN, times)])
    }

    fn blob(&self, programs: &[(ProgramKind, u32)]) -> Vec<u32> {
        let mut parts = Parts::new();
        let append = (self.write)(&mut parts);
        for &(kind, times) in programs {
            parts.program(kind, |p| {
                let x = p.input(4, 11, 32767);
                let vectors = self.vectors.iter().map(|len| p.normal(*len)).collect();
                let scalar = p.scalar(Opcode::HalfSumSq, &[x], 0);
                let scalars = p.begin(self.scalars);
                let noise = p.normal(1);
                let term = p.scalar(Opcode::HalfSumSq, &[noise], 0);
                p.end(scalars, term);
                let operands = Operands { vectors, scalar, scalars };
                for _ in 0..times {
                    append(p, &operands);
                }
                p.outputs(&[scalar]);
            });
        }
        parts.arena_len = 0;
        for program in 0..programs.len() {
            let record = parts.programs[program];
            let start = record.tensors_start as usize;
            let end = overlay(&mut parts.tensors[start..start + record.tensors_len as usize]);
            parts.arena_len = parts.arena_len.max(end);
        }
        parts.words()
    }
}

/// The program that runs the operation once.
pub const ONCE: ProgramKind = ProgramKind::ScoreMonteCarlo;
/// The program that runs it [`TIMES`] times.
pub const OFTEN: ProgramKind = ProgramKind::ScoreImportance;
/// How often the second program runs it.
pub const TIMES: u32 = 5;

/// Gives all tensors that nothing reads the same place, so that the arena fits a small board. Returns its length.
fn overlay(tensors: &mut [Tensor]) -> u32 {
    let unread = |tensor: &Tensor| tensor.first == tensor.last;
    let mut free = 0;
    for tensor in tensors.iter_mut().filter(|tensor| !unread(tensor)) {
        tensor.offset = free;
        free += tensor.extent();
    }
    let (mut writer, mut end, mut most) = (0, free, free);
    for tensor in tensors.iter_mut().filter(|tensor| unread(tensor)) {
        // Two tensors that one operation writes lie side by side.
        tensor.offset = if tensor.first == writer { end } else { free };
        (writer, end) = (tensor.first, tensor.offset + tensor.extent());
        most = most.max(end);
    }
    most
}

/// Every operation of this build at its extremes. `long` is the length of long vectors, from 64 to 512.
///
/// They follow from the table of operations: all shapes of the shortest and of long operands. Added to them is what the
/// table does not say: matrices, loops, the steps of a flow, and shapes that cost more than these.
pub fn all(long: u32) -> Vec<Extreme> {
    let added = [
        (Opcode::Dense, dense(long)),
        (Opcode::Conv, conv(long)),
        (Opcode::Couplings, couplings(long)),
        (Opcode::Planar, flow(Opcode::Planar, long)),
        (Opcode::Radial, flow(Opcode::Radial, long)),
        (Opcode::Loop, looped(Opcode::Loop, long, &[[1, 1], [long, 1]])),
        (Opcode::End, looped(Opcode::End, long, &[[1, long]])),
        (Opcode::End, vec![end_of_scalars(long)]),
        (Opcode::LogBands, bands()),
        (Opcode::Statistics, statistics(long)),
        (Opcode::OneHot, looped(Opcode::OneHot, long, &[[long, 1], [1, long]])),
    ];
    // Few divisions of long sums.
    let two_means = operands::of(Opcode::MeanVec, &[long], 2);
    let built = Opcode::ALL.into_iter().filter(|opcode| opcode.compiled());
    let derived = built.flat_map(|opcode| applied(opcode, &[1, long])).chain(two_means);
    let added = added.into_iter().filter(|(opcode, _)| opcode.compiled()).flat_map(|(_, extremes)| extremes);
    derived.map(|applied| of_vectors_and_scalars(applied, long)).chain(added).collect()
}

/// An operation whose operands follow from the table.
fn of_vectors_and_scalars(applied: Applied, long: u32) -> Extreme {
    let Applied { op, inputs, output } = applied;
    let mut lens: Vec<String> = inputs.iter().map(|input| input.len.to_string()).collect();
    lens.dedup();
    let of = if lens.is_empty() { String::new() } else { format!(" of {}", lens.join(" and ")) };
    let settled = !inputs.is_empty() && op.opcode.rules().output_len(1).is_some();
    let to = if settled { String::new() } else { format!(" to {}", output.len) };
    let vectors = inputs.iter().filter(|input| input.kind == TensorKind::I16).map(|input| input.len);
    Extreme::plain(format!("{:?}{of}{to}", op.opcode), long, &vectors.collect::<Vec<_>>(), move |p, o| {
        let mut vectors = o.vectors.iter().copied();
        let operand = |input: &Tensor| match input.kind {
            TensorKind::Nats if input.len == 1 => o.scalar,
            TensorKind::Nats => o.scalars,
            TensorKind::I16 | TensorKind::Invalid => vectors.next().expect("a vector for each operand"),
        };
        let operands: Vec<u16> = inputs.iter().map(operand).collect();
        p.op(op, &operands, output);
    })
}

/// The end of a loop that collects vectors of scalars.
fn end_of_scalars(long: u32) -> Extreme {
    Extreme::plain(format!("End of {long} scalars"), long, &[], move |p, o| {
        let copied = p.op(record(Opcode::Loop, 0, 1), &[], nats_of(long));
        p.end(copied, o.scalars);
    })
}

/// A loop of so many iterations that collects vectors of the given length.
fn looped(opcode: Opcode, long: u32, shapes: &[[u32; 2]]) -> Vec<Extreme> {
    let one = |&[times, len]: &[u32; 2]| {
        Extreme::plain(format!("{opcode:?}, {times} times {len}"), long, &[len], move |p, o| {
            let all = p.begin_vectors(times, len, 12);
            let item = if opcode == Opcode::OneHot { p.one_hot(len, 12, 4096) } else { o.vectors[0] };
            p.end(all, item);
        })
    };
    shapes.iter().map(one).collect()
}

const PACKINGS: [Packing; 2] = [Packing::RowMajor, Packing::Dsp4];

fn matrix(parts: &mut Parts, rows: usize, cols: usize, packing: Packing) -> u16 {
    let salt = parts.matrices.len();
    let weight = move |row: usize, col: usize| ((row * 37 + col * 101 + salt * 59) % 255) as i32 as u8 as i8;
    parts.matrix([rows, cols], packing, 32768, weight, |row| row as i32 * 999 - 1500, |_| 1 << 22)
}

fn dense(long: u32) -> Vec<Extreme> {
    let (length, side) = (long as usize, long.min(256) as usize);
    let shapes = [(1, 1), (1, length), (length, 1), (5, 5), (side, side)];
    let one = |(rows, cols): (usize, usize), packing: Packing| {
        Extreme::new(format!("Dense {rows} x {cols}, {packing:?}"), long, &[cols as u32], move |parts| {
            let matrix = matrix(parts, rows, cols, packing);
            Box::new(move |p, o| {
                p.dense(o.vectors[0], matrix, 12);
            })
        })
    };
    shapes.into_iter().flat_map(|shape| PACKINGS.map(|packing| one(shape, packing))).collect()
}

fn conv(long: u32) -> Vec<Extreme> {
    let base = ConvGeometry { height: 4, width: 4, kernel: 3, stride: 1, up: 1, pad: 1, output_padding: 0 };
    let shapes = [
        ("225 phases", ConvGeometry { height: 1, width: 1, kernel: 15, up: 15, pad: 0, ..base }, 1, 1),
        ("225 phases, one pixel", ConvGeometry { height: 1, width: 1, kernel: 15, up: 15, pad: 7, ..base }, 1, 1),
        ("one tap", ConvGeometry { height: 1, width: 1, kernel: 1, pad: 0, ..base }, 1, 1),
        ("1 x 1", ConvGeometry { kernel: 1, pad: 0, ..base }, 4, 6),
        ("3 x 3", base, 4, 6),
        ("3 x 3, thin", ConvGeometry { height: 8, width: 8, ..base }, 1, 1),
        ("5 x 5, padded", ConvGeometry { height: 3, width: 3, kernel: 5, pad: 2, ..base }, 4, 4),
        ("stride 3", ConvGeometry { height: 8, width: 8, stride: 3, ..base }, 1, 3),
        ("up 2", ConvGeometry { up: 2, output_padding: 1, ..base }, 4, 6),
    ];
    let one = |(name, geometry, channels, rows): (&str, ConvGeometry, u32, usize), packing: Packing| {
        let len = geometry.input_len(channels).expect("a small image");
        Extreme::new(format!("Conv {name}, {packing:?}"), long, &[len], move |parts| {
            let phases = (0..geometry.phases())
                .map(|phase| matrix(parts, rows, (channels * geometry.taps(phase)) as usize, packing));
            let first = phases.min().expect("a phase");
            Box::new(move |p, o| {
                p.conv(o.vectors[0], first, geometry, 12);
            })
        })
    };
    shapes.into_iter().flat_map(|shape| PACKINGS.map(|packing| one(shape, packing))).collect()
}

fn couplings(long: u32) -> Vec<Extreme> {
    let base = CouplingStack {
        couplings: 1,
        layers: 0,
        activation: HiddenActivation::Identity,
        sixteen: false,
        inverse: false,
        normal: true,
        scale_log2: 0,
    };
    let tanh = CouplingStack { layers: 1, activation: HiddenActivation::Tanh, ..base };
    let shapes = [
        ("2, no layer", base, 2, 1),
        ("64, no layer", base, long, 1),
        ("2, 3 layers of 1", CouplingStack { layers: 3, ..tanh }, 2, 1),
        ("2, 8 couplings", CouplingStack { couplings: 8, ..base }, 2, 1),
        ("2, layer of 32", tanh, 2, 32),
        ("64, layer of 32", tanh, long, 32),
        ("64, layer of 32, 16 bits", CouplingStack { sixteen: true, ..tanh }, long, 32),
        ("2, no layer, 16 bits", CouplingStack { sixteen: true, ..base }, 2, 1),
    ];
    let one = |(name, stack, d, width): (&str, CouplingStack, u32, usize)| {
        Extreme::new(format!("Couplings of {name}"), long, &[d], move |parts| {
            let first = parts.matrices.len() as u16;
            let half = (d / 2) as usize;
            for _ in 0..stack.couplings {
                let mut inputs = half;
                for _ in 0..stack.layers {
                    matrix(parts, width, stack.columns(inputs), Packing::Dsp4);
                    inputs = width;
                }
                for _ in 0..2 {
                    matrix(parts, half, stack.columns(inputs), Packing::Dsp4);
                }
            }
            let widest = if stack.layers == 0 { 1 } else { width };
            Box::new(move |p, o| {
                let len = CouplingStack::output_len(d as usize, widest) as u32;
                let (imm, param) = stack.pack();
                p.op(Op { arg: first, ..record(Opcode::Couplings, param, imm) }, &o.vectors, vector_of(len, 11));
            })
        })
    };
    shapes.map(one).into()
}

/// Flows of few and many steps of few and many coordinates, and their inverses.
fn flow(opcode: Opcode, long: u32) -> Vec<Extreme> {
    let one = |inverse: bool, [d, steps]: [u32; 2]| {
        let params = steps * if opcode == Opcode::Planar { 2 * d + 1 } else { d + 2 };
        let name = format!("{opcode:?} of {d}, {steps} steps{}", if inverse { ", inverse" } else { "" });
        Extreme::plain(name, long, &[d, params], move |p, o| {
            p.flow(opcode, o.vectors[0], o.vectors[1], inverse);
        })
    };
    let shapes = [[1, 1], [1, 20], [20, 1]];
    [false, true].into_iter().flat_map(|inverse| shapes.map(|shape| one(inverse, shape))).collect()
}

/// Few and many bands of the shortest window and of a longer one.
fn bands() -> Vec<Extreme> {
    let one = |window_log2: u8, taper: Taper, triangular: bool, bands: u32| {
        let layout = Bands { window_log2, taper, triangular };
        let name = format!("LogBands of {}, {bands} bands, {taper:?}", layout.window_len());
        Extreme::new(name, layout.window_len(), &[layout.window_len()], move |parts| {
            let edges = layout.edges(bands);
            let step = (layout.window_len() / 2 / edges).max(1) as i32;
            let bias = move |row: usize| (row as i32 * step) << 8;
            let constants = parts.matrix([edges as usize, 1], Packing::RowMajor, 32768, |_, _| 0, bias, |_| 1 << 24);
            Box::new(move |p, o| {
                let made = p.ops().iter().find(|op| op.opcode == Opcode::Dense && op.arg == constants);
                let edges = match made.map(|op| op.output) {
                    Some(edges) => edges,
                    None => {
                        let one = p.normal(1);
                        p.dense(one, constants, 0)
                    }
                };
                p.op(record(Opcode::LogBands, 0, layout.pack()), &[o.vectors[0], edges], vector_of(bands, 10));
            })
        })
    };
    vec![
        one(6, Taper::Rectangular, false, 1),
        one(6, Taper::Hann, true, 30),
        one(8, Taper::Hann, true, 40),
        one(8, Taper::Rectangular, false, 1),
    ]
}

/// The dearest statistic, and all of them, of few and many samples.
fn statistics(long: u32) -> Vec<Extreme> {
    let one = |which: u32, len: u32| {
        let bits = which.count_ones();
        Extreme::plain(format!("Statistics of {len}, {bits} of them"), long, &[len], move |p, o| {
            p.op(record(Opcode::Statistics, 0, which), &o.vectors, vector_of(bits, 10));
        })
    };
    let (median, all) = (Statistic::MedianAbsolute.bit(), (1 << Statistic::ALL.len()) - 1);
    vec![one(median, 2), one(median, long), one(all, 2), one(all, long)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use elbo::program::OP_WORDS;
    use elbo::{Limits, Model};

    #[test]
    fn every_operation_has_extremes() {
        let count = |words: &[u32], opcode: Opcode| {
            let model = Model::load(bytemuck::cast_slice(words), Limits { max_work: u64::MAX }).expect("a valid blob");
            let ops = model.blob().ops();
            (0..ops.len() / OP_WORDS).filter(|&index| Op::read(ops, index).opcode == opcode).count()
        };
        let blobs: Vec<[Vec<u32>; 2]> =
            all(64).iter().map(|extreme| [1, 4].map(|times| extreme.repeated(times))).collect();
        for opcode in Opcode::ALL.into_iter().filter(|opcode| opcode.compiled()) {
            let repeated = blobs.iter().any(|[once, often]| count(often, opcode) == count(once, opcode) + 3);
            assert!(repeated, "{opcode:?}");
        }
    }
}
