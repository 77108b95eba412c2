use super::super::{CHECKPOINT, MODEL, Run};
use super::*;
use crate::arrays::arrays_from_bytes;
use crate::files::temporary;
use crate::train::{StopAfter, settings_of_start};

fn recipe(steps: u64) -> Recipe {
    let mut recipe = Recipe::find("digits").unwrap();
    recipe.train.steps = steps;
    recipe.train.validate_every = 4;
    recipe.train.checkpoint_every = 7;
    recipe.train.kl_warmup_steps = 5;
    recipe.train.validation_draws = 1;
    recipe
}

fn checkpoint(out: &Path) -> Checkpoint {
    let mut checkpoint = Checkpoint::read(&out.join(CHECKPOINT)).unwrap();
    // The clock is the one thing that may differ.
    checkpoint.state.seconds = 0.0;
    checkpoint.state.metrics.iter_mut().for_each(|m| m.seconds = 0.0);
    checkpoint
}

/// Interrupts a run after each of `stops` steps: it ends with the checkpoint and the model of an uninterrupted one.
fn resumes_bit_for_bit(recipe: &Recipe, stops: &[u64]) {
    let dir = tempfile::tempdir().unwrap();
    let (whole, parts) = (dir.path().join("whole"), dir.path().join("parts"));
    assert_eq!(train(recipe, &whole, &mut ()).unwrap().end, End::Finished);
    for (i, stop) in stops.iter().enumerate() {
        let mut until = StopAfter(*stop);
        let outcome = if i == 0 { train(recipe, &parts, &mut until) } else { resume(&parts, &mut until) }.unwrap();
        assert_eq!((outcome.end, outcome.step), (End::Interrupted, *stop));
        assert_ne!(checkpoint(&whole), checkpoint(&parts));
    }
    assert_eq!(resume(&parts, &mut ()).unwrap().end, End::Finished);
    let (a, b) = (checkpoint(&whole), checkpoint(&parts));
    for (name, (_, values)) in &a.arrays {
        let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(values), bits(&b.arrays[name].1), "{name}");
    }
    assert_eq!(a, b);
    let model = |out: &Path| arrays_from_bytes(&std::fs::read(out.join(MODEL)).unwrap()).unwrap().0;
    assert_eq!(model(&whole), model(&parts));
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one_bit_for_bit() {
    resumes_bit_for_bit(&recipe(20), &[10]);
    // Stops within a start, at the end of a start, and within the next one.
    let several = Recipe { train: TrainRecipe { restarts: 2, ..recipe(8).train }, ..recipe(8) };
    resumes_bit_for_bit(&several, &[3, 8, 13]);
}

#[test]
fn restarts_keep_the_best_model_of_independent_starts() {
    let dir = tempfile::tempdir().unwrap();
    let run = |name: &str, train: TrainRecipe| {
        let out = dir.path().join(name);
        super::train(&Recipe { train, ..recipe(40) }, &out, &mut ()).unwrap();
        checkpoint(&out)
    };
    let base = TrainRecipe { validate_every: 20, ..recipe(40).train };
    let several = run("several", TrainRecipe { restarts: 3, ..base.clone() });
    let metrics = &several.state.metrics;
    assert_eq!(metrics.iter().map(|m| m.step).collect::<Vec<_>>(), [20, 40, 60, 80, 100, 120, 140, 160]);
    // The first start equals a run without restarts. The schedule of the learning rate starts again in every start.
    assert_eq!(metrics[..2], run("one", base.clone()).state.metrics);
    assert!(metrics.chunks(2).all(|start| start[0].learning_rate == metrics[0].learning_rate));
    let ends: Vec<f64> = metrics.iter().filter_map(|m| m.validation_elbo).collect();
    assert!(ends.windows(2).all(|two| two[0] != two[1]), "{ends:?}");
    let best = (0..ends.len()).max_by(|a, b| ends[*a].total_cmp(&ends[*b])).unwrap();
    assert_eq!((several.state.best_step, several.state.best_elbo), (metrics[best].step, Some(ends[best].to_bits())));
    // The saved model is the one that this start alone gives at its end.
    assert_eq!(best % 2, 1);
    let alone = run("alone", settings_of_start(&base, best as u64 / 2));
    let group = |of: &Checkpoint, group: &str| {
        let named =
            of.arrays.iter().filter_map(|(name, array)| Some((name.strip_prefix(group)?.to_owned(), array.clone())));
        named.collect::<std::collections::BTreeMap<_, _>>()
    };
    assert_eq!(group(&several, "best."), group(&alone, "ema."));
}

