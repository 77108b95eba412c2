//! What quantisation cost: the float graph against the integer program on the same inputs and the same noise, in nats.

use super::Compiled;
use crate::host::{HostArena, quantize};
use crate::roc;
use anyhow::{Context, Result};
use elbo::normal::{FRAC, fill_normal};
use elbo::program::ProgramKind;
use elbo::rng::Xoshiro128PlusPlus;
use elbo::{Limits, Noise};
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
    /// Areas under the ROC curve of the float and the integer score, where both classes occur.
    pub auc: Option<[f64; 2]>,
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
        )?;
        match self.auc {
            Some([float, integer]) => write!(f, "\n{:<30}AUC  {float:>9.4}       AUC  {integer:>9.4}", ""),
            None => Ok(()),
        }
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
/// `anomalous` marks the rows where that is known.
///
/// # Errors
/// The runtime refuses the blob or a row, or the model lacks the program.
pub fn fidelity(
    compiled: &Compiled,
    kind: ProgramKind,
    rows: &[Vec<f32>],
    anomalous: Option<&[bool]>,
    seed: u64,
) -> Result<Fidelity> {
    let model = compiled.blob.load(Limits::default())?;
    let absent = || format!("the model has no program {}", kind.name());
    let info = model.program(kind).and_then(|program| program.input).with_context(absent)?;
    let program = compiled.float.program(kind).with_context(absent)?;
    let score = |arena: &mut HostArena, (index, x): (usize, &Vec<f32>)| -> Result<(f64, f64)> {
        let mut noise =
            Recorder { rng: Xoshiro128PlusPlus::seed_from_u64(seed.wrapping_add(index as u64)), draws: Vec::new() };
        let mut session = model.session(arena.as_mut_slice())?;
        let q = quantize(x, &info);
        let integer = match kind {
            ProgramKind::ScoreMonteCarlo => session.score_monte_carlo(&q, &mut noise),
            ProgramKind::ScoreImportance => session.score_importance(&q, &mut noise),
            _ => session.score(&q),
        };
        let integer = integer.with_context(|| format!("row {index}"))?;
        let mut draws = noise.draws.iter();
        let float =
            compiled.float.run(program, x, &mut |out| out.iter_mut().zip(&mut draws).for_each(|(o, d)| *o = *d));
        Ok((f64::from(float[0][0]), integer.to_f64()))
    };
    let pairs: Vec<(f64, f64)> =
        rows.par_iter().enumerate().map_init(|| HostArena::new(&model), score).collect::<Result<_>>()?;
    let (floats, integers): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
    let count = rows.len().max(1) as f64;
    let mut differences: Vec<f64> = floats.iter().zip(&integers).map(|(float, integer)| integer - float).collect();
    let mean = differences.iter().sum::<f64>() / count;
    let rms = (differences.iter().map(|d| d * d).sum::<f64>() / count).sqrt();
    differences.iter_mut().for_each(|d| *d = d.abs());
    differences.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| differences.get((share * (count - 1.0)).round() as usize).copied().unwrap_or(0.0);
    let areas = |marks: &[bool]| Some([roc::auc(&floats, marks)?, roc::auc(&integers, marks)?]);
    Ok(Fidelity {
        kind,
        rows: rows.len(),
        float: floats.iter().sum::<f64>() / count,
        integer: integers.iter().sum::<f64>() / count,
        mean,
        rms,
        p99: at(0.99),
        worst: at(1.0),
        auc: anomalous.and_then(areas),
    })
}
