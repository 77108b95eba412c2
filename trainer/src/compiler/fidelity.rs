//! What quantisation cost: the float graph against the integer program on the same inputs and the same noise, in nats.

use super::Compiled;
use crate::host::{HostArena, quantize};
use elbo::normal::{FRAC, fill_normal};
use elbo::program::ProgramKind;
use elbo::rng::Xoshiro128PlusPlus;
use elbo::{Limits, LoadError, Noise};
use rand_core::SeedableRng;
use rayon::prelude::*;
use std::fmt;

/// Paired scores of one program over a set of rows, in nats.
#[derive(Clone, Debug, PartialEq)]
pub struct Fidelity {
    /// Which score.
    pub kind: ProgramKind,
    /// Rows.
    pub rows: usize,
    /// Mean score of the float graph.
    pub float: f64,
    /// Mean score of the integer program.
    pub integer: f64,
    /// Mean of integer minus float.
    pub mean: f64,
    /// Root mean square of the differences.
    pub rms: f64,
    /// 99th percentile of the differences' magnitudes.
    pub p99: f64,
    /// Largest magnitude of a difference.
    pub worst: f64,
}

impl fmt::Display for Fidelity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<18} {:>6} rows  float {:>9.4}  integer {:>9.4}  difference: mean {:+.4}  RMS {:.4}  99 % {:.4}  worst {:.4}",
            self.kind.name(),
            self.rows,
            self.float,
            self.integer,
            self.mean,
            self.rms,
            self.p99,
            self.worst
        )
    }
}

/// The runtime's own noise, kept as it is drawn.
struct Recorder {
    rng: Xoshiro128PlusPlus,
    draws: Vec<f32>,
}

impl Noise for Recorder {
    fn normal(&mut self, out: &mut [i16]) {
        fill_normal(&mut self.rng, out);
        self.draws.extend(out.iter().map(|q| f32::from(*q) / (1 << FRAC) as f32));
    }
}

/// Scores every row with the integer program and, on the same noise, with the float graph; row `i` has seed `seed + i`.
///
/// # Errors
/// The runtime's reason to refuse the blob.
pub fn fidelity(compiled: &Compiled, kind: ProgramKind, rows: &[Vec<f32>], seed: u64) -> Result<Fidelity, LoadError> {
    let model = compiled.blob.load(Limits::default())?;
    let info = model.program(kind).and_then(|program| program.input).ok_or(LoadError::Metadata)?;
    let program = compiled.float.program(kind).ok_or(LoadError::Metadata)?;
    let score = |arena: &mut HostArena, (index, x): (usize, &Vec<f32>)| {
        let mut noise =
            Recorder { rng: Xoshiro128PlusPlus::seed_from_u64(seed.wrapping_add(index as u64)), draws: Vec::new() };
        let mut session = model.session(arena.as_mut_slice()).ok()?;
        let q = quantize(x, &info);
        let integer = match kind {
            ProgramKind::ScoreMonteCarlo => session.score_monte_carlo(&q, &mut noise),
            ProgramKind::ScoreImportance => session.score_importance(&q, &mut noise),
            _ => session.score(&q),
        };
        let mut draws = noise.draws.iter();
        let float =
            compiled.float.run(program, x, &mut |out| out.iter_mut().zip(&mut draws).for_each(|(o, d)| *o = *d));
        Some((f64::from(float[0][0]), integer.ok()?.to_f64()))
    };
    let pairs: Vec<(f64, f64)> =
        rows.par_iter().enumerate().map_init(|| HostArena::new(&model), score).flatten().collect();
    let count = pairs.len().max(1) as f64;
    let mut differences: Vec<f64> = pairs.iter().map(|(float, integer)| integer - float).collect();
    let mean = differences.iter().sum::<f64>() / count;
    let rms = (differences.iter().map(|d| d * d).sum::<f64>() / count).sqrt();
    differences.iter_mut().for_each(|d| *d = d.abs());
    differences.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| differences.get((share * (count - 1.0)).round() as usize).copied().unwrap_or(0.0);
    Ok(Fidelity {
        kind,
        rows: pairs.len(),
        float: pairs.iter().map(|p| p.0).sum::<f64>() / count,
        integer: pairs.iter().map(|p| p.1).sum::<f64>() / count,
        mean,
        rms,
        p99: at(0.99),
        worst: at(1.0),
    })
}