#[test]
fn patience_counts_in_every_start_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let mut stuck = recipe(400);
    let t = &mut stuck.train;
    (t.learning_rate, t.validate_every, t.patience, t.restarts) = (1e-30, 1, 3, 2);
    let outcome = train(&stuck, &dir.path().join("run"), &mut ()).unwrap();
    assert_eq!((outcome.end, outcome.step), (End::Early, 12));
}

#[test]
fn restarts_need_something_to_choose_by() {
    let dir = tempfile::tempdir().unwrap();
    let mut blind = recipe(4);
    (blind.train.restarts, blind.data.validation_fraction) = (1, 0.0);
    let error = train(&blind, &dir.path().join("run"), &mut ()).unwrap_err().to_string();
    assert!(error.contains("train.restarts") && error.contains("validation"), "{error}");
    assert!(!dir.path().join("run").exists());
    let mut wgan = Recipe::find("wgan-digits").unwrap();
    wgan.train.restarts = 1;
    let error = wgan.check().unwrap_err().to_string();
    assert!(error.contains("train.restarts") && error.contains("WGAN"), "{error}");
}

#[test]
fn a_stopped_run_says_so_and_a_finished_one_stays() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let outcome = train(&recipe(5), &out, &mut StopAfter(0)).unwrap();
    assert_eq!((outcome.end, outcome.step), (End::Interrupted, 0));
    assert!(matches!(train(&recipe(5), &out, &mut ()), Err(TrainError::Run(RunError::Exists(_)))));
    assert_eq!(resume(&out, &mut ()).unwrap().step, 5);
    assert_eq!(resume(&out, &mut ()).unwrap().end, End::Finished);
}

#[test]
fn divergence_names_the_step_and_keeps_the_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let mut wild = recipe(200);
    wild.train.checkpoint_every = 1;
    wild.train.learning_rate = 1e12;
    let error = train(&wild, &out, &mut ()).unwrap_err();
    let TrainError::Diverged { step, kept } = &error else { panic!("{error}") };
    assert!(*step >= 1 && error.to_string().contains(&format!("step {step}")), "{error}");
    if kept.contains("intact") {
        let arrays = checkpoint(&out).arrays;
        assert!(arrays.values().flat_map(|(_, v)| v).all(|v| v.is_finite()));
    }
}

#[test]
fn a_failed_write_names_the_file_and_keeps_the_previous_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    train(&recipe(20), &out, &mut StopAfter(8)).unwrap();
    let before = checkpoint(&out);
    // A folder in the way of the temporary file makes writing fail as a full disk would.
    std::fs::create_dir(temporary(&out.join(CHECKPOINT))).unwrap();
    let error = resume(&out, &mut ()).unwrap_err();
    assert!(matches!(error, TrainError::Write { .. }), "{error}");
    assert!(error.to_string().contains("checkpoint of step 8 is intact"), "{error}");
    assert_eq!(checkpoint(&out), before);
    std::fs::remove_dir(temporary(&out.join(CHECKPOINT))).unwrap();
    assert_eq!(resume(&out, &mut ()).unwrap().end, End::Finished);
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = train(&recipe(1), &file.join("run"), &mut ()).unwrap_err();
    assert!(error.to_string().contains("file") && error.to_string().contains("cannot be written"), "{error}");
}

#[test]
fn patience_ends_a_run_that_no_longer_improves() {
    let dir = tempfile::tempdir().unwrap();
    let mut stuck = recipe(400);
    stuck.train.learning_rate = 1e-30;
    stuck.train.validate_every = 1;
    stuck.train.patience = 3;
    let outcome = train(&stuck, &dir.path().join("run"), &mut ()).unwrap();
    assert_eq!((outcome.end, outcome.step - outcome.best_step), (End::Early, 3));
}

#[test]
fn training_improves_the_bound_and_the_kept_model_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let mut short = recipe(600);
    short.train.validate_every = 200;
    short.train.ema = 0.9;
    short.train.validation_draws = 4;
    let best = train(&short, &out, &mut ()).unwrap().best_elbo.unwrap();
    assert!(best > -28.0, "{best}");
    let run = Run::open(&out).unwrap();
    let model = run.model().unwrap();
    let test = crate::evaluate::elbo_over_binarisations(&*model, &run.dataset().unwrap().validation, 4, 0).unwrap();
    assert!((test.mean - best).abs() < 0.6, "{test:?} {best}");
}

