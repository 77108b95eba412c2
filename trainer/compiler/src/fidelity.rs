//! The cost of quantisation: compares the float graph with the integer program on the same inputs and the same noise.

use crate::compile::Compiled;
use crate::host::{Runner, dequantize, quantize};
use crate::metrics::roc;
use crate::quantile::quantile;
use crate::stimulus::{generator, inputs};
use elbo::normal::{FRAC, fill_normal};
use elbo::program::ProgramKind;
use elbo::rng::Xoshiro128PlusPlus;
use elbo::{Limits, LoadError, Noise, SessionError};
use rayon::prelude::*;
use std::fmt;

/// Why the float graph and the integer program cannot be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FidelityError {
    /// The runtime refuses the blob.
    #[error("the compiled blob is refused: {0}")]
    Refused(#[from] LoadError),
    /// The model has no program of this kind.
    #[error("the model has no program {0}")]
    Absent(&'static str),
    /// The runtime refuses to run a row.
    #[error("row {row}: {source}")]
    Run {
        /// Index of the row.
        row: usize,
        /// The runtime's reason.
        source: SessionError,
    },
}

/// The outputs of a program, in floating point and in integers.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The output vectors one after another, float and integer.
    pub vectors: [Vec<f32>; 2],
    /// The scalars in nats, float and integer; 0 if there is none.
    pub scalars: [f64; 2],
}

/// Statistics of the differences between paired numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Differences {
    /// Mean in floating point.
    pub float: f64,
    /// Mean in integers.
    pub integer: f64,
    /// Mean of integer minus float.
    pub mean: f64,
    /// Root mean square of the differences.
    pub rms: f64,
    /// 99 % [`quantile`] of the differences' magnitudes.
    pub p99: f64,
    /// Largest magnitude of a difference.
    pub worst: f64,
}

impl Differences {
    /// The statistics of pairs `[float, integer]`.
    pub fn of(pairs: impl Iterator<Item = [f64; 2]>) -> Self {
        let (mut sums, mut squares, mut magnitudes) = ([0.0; 2], 0.0, Vec::new());
        for [float, integer] in pairs {
            sums = [sums[0] + float, sums[1] + integer];
            squares += (integer - float).powi(2);
            magnitudes.push((integer - float).abs());
        }
        let count = magnitudes.len().max(1) as f64;
        magnitudes.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| quantile(&magnitudes, share).unwrap_or(0.0);
        let [float, integer] = sums.map(|sum| sum / count);
        Self { float, integer, mean: integer - float, rms: (squares / count).sqrt(), p99: at(0.99), worst: at(1.0) }
    }
}

/// Paired outputs of one program over a set of runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Fidelity {
    /// The kind of the program.
    pub kind: ProgramKind,
    /// Number of runs.
    pub rows: usize,
    /// Differences of the scalar, in nats, if the program has one.
    pub nats: Option<Differences>,
    /// Differences of the elements of the output vectors and the smallest step of their scale, if the program has
    /// output vectors.
    pub elements: Option<(Differences, f64)>,
    /// Areas under the ROC curve of the float and the integer score, if both classes occur.
    pub auc: Option<[f64; 2]>,
    /// Number of rows that are classified wrong, float and integer, if the classes are known.
    pub errors: Option<[usize; 2]>,
}

impl fmt::Display for Fidelity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<18} {:>6} rows", self.kind.name(), self.rows)?;
        if let Some(d) = self.nats {
            write!(
                f,
                "  float {:>9.4}  integer {:>9.4}  difference: mean {:+.4}  RMS {:.4}  99 % {:.4}  worst {:.4} nats",
                d.float, d.integer, d.mean, d.rms, d.p99, d.worst
            )?;
        }
        if let Some((d, lsb)) = self.elements {
            let [mean, rms, p99, worst] = [d.mean, d.rms, d.p99, d.worst].map(|v| v / lsb);
            write!(
                f,
                "  elements of {lsb:.1e}: difference: mean {mean:+.3}  RMS {rms:.2}  99 % {p99:.1}  worst {worst:.0} of these"
            )?;
        }
        if let Some([float, integer]) = self.auc {
            write!(f, "\n{:<30}AUC  {float:>9.4}       AUC  {integer:>9.4}", "")?;
        }
        if let Some(errors) = self.errors {
            let [float, integer] = errors.map(|count| 100.0 * count as f64 / self.rows.max(1) as f64);
            write!(f, "\n{:<30}wrong {float:>7.2} %     wrong {integer:>7.2} %", "")?;
        }
        Ok(())
    }
}

/// The runtime's own noise, which is recorded as it is drawn.
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

