//! Benchmarks other than programs.

use core::hint::black_box;

use elbo::kernel::{DenseMatrix, Packing, dense, params_len, weights_len};
use elbo::normal::fill_normal;
use elbo::rng::Xoshiro128PlusPlus;
use elbo::{Model, ProgramKind, VectorInfo};

use elbo_link::Bench;
use rand_core::{Rng, SeedableRng};

use crate::LIMITS;
use crate::board::Board;

/// Returns the ticks of `repeat` runs, or `None` if the operands do not fit `scratch`.
pub fn run<B: Board>(board: &mut B, blob: &[u8], scratch: &mut [u32], bench: Bench, repeat: u32) -> Option<u32> {
    match bench {
        Bench::Nothing => Some(timed(board, repeat, |_| ())),
        Bench::Spin { loops } => Some(timed(board, repeat, |board| board.spin(loops))),
        Bench::Load => Some(timed(board, repeat, |_| {
            let _ = black_box(Model::load(black_box(blob), LIMITS));
        })),
        Bench::Normal { count } => {
            let mut rng = Xoshiro128PlusPlus::seed_from_u64(1);
            let mut draws = [0; 64];
            Some(timed(board, repeat, |_| {
                for _ in 0..count / draws.len() as u32 {
                    fill_normal(&mut rng, black_box(&mut draws));
                }
            }))
        }
        Bench::Dense { rows, cols, dsp } => {
            let packing = if dsp { Packing::Dsp4 } else { Packing::RowMajor };
            let mut operands = Operands::new(rows.into(), cols.into(), packing, scratch)?;
            Some(timed(board, repeat, |_| operands.run()))
        }
        Bench::LoadAt { offset } => {
            let blob = blob.get(offset as usize..)?;
            Some(timed(board, repeat, |_| {
                let _ = black_box(Model::load(black_box(blob), LIMITS));
            }))
        }
        _ => None,
    }
}

/// Returns the ticks of `repeat` runs of a program on zeros, or `None` if the blob is refused or does not fit `scratch`.
pub fn program<B: Board>(
    board: &mut B,
    blob: &[u8],
    scratch: &mut [u32],
    kind: ProgramKind,
    repeat: u32,
) -> Option<u32> {
    let model = Model::load(blob, LIMITS).ok()?;
    let skip = scratch.as_ptr().addr() / 4 % 2;
    let memory: &mut [i16] = bytemuck::cast_slice_mut(scratch.get_mut(skip..)?);
    let (arena, vectors) = memory.split_at_mut_checked(model.arena_len().next_multiple_of(4))?;
    let info = model.program(kind)?;
    let split = |vectors: [Option<VectorInfo>; 2]| vectors.map(|vector| vector.map_or(0, |vector| vector.len));
    let ([x, other], [first, second]) = (split(info.inputs), split(info.outputs));
    let (x, rest) = vectors.split_at_mut_checked(x)?;
    let (other, rest) = rest.split_at_mut_checked(other)?;
    let (first, rest) = rest.split_at_mut_checked(first)?;
    let second = rest.get_mut(..second)?;
    let mut session = model.session(arena).ok()?;
    let mut rng = Xoshiro128PlusPlus::seed_from_u64(1);
    Some(timed(board, repeat, |_| {
        let _ = black_box(session.run(kind, &[&*x, &*other], &mut [&mut *first, &mut *second], &mut rng));
    }))
}

fn timed<B: Board>(board: &mut B, repeat: u32, mut body: impl FnMut(&mut B)) -> u32 {
    let start = board.ticks();
    for _ in 0..repeat {
        body(board);
    }
    board.ticks().wrapping_sub(start)
}

/// A dense layer of random numbers.
struct Operands<'s> {
    matrix: DenseMatrix<'s>,
    x: &'s [i16],
    out: &'s mut [i16],
}

impl<'s> Operands<'s> {
    fn new(rows: usize, cols: usize, packing: Packing, scratch: &'s mut [u32]) -> Option<Self> {
        let mut rng = Xoshiro128PlusPlus::seed_from_u64(2);
        let (params, rest) = scratch.split_at_mut_checked(params_len(rows)?)?;
        let (weights, rest) = rest.split_at_mut_checked(weights_len(rows, cols, packing)?)?;
        let (x, rest) = rest.split_at_mut_checked(cols.div_ceil(4) * 2)?;
        let out = rest.get_mut(..rows.div_ceil(4) * 2)?;
        for word in params.iter_mut() {
            // The bias and the multiplier have a magnitude as in a real model.
            *word = rng.next_u32() >> 12;
        }
        for word in weights.iter_mut().chain(x.iter_mut()) {
            *word = rng.next_u32();
        }
        let matrix = DenseMatrix { rows, cols, packing, weights, params };
        Some(Self { matrix, x: bytemuck::cast_slice(x), out: bytemuck::cast_slice_mut(out) })
    }

    fn run(&mut self) {
        dense(black_box(&self.matrix), black_box(self.x), self.out);
        black_box(&mut *self.out);
    }
}
