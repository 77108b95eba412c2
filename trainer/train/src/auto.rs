//! Choosing between families for a table, without labels: candidates are trained, and the likelihood of the validation
//! rows decides.
//!
//! All candidates model the same standardised rows, so that their densities are comparable. Two things would make the
//! comparison unfair. First, a density can become arbitrarily high on values that repeat, such as whole numbers. The
//! rows are therefore compared with [noise](held_out) of the variance that rounding hides. Second, the mean of `-log p`
//! can be that of a few rows that no density foresees. These do not decide between densities of all other rows, so the
//! least likely percent is left out ([`trimmed_mean`]).

use std::path::{Path, PathBuf};

use crate::compile::CompileOptions;
use crate::data::{Dataset, Split};
use crate::evaluate::elbo_of_rows;
use crate::family::mixture::prior::rounding;
use crate::nn::Rng;
use crate::noise::{Purpose, generator};
use crate::recipe::Recipe;
use crate::run::{Run, RunError, TrainError, check_vacant, train};
use crate::settings::{DataShape, RecipeError};
use crate::train::{End, Observer, Outcome};
use elbo::program::ProgramKind;

/// The families that are candidates. Each has a bound on the density of a table's rows.
pub const FAMILIES: [&str; 3] = ["mixture", "flow", "vae"];

/// The share of the rows that [`trimmed_mean`] leaves out.
const TRIMMED: f64 = 0.01;
/// Variance of the noise that is added to every column in addition to what rounding hides, in squared units of the
/// standardised columns.
const LEAST_VARIANCE: f64 = 0.01;
/// Least number of noisy rows, drawn from fewer rows several times.
const ROWS: usize = 2000;
/// Number of draws of the latent with which a bound is evaluated.
const DRAWS: usize = 8;

/// Why no family could be chosen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AutoError {
    /// A candidate cannot be trained.
    #[error("candidate {family}: {source}")]
    Train {
        /// The family.
        family: &'static str,
        /// The reason.
        source: Box<TrainError>,
    },
    /// A run folder cannot be read again.
    #[error("candidate {family}: {source}")]
    Run {
        /// The family.
        family: &'static str,
        /// The reason.
        source: Box<RunError>,
    },
    /// Not one of the candidates can be compiled.
    #[error("no candidate can be compiled: {0}")]
    NoneCompiles(String),
    /// The tensor library reports an error.
    #[error("the candidates cannot be compared: {0}")]
    Tensor(#[from] candle_core::Error),
}

/// A candidate that was trained.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The family.
    pub family: &'static str,
    /// The run folder.
    pub run: PathBuf,
    /// `-log p`, or its bound, of the validation rows with noise, in nats per row: the [trimmed mean](trimmed_mean).
    pub nats: f64,
    /// Number of train and of validation rows.
    pub rows: [usize; 2],
    /// Number of bytes of a blob with the program `score` only, or why there is none. Such a candidate is not chosen.
    pub bytes: Result<usize, String>,
    /// Seconds of training.
    pub seconds: f64,
}

/// What came of the candidates.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// All were trained, in order; the second value is the index of the chosen one.
    Chosen(Vec<Trial>, usize),
    /// The training of one of them was interrupted.
    Interrupted(Outcome, PathBuf),
}