/// Labels of the rows on which programs are compared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Labels<'l> {
    /// Which rows are anomalies.
    pub anomalous: Option<&'l [bool]>,
    /// The class of each row.
    pub classes: Option<&'l [u32]>,
}

/// Runs the integer program for every row, and the float graph on the same noise. Run `i` has the seed `seed + i`.
/// Inputs that are not data are drawn at random.
///
/// # Errors
/// [`FidelityError`].
pub fn paired(
    compiled: &Compiled,
    kind: ProgramKind,
    rows: &[Vec<f32>],
    seed: u64,
) -> Result<Vec<Pair>, FidelityError> {
    let model = compiled.blob.load(Limits::host())?;
    let info = model.program(kind).ok_or(FidelityError::Absent(kind.name()))?;
    let program = compiled.float.program(kind).ok_or(FidelityError::Absent(kind.name()))?;
    let run = |runner: &mut Runner<'_>, (index, x): (usize, &Vec<f32>)| -> Result<Pair, FidelityError> {
        let fail = |source| FidelityError::Run { row: index, source };
        let seed = seed.wrapping_add(index as u64);
        let mut noise = Recorder { rng: generator(seed), draws: Vec::new() };
        let given = inputs(program, x, index, &mut generator(!seed));
        let q: Vec<Vec<i16>> =
            given.iter().zip(info.inputs.iter().flatten()).map(|(x, info)| quantize(x, info)).collect();
        let out = runner.run(kind, &q, &mut noise).map_err(fail)?;
        let integers = out.vectors.iter().zip(info.outputs.iter().flatten()).flat_map(|(q, info)| dequantize(q, info));
        let mut draws = noise.draws.iter();
        // The graph reads what a device can represent: an input is clamped to its range, but not rounded.
        let clamped = given.iter().zip(info.inputs.iter().flatten()).map(|(x, info)| {
            let most = f32::from(info.bound.min(32767)) / (1u32 << info.frac) as f32;
            x.iter().map(|x| x.clamp(-most, most)).collect::<Vec<f32>>()
        });
        let clamped: Vec<Vec<f32>> = clamped.collect();
        let given: Vec<&[f32]> = clamped.iter().map(Vec::as_slice).collect();
        let mut float = compiled.float.run(program, &given, &mut |out| {
            out.iter_mut().zip(&mut draws).for_each(|(o, d)| *o = *d);
        });
        let scalar = if info.scalar { float.pop().map_or(0.0, |nats| f64::from(nats[0])) } else { 0.0 };
        Ok(Pair { vectors: [float.concat(), integers.collect()], scalars: [scalar, out.nats().to_f64()] })
    };
    rows.par_iter().enumerate().map_init(|| Runner::new(&model), run).collect()
}

/// The differences between the outputs of a program over one run per row; see [`paired`].
///
/// # Errors
/// Those of [`paired`].
pub fn fidelity(
    compiled: &Compiled,
    kind: ProgramKind,
    rows: &[Vec<f32>],
    labels: Labels<'_>,
    seed: u64,
) -> Result<Fidelity, FidelityError> {
    let pairs = paired(compiled, kind, rows, seed)?;
    let model = compiled.blob.load(Limits::host())?;
    let info = model.program(kind).ok_or(FidelityError::Absent(kind.name()))?;
    let scores = |of: usize| pairs.iter().map(|pair| pair.scalars[of]).collect::<Vec<f64>>();
    let areas = |marks: &[bool]| Some([roc::auc(&scores(0), marks)?, roc::auc(&scores(1), marks)?]);
    let vector = info.outputs[0].map(|vector| {
        let elements = pairs.iter().flat_map(|pair| {
            let [float, integer] = &pair.vectors;
            float.iter().zip(integer).map(|(float, integer)| [f64::from(*float), f64::from(*integer)])
        });
        (Differences::of(elements), 0.5f64.powi(vector.frac as i32))
    });
    let wrong = |classes: &[u32]| {
        [0, 1].map(|of| {
            pairs
                .iter()
                .zip(classes)
                .filter(|(pair, class)| most_probable(&pair.vectors[of]) != **class as usize)
                .count()
        })
    };
    Ok(Fidelity {
        kind,
        rows: rows.len(),
        nats: info.scalar.then(|| Differences::of(pairs.iter().map(|pair| pair.scalars))),
        elements: vector,
        auc: labels.anomalous.filter(|_| info.scalar && info.inputs[0].is_some()).and_then(areas),
        errors: labels.classes.filter(|_| kind == ProgramKind::Classify).map(wrong),
    })
}

/// The index of the largest value; the first one if several are equal.
fn most_probable(probabilities: &[f32]) -> usize {
    let better = |best: usize, at: usize| if probabilities[at] > probabilities[best] { at } else { best };
    (0..probabilities.len()).reduce(better).unwrap_or(0)
}