#[test]
fn the_files_of_others_stay_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["README.txt", "notes.md", "recipe.toml"] {
        let out = dir.path().join(name.replace('.', "-"));
        std::fs::create_dir(&out).unwrap();
        std::fs::write(out.join(name), "mine").unwrap();
        let refused = train(&recipe(5), &out, &mut ()).unwrap_err();
        assert!(matches!(refused, TrainError::Run(RunError::Foreign(_))), "{refused}");
        let left: Vec<_> = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [name]);
        assert_eq!(std::fs::read_to_string(out.join(name)).unwrap(), "mine");
    }
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    train(&recipe(5), &empty, &mut ()).unwrap();
}

#[test]
fn a_folder_into_which_another_process_trains_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    train(&recipe(5), &out, &mut StopAfter(0)).unwrap();
    let lock = Lock::take(&out).unwrap();
    for refused in [train(&recipe(5), &out, &mut ()), resume(&out, &mut ())] {
        assert!(matches!(refused, Err(TrainError::Run(RunError::Held { .. }))), "{refused:?}");
    }
    drop(lock);
    assert_eq!(resume(&out, &mut ()).unwrap().step, 5);
}

/// Counts folds, and stops the training of one of them.
struct InFold(usize, Option<usize>);

impl Observer for InFold {
    fn fold(&mut self, fold: usize, _: usize) {
        self.0 = fold;
    }

    fn stop(&mut self, step: u64) -> bool {
        self.1 == Some(self.0) && step == 2
    }
}

/// A small table with a recipe of three folds.
fn folded(dir: &Path) -> Recipe {
    let path = dir.join("table.csv");
    let row = |i: u64| format!("{},{}\n", i * 7919 % 101, i * 104_729 % 89);
    std::fs::write(&path, format!("a,b\n{}", (0..120).map(row).collect::<String>())).unwrap();
    let mut recipe = Recipe::for_data(&path.display().to_string());
    recipe.train.steps = 6;
    recipe.calibration.folds = Some(3);
    recipe
}

#[test]
fn folds_are_trained_after_the_model_and_can_be_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let [whole, parts] = ["whole", "parts"].map(|name| dir.path().join(name));
    let recipe = folded(dir.path());
    let mut seen = InFold(0, None);
    assert_eq!((train(&recipe, &whole, &mut seen).unwrap().end, seen.0), (End::Finished, 3));
    let compile = |out: &Path| Run::open(out).unwrap().compile(&crate::compile::CompileOptions::default());
    // Stopped in the second fold: the model is complete, and cannot be compiled before its calibration is.
    let stopped = train(&recipe, &parts, &mut InFold(0, Some(2))).unwrap();
    assert_eq!((stopped.end, stopped.step), (End::Interrupted, 6));
    let missing = compile(&parts).err().unwrap().to_string();
    assert!(missing.contains("fold-2.safetensors") && missing.contains("--resume"), "{missing}");
    let mut seen = InFold(0, None);
    assert_eq!((resume(&parts, &mut seen).unwrap().end, seen.0), (End::Finished, 3));
    let blobs = [&whole, &parts].map(|out| compile(out).unwrap().compilation.compiled.blob);
    assert_eq!(blobs[0], blobs[1]);
    let model = blobs[0].load(elbo::Limits::host()).unwrap();
    // All train and validation rows calibrate.
    assert_eq!(model.meta().unwrap().calibrations.score.rows(), 108);
    let mut seen = InFold(0, None);
    assert_eq!((resume(&whole, &mut seen).unwrap().end, seen.0), (End::Finished, 0));
}

#[test]
fn folds_that_the_data_do_not_allow_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut recipe = folded(dir.path());
    recipe.calibration.folds = Some(55);
    let error = train(&recipe, &dir.path().join("run"), &mut ()).unwrap_err().to_string();
    assert!(error.contains("calibration.folds") && error.contains("at most 54 for 108"), "{error}");
    recipe.calibration.folds = Some(1);
    let error = recipe.check().unwrap_err().to_string();
    assert!(error.contains("calibration.folds") && error.contains("0 for none"), "{error}");
    // Rows that are split in another way than at the training are refused.
    let out = dir.path().join("run");
    recipe.calibration.folds = Some(0);
    train(&recipe, &out, &mut ()).unwrap();
    let mut run = Run::open(&out).unwrap();
    run.recipe.calibration.fraction = 0.0;
    let error = run.dataset().unwrap_err();
    assert!(matches!(error, RunError::SplitChanged { .. }) && error.to_string().contains("train again"), "{error}");
}
