//! Folds: models that are trained without a share of the rows, which they then score (cross-conformal calibration).
//!
//! The train and validation rows are shuffled and dealt to `k` folds. Model `i` is trained as the model of the run is, on
//! the rows of all other folds, and its compiled program scores the rows of fold `i`. All these scores together calibrate
//! the scores of the model of the run (Vovk, *Cross-conformal predictors*, 2015). The method rests on the models being alike: the
//! p-value of a new row by the model of the run is compared with scores by others, as with the jackknife, so that unlike
//! for rows of their own there is no guarantee for any model and any data (Barber, Candès, Ramdas and Tibshirani,
//! *Predictive inference with the jackknife+*, 2021). The models of the folds saw fewer rows, so that they score the rows
//! that they have not seen rather higher than the model of the run would, which errs to the side of fewer alarms. The
//! standardisation is that of the run.

use std::path::{Path, PathBuf};

use elbo_compiler::HeldOutScores;

use super::{Run, RunError, TrainError};
use crate::arrays::{Arrays, arrays_to_bytes};
use crate::compile::{CompileError, CompileOptions, Names, compile, program_rows};
use crate::data::{Dataset, Split};
use crate::files::write_atomic;
use crate::model::{Model, Objective};
use crate::nn::Rng;
use crate::recipe::Recipe;
use crate::settings::{DataShape, TrainRecipe};
use crate::train::{Checkpoint, End, Learner, Metric, Observer, ProgressStore, State, Trainer};

/// The rows of one fold.
struct Fold {
    /// The data set of the run, but with the rows of the other folds to train and to validate on, and no others.
    dataset: Dataset,
    /// The rows that the model of the fold scores.
    held_out: Split,
}

impl Fold {
    /// The rows of fold `index` of `count`.
    fn of(dataset: &Dataset, split_seed: u64, index: usize, count: usize) -> Self {
        let (train, validation) = (&dataset.train, &dataset.validation);
        let all = train.n + validation.n;
        let (mut held, mut kept) = (Vec::new(), Vec::new());
        for (at, group) in groups(dataset, split_seed).into_iter().enumerate() {
            if at % count == index { held.extend(group) } else { kept.extend(group) }
        }
        // As large a share of validation rows as the run has.
        let chosen = kept.split_off((kept.len() * train.n).div_ceil(all.max(1)));
        let [train, validation, held_out] = [kept, chosen, held].map(|rows| gather(train, validation, &rows));
        let Dataset { kind, shape, crc32, .. } = *dataset;
        let empty = Dataset::without_rows(&dataset.name, dataset.dim);
        let (reading, front) = (dataset.reading.clone(), dataset.front.clone());
        let dataset = Dataset { kind, shape, crc32, train, validation, reading, front, ..empty };
        Self { dataset, held_out }
    }
}

/// Neighbouring windows that stay together, because they overlap or resemble each other.
const NEIGHBOURS: usize = 16;

/// The train and validation rows, counted through, in a random order of groups that stay together: single rows, or windows
/// that follow one another.
fn groups(dataset: &Dataset, seed: u64) -> Vec<Vec<usize>> {
    let (train, validation) = (&dataset.train, &dataset.validation);
    let all = train.n + validation.n;
    let mut rng = Rng::new(seed);
    if dataset.front.is_none() {
        return rng.permutation(all).into_iter().map(|row| vec![row]).collect();
    }
    let places: Vec<usize> = train.rows.iter().chain(&validation.rows).copied().collect();
    let mut rows: Vec<usize> = (0..all).collect();
    rows.sort_by_key(|row| places.get(*row));
    let groups: Vec<&[usize]> = rows.chunks(NEIGHBOURS).collect();
    rng.permutation(groups.len()).into_iter().map(|group| groups[group].to_vec()).collect()
}

/// Rows of two splits, counted through.
fn gather(first: &Split, second: &Split, rows: &[usize]) -> Split {
    let find = |row: usize| if row < first.n { (first, row) } else { (second, row - first.n) };
    let found = || rows.iter().map(|row| find(*row));
    let labels =
        first.labels.is_some().then(|| found().filter_map(|(split, at)| split.labels.as_ref()?.get(at).copied()));
    Split {
        x: found().flat_map(|(split, at)| split.row(at).iter().copied()).collect(),
        n: rows.len(),
        labels: labels.map(Iterator::collect),
        rows: found().filter_map(|(split, at)| split.rows.get(at).copied()).collect(),
        windows: found().flat_map(|(split, at)| split.window(at)).copied().collect(),
    }
}

/// The file with the best weights of a fold's model.
fn file(folder: &Path, index: usize) -> PathBuf {
    folder.join(format!("fold-{}.safetensors", index + 1))
}