/// Trains the recipes into run folders in the folder `out`, each named like its family, and chooses the one with the
/// least `-log p` of the validation rows. If two are equal, the first is chosen.
///
/// # Errors
/// Every variant of [`AutoError`]; `Train` if the data have no validation rows.
pub fn choose(
    candidates: &[(&'static str, Recipe)],
    out: &Path,
    observer: &mut dyn Observer,
) -> Result<Verdict, AutoError> {
    for (family, recipe) in candidates {
        check(recipe, out).map_err(|source| AutoError::Train { family, source: Box::new(source) })?;
    }
    let mut trials: Vec<Trial> = Vec::new();
    for (family, recipe) in candidates {
        let refused = |source: TrainError| AutoError::Train { family, source: Box::new(source) };
        let unusable = |source: RunError| AutoError::Run { family, source: Box::new(source) };
        let path = out.join(family);
        let outcome = train(recipe, &path, observer).map_err(refused)?;
        if outcome.end == End::Interrupted {
            return Ok(Verdict::Interrupted(outcome, path));
        }
        let run = Run::open(&path).map_err(unusable)?;
        let options = CompileOptions { programs: Some(vec![ProgramKind::Score]), ..CompileOptions::default() };
        let bytes = match run.compile(&options) {
            Ok(compiled) => Ok(compiled.compilation.compiled.blob.bytes().len()),
            Err(RunError::Compile(error)) => Err(error.to_string()),
            Err(error) => return Err(unusable(error)),
        };
        let (dataset, model) = (run.dataset().map_err(unusable)?, run.model().map_err(unusable)?);
        let rows = held_out(&dataset, recipe.train.seed);
        let of_rows = crate::nn::on_pool(|| elbo_of_rows(&*model, &rows, DRAWS, recipe.train.seed))?.1;
        let nats = trimmed_mean(of_rows.iter().map(|bound| -bound).collect());
        let rows = [dataset.train.n, dataset.validation.n];
        trials.push(Trial { family, run: path, nats, rows, bytes, seconds: outcome.seconds });
    }
    match likeliest(&trials) {
        Some(best) => Ok(Verdict::Chosen(trials, best)),
        None => {
            let reasons =
                trials.iter().filter_map(|trial| Some(format!("{}: {}", trial.family, trial.bytes.as_ref().err()?)));
            Err(AutoError::NoneCompiles(reasons.collect::<Vec<_>>().join("; ")))
        }
    }
}

/// The index of the candidate with the least `-log p` among those that can be compiled.
fn likeliest(trials: &[Trial]) -> Option<usize> {
    let able = (0..trials.len()).filter(|at| trials[*at].bytes.is_ok());
    able.min_by(|a, b| trials[*a].nats.total_cmp(&trials[*b].nats))
}

/// Checks what can be known of a candidate before any is trained.
fn check(recipe: &Recipe, out: &Path) -> Result<(), TrainError> {
    recipe.check()?;
    check_vacant(out)?;
    let dataset = recipe.dataset()?;
    recipe.model(&DataShape::of(&dataset))?;
    if dataset.validation.n == 0 {
        let expected = "a share above 0, because the likelihood of the validation rows chooses the family";
        return Err(RecipeError::invalid("data.validation_fraction", expected, recipe.data.validation_fraction).into());
    }
    Ok(())
}

/// The mean without the largest percent of the values.
#[must_use]
pub fn trimmed_mean(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let kept = values.len() - (values.len() as f64 * TRIMMED).round() as usize;
    values[..kept].iter().sum::<f64>() / kept.max(1) as f64
}

/// The validation rows with Gaussian noise, whose variance is what rounding hides of a column ([`rounding`]) plus 0.01.
/// The same rows and the same noise judge every candidate. Few rows occur several times, each time with other noise.
#[must_use]
pub fn held_out(dataset: &Dataset, seed: u64) -> Split {
    let d = dataset.dim;
    let deviations: Vec<f32> =
        rounding(&dataset.train.x, d).into_iter().map(|hidden| (hidden + LEAST_VARIANCE).sqrt() as f32).collect();
    let mut noise: Rng = generator(seed, Purpose::ValidationPixels, 0);
    let rows = &dataset.validation;
    let copies = if rows.n == 0 { 0 } else { ROWS.div_ceil(rows.n) };
    let mut x = rows.x.repeat(copies);
    let mut draws = vec![0.0; x.len()];
    noise.fill_normal(&mut draws);
    x.iter_mut().zip(draws).enumerate().for_each(|(at, (value, draw))| *value += deviations[at % d] * draw);
    Split { x, n: rows.n * copies, ..Split::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::DataOptions;

    #[test]
    fn the_least_likely_rows_do_not_decide() {
        let mut values = vec![2.0; 198];
        values.extend([1e9, 1e9]);
        assert_eq!(trimmed_mean(values), 2.0);
        assert_eq!(trimmed_mean(vec![1.0, 4.0]), 2.5);
    }

    #[test]
    fn noise_is_that_of_rounding() {
        let rows: Vec<Vec<f32>> = (0..4000).map(|i| vec![(i * i % 4001) as f32, (i % 2) as f32]).collect();
        let dataset = Dataset::of_table("rows", &rows, &DataOptions::default()).unwrap();
        let noisy = held_out(&dataset, 1);
        assert_eq!((noisy.n, held_out(&dataset, 1)), (dataset.validation.n * 5, noisy.clone()));
        let variance = |column: usize| {
            let clean = dataset.validation.x.repeat(5);
            let of = |values: &[f32]| values.iter().skip(column).step_by(2).copied().collect::<Vec<f32>>();
            let differences = of(&noisy.x).into_iter().zip(of(&clean)).map(|(a, b)| f64::from(a - b).powi(2));
            differences.sum::<f64>() / noisy.n as f64
        };
        // The first column repeats each value about once. Half of all pairs are equal in the second: pi / 12.
        assert!((variance(0) - 0.01).abs() < 0.002, "{}", variance(0));
        assert!((variance(1) - 0.01 - std::f64::consts::PI / 12.0).abs() < 0.03, "{}", variance(1));
    }

    #[test]
    fn the_likeliest_family_is_chosen_and_every_run_remains() {
        let dir = tempfile::tempdir().unwrap();
        let table = dir.path().join("rings.csv");
        let mut text = "a,b\n".to_owned();
        for i in 0..400 {
            let (angle, radius) = (f64::from(i) * 2.4, 1.0 + f64::from(i % 7) * 0.01);
            text.push_str(&format!("{},{}\n", radius * angle.cos(), radius * angle.sin()));
        }
        std::fs::write(&table, text).unwrap();
        let candidates = FAMILIES.map(|family| {
            let mut recipe = Recipe::for_family(family, &table.display().to_string()).unwrap();
            recipe.train.steps = if family == "mixture" { 1 } else { 20 };
            (family, recipe)
        });
        let out = dir.path().join("auto");
        let Verdict::Chosen(trials, best) = choose(&candidates, &out, &mut ()).unwrap() else {
            panic!("nothing interrupts it")
        };
        // Twenty steps are too few for the others.
        assert_eq!((trials.len(), trials[best].family), (3, "mixture"));
        for trial in &trials {
            assert!(
                trial.nats.is_finite()
                    && trial.nats >= trials[best].nats
                    && trial.bytes.as_ref().is_ok_and(|bytes| *bytes > 100),
                "{trial:?}"
            );
            assert_eq!((trial.rows, Run::open(&trial.run).unwrap().recipe.family.name()), ([320, 40], trial.family));
        }
        let mut refused = trials.clone();
        refused[best].bytes = Err("too wide".to_owned());
        let second = likeliest(&refused).unwrap();
        assert!(second != best && (0..3).all(|at| at == best || trials[at].nats >= trials[second].nats));
        refused.iter_mut().for_each(|trial| trial.bytes = Err("too wide".to_owned()));
        assert_eq!(likeliest(&refused), None);
        let mut without = candidates.clone();
        without.iter_mut().for_each(|(_, recipe)| recipe.data.validation_fraction = 0.0);
        let error = choose(&without, &dir.path().join("none"), &mut ()).unwrap_err().to_string();
        assert!(error.contains("data.validation_fraction") && error.contains("validation rows"), "{error}");
    }
}
