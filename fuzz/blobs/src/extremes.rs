//! Every operation at its extremes: the shortest and long operands, and the shapes that need the most and the fewest
//! instructions for the work that they count. A benchmark and a test compare the instructions with the work.

use crate::builder::{Parts, Program, nats_of, vector_of};
use elbo::coupling::{CouplingStack, HiddenActivation};
use elbo::kernel::{ConvGeometry, Packing};
use elbo::program::{NO_TENSOR, Op, Opcode, ProgramKind, ScaleRule, Tensor, TensorKind};

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

fn record(opcode: Opcode, param: i8, imm: u32) -> Op {
    Op { opcode, param, output: NO_TENSOR, inputs: [NO_TENSOR; 3], arg: 0, imm }
}

/// Every operation of this build at its extremes. `long` is the length of long vectors, from 64 to 512.
pub fn all(long: u32) -> Vec<Extreme> {
    Opcode::ALL.into_iter().flat_map(|opcode| extremes(opcode, long)).collect()
}

fn extremes(opcode: Opcode, long: u32) -> Vec<Extreme> {
    match opcode {
        Opcode::Invalid => Vec::new(),
        Opcode::Dense => dense(long),
        Opcode::Conv => conv(long),
        Opcode::Couplings => couplings(long),
        Opcode::Planar | Opcode::Radial => flow(opcode, long),
        Opcode::Relu
        | Opcode::Tanh
        | Opcode::Sigmoid
        | Opcode::Exp
        | Opcode::Fma
        | Opcode::Mul
        | Opcode::AddVec
        | Opcode::SubVec
        | Opcode::Normal
        | Opcode::BernoulliNll
        | Opcode::GaussianNll
        | Opcode::Kl
        | Opcode::HalfSumSq
        | Opcode::Sum
        | Opcode::Softmax
        | Opcode::Select
        | Opcode::RankOne
        | Opcode::HalfLogDet
        | Opcode::RankOneKl
        | Opcode::LogisticNll => vectors(opcode, long, 0, 0),
        Opcode::StudentTNll => vectors(opcode, long, 2, 0),
        Opcode::LeakyRelu => vectors(opcode, long, 0, 1 << 13),
        Opcode::Clamp => vectors(opcode, long, 0, Op::interval_imm(-4096, 4096)),
        Opcode::Add | Opcode::Sub | Opcode::Neg => vec![scalars(opcode, long, 0)],
        Opcode::Offset => vec![scalars(opcode, long, 99)],
        Opcode::Mean | Opcode::LogMeanExp => of_scalars(opcode, long, |_| nats_of(1)),
        Opcode::Posterior => of_scalars(opcode, long, |len| vector_of(len, 15)),
        Opcode::Concat => lengths(opcode, long, &[[1, 1], [long, long]], |p, o, _| {
            p.concat(o.vectors[0], o.vectors[1], 12);
        }),
        Opcode::Slice => lengths(opcode, long, &[[1, 1], [long, 1], [long, long]], |p, o, [_, len]| {
            p.slice(o.vectors[0], 0, len);
        }),
        Opcode::MeanVec => lengths(opcode, long, &[[1, 1], [long, 1], [long, 2], [long, long]], |p, o, [_, len]| {
            p.mean_vectors(o.vectors[0], len);
        }),
        Opcode::GaussianLogits => lengths(opcode, long, &[[1, 1], [1, long], [long, long]], |p, o, [len, _]| {
            p.op(record(Opcode::GaussianLogits, 0, 0), &o.vectors, nats_of(len));
        }),
        Opcode::FreeEnergy => lengths(opcode, long, &[[1, 1], [long, long]], |p, o, [len, _]| {
            let values = if len == 1 { o.scalar } else { o.scalars };
            p.op(record(Opcode::FreeEnergy, 0, 0), &[values, o.vectors[0]], nats_of(1));
        }),
        Opcode::Loop => looped(opcode, long, &[[1, 1], [long, 1]]),
        Opcode::End => {
            let mut all = looped(opcode, long, &[[1, long]]);
            all.push(Extreme::plain(format!("End of {long} scalars"), long, &[], move |p, o| {
                let copied = p.op(record(Opcode::Loop, 0, 1), &[], nats_of(long));
                p.end(copied, o.scalars);
            }));
            all
        }
        Opcode::OneHot => looped(opcode, long, &[[long, 1], [1, long]]),
    }
}

/// Vectors of the given pairs of lengths.
fn lengths(
    opcode: Opcode,
    long: u32,
    pairs: &[[u32; 2]],
    append: impl Fn(&mut Program<'_>, &Operands, [u32; 2]) + Copy + 'static,
) -> Vec<Extreme> {
    let one = |pair: &[u32; 2]| {
        let ([a, b], pair) = (*pair, *pair);
        Extreme::plain(format!("{opcode:?} of {a} and {b}"), long, &pair, move |p, o| append(p, o, pair))
    };
    pairs.iter().map(one).collect()
}

/// Vectors of equal length.
fn vectors(opcode: Opcode, long: u32, param: i8, imm: u32) -> Vec<Extreme> {
    let rules = opcode.rules();
    let frac = if let ScaleRule::Exactly(frac) = rules.written_scale() { frac } else { 12 };
    let one = |len: u32| {
        let output = match rules.output_kind() {
            Some(TensorKind::Nats) => nats_of(rules.output_len(len).unwrap_or(1)),
            _ => vector_of(len, frac),
        };
        Extreme::plain(format!("{opcode:?} of {len}"), long, &[len; 3], move |p, o| {
            p.op(record(opcode, param, imm), &o.vectors[..rules.inputs()], output);
        })
    };
    [1, long].map(one).into()
}

fn scalars(opcode: Opcode, long: u32, imm: u32) -> Extreme {
    Extreme::plain(format!("{opcode:?}"), long, &[], move |p, o| {
        p.op(record(opcode, 0, imm), &[o.scalar; 2][..opcode.inputs()], nats_of(1));
    })
}

fn of_scalars(opcode: Opcode, long: u32, output: fn(u32) -> Tensor) -> Vec<Extreme> {
    let one = |len: u32| {
        Extreme::plain(format!("{opcode:?} of {len}"), long, &[], move |p, o| {
            p.op(record(opcode, 0, 0), &[if len == 1 { o.scalar } else { o.scalars }], output(len));
        })
    };
    [1, long].map(one).into()
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