/// Trains the models of all folds whose files the run folder lacks. Returns whether the observer stopped it.
///
/// # Errors
/// As of a training, without the checkpoints.
pub(super) fn train_folds(
    folder: &Path,
    recipe: &Recipe,
    dataset: &Dataset,
    observer: &mut dyn Observer,
) -> Result<bool, TrainError> {
    let count = recipe.calibration.folds.unwrap_or(0) as usize;
    for index in 0..count {
        let path = file(folder, index);
        if path.exists() {
            continue;
        }
        observer.fold(index + 1, count);
        let fold = Fold::of(dataset, recipe.data.split_seed, index, count);
        let (shape, settings) = (DataShape::of(dataset), &recipe.train);
        let model = recipe.model(&shape)?;
        let learner = Learner::new(&*model, settings)?;
        let state = State { seed: settings.seed, ..State::default() };
        let store = FoldStore { recipe, shape, best: Arrays::default() };
        let (outcome, store) = Trainer::new(settings, &fold.dataset, learner, state, store)?.run(observer)?;
        if outcome.end == End::Interrupted {
            return Ok(true);
        }
        let bytes = arrays_to_bytes(&store.best, Default::default());
        let bytes = bytes.map_err(|reason| RunError::Content { path: path.clone(), reason })?;
        write_atomic(&path, &bytes).map_err(|source| RunError::Write { path, source })?;
    }
    Ok(false)
}

/// The scores of all train and validation rows, each by the compiled model of the fold that was trained without it. `None` if
/// the recipe has no folds.
///
/// # Errors
/// `FoldMissing`, and those of loading and compiling a model.
pub(super) fn scores(
    run: &Run,
    names: Names<'_>,
    dataset: &Dataset,
    options: &CompileOptions,
) -> Result<Option<HeldOutScores>, RunError> {
    let count = run.recipe.calibration.folds.unwrap_or(0) as usize;
    let mut all = (count > 0).then(HeldOutScores::default);
    for index in 0..count {
        let path = file(&run.path, index);
        if !path.exists() {
            return Err(RunError::FoldMissing { path, run: run.path.clone() });
        }
        let fold = Fold::of(dataset, run.recipe.data.split_seed, index, count);
        let model = run.load(&path)?;
        let compiled = compile(&*model, names, &fold.dataset, &run.recipe.export, options)?.compiled;
        let rows = program_rows(dataset, &fold.held_out, model.likelihood(), options.seed.wrapping_add(1));
        // Other noise than that of the other folds.
        let scores = HeldOutScores::of(&compiled.blob, &rows, options.seed.wrapping_add((index as u64) << 32));
        let scores = scores.map_err(|error| CompileError::from(elbo_compiler::CompileError::from(error)))?;
        all.iter_mut().for_each(|all| all.extend(&scores));
    }
    Ok(all)
}

/// Keeps the best weights of a fold's model. An interrupted fold starts again.
struct FoldStore<'r> {
    recipe: &'r Recipe,
    shape: DataShape,
    best: Arrays,
}

impl ProgressStore for FoldStore<'_> {
    type Error = TrainError;

    fn diverged(&self, step: u64) -> TrainError {
        let kept = "this is a model of the calibration's folds; --calibration-folds 0 trains none".to_owned();
        TrainError::Diverged { step, kept }
    }

    fn new_model(&self, start: &TrainRecipe) -> Result<Box<dyn Model>, TrainError> {
        let recipe = Recipe { train: start.clone(), ..self.recipe.clone() };
        Ok(recipe.model(&self.shape)?)
    }

    fn metrics(&mut self, _: &[Metric], _: Objective) -> Result<(), TrainError> {
        Ok(())
    }

    fn save(&mut self, _: &Checkpoint, best: &Arrays) -> Result<(), TrainError> {
        self.best = best.clone();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::DataOptions;

    #[test]
    fn every_row_is_held_out_once_and_trains_all_other_folds() {
        let rows: Vec<Vec<f32>> = (0..101).map(|i| vec![i as f32, (i * i % 17) as f32]).collect();
        let dataset = Dataset::of_table("rows", &rows, &DataOptions::default()).unwrap();
        let all = dataset.train.n + dataset.validation.n;
        let mut held = Vec::new();
        for index in 0..3 {
            let fold = Fold::of(&dataset, 0, index, 3);
            let trained = [fold.dataset.train.rows.as_slice(), &fold.dataset.validation.rows].concat();
            assert!(fold.held_out.rows.iter().all(|row| !trained.contains(row)));
            assert_eq!((trained.len() + fold.held_out.n, fold.dataset.test.n), (all, 0));
            assert!(fold.dataset.validation.n >= 6 && fold.held_out.n >= all / 3);
            for (at, row) in fold.held_out.rows.iter().enumerate() {
                let scaled = dataset.standardise().unwrap().scaled(0, f64::from(rows[*row][0]));
                assert_eq!(fold.held_out.row(at)[0], scaled);
            }
            held.extend(fold.held_out.rows);
        }
        held.sort_unstable();
        let mut known = [dataset.train.rows, dataset.validation.rows].concat();
        known.sort_unstable();
        assert_eq!(held, known);
    }
}
