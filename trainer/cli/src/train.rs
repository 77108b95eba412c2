//! `elbo train` trains a model and writes a run folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::bail;
use elbo::Rate;
use elbo_compiler::rate::percent;
use elbo_trainer::auto::{self, Verdict};
use elbo_trainer::family;
use elbo_trainer::recipe::Recipe;
use elbo_trainer::run::{Run, resume_run, train};
use elbo_trainer::train::{End, Outcome};

use super::options::{Options, assignment};
use crate::output::{noteln, outln};
use crate::progress::Progress;

const EXAMPLES: &str = "Examples:
  elbo train digits                               a built-in recipe (seconds)
  elbo train --family wgan --data digits          another family with its own defaults (minutes)
  elbo train mnist --data-dir data --seed 1       needs the four MNIST files in data or data/mnist
  elbo train --data sensor.csv                    a VAE of the rows of a table
  elbo train --data sensor.csv --hidden 32,16 --latent 4 --steps 5000
  elbo train --data log.csv --drop-columns time,site --label-column fault
  elbo train --data faces.npy --kind image        an array of floats that are images
  elbo train digits --family dlgm --layers 8,8    a deep latent Gaussian model
  elbo train --family auto --data sensor.csv      a mixture, a flow and a VAE; held-out rows choose one
  elbo train --family flow --data sensor.csv      a RealNVP flow, whose score is exact
  elbo train --energy u1 --flow realnvp           a flow that samples an energy, without data
  elbo train mnist --posterior planar             a VAE whose posterior is a planar flow
  elbo train my.toml --out runs/mine              a recipe of your own
  elbo train --resume runs/mine                   continues after Ctrl-C, with the same result

The options override the recipe, and --set sets any field of it:
  elbo train digits --set train.weight_decay=1e-4 --set export.monte_carlo_samples=16
  elbo train --family dlgm --data digits --set dlgm.layers=8,4 --set dlgm.covariance=diagonal
`elbo recipe --fields FAMILY` lists the fields with their types, defaults and meanings.

The file README.txt in the run folder explains the other files. Training its recipe.toml again gives
the same result.";

/// Trains a model from a recipe or a data file.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Built-in recipe, or path of a TOML file. `elbo recipe` lists the built-in recipes.
    recipe: Option<String>,
    /// Family of the model. With --data, its own defaults are used. With a recipe, the recipe is changed to this
    /// family.
    #[arg(long, value_name = "FAMILY", long_help = families())]
    family: Option<String>,
    #[command(flatten)]
    options: Options,
    /// Sets a field of the recipe, after all other options. The option may be given several times.
    #[arg(long, value_name = "FIELD=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
    /// Run folder that is created. The default is runs/NAME-sSEED.
    #[arg(long, value_name = "RUN")]
    out: Option<PathBuf>,
    /// Continues the run in this folder. If its data have moved, name them again with --data.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["recipe", "family", "set", "out"])]
    resume: Option<PathBuf>,
}

/// Whether a name is that of a file of data, which recipes are not.
fn data_file(name: &str) -> bool {
    const ENDINGS: [&str; 15] = [
        "csv", "tsv", "txt", "dat", "npy", "npz", "idx", "gz", "parquet", "arrow", "feather", "xlsx", "ubyte", "mat",
        "h5",
    ];
    let path = std::path::Path::new(name);
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default();
    ENDINGS.contains(&ending.as_str()) || ending.ends_with("-ubyte") || name.ends_with("-ubyte")
}

/// The help of `--family`, with one line for each family.
fn families() -> String {
    let line = |entry: &family::Entry| format!("\n  {:<8} {}", entry.name, entry.description);
    let lines: String = family::ALL.iter().map(line).collect();
    format!(
        "Family of the model. With --data, its own defaults are used. With a recipe, the recipe is changed to this \
         family. The families are:{lines}\n  {AUTO:<8} the likeliest of {}: each is trained into a folder of its own, \
         and the validation rows of the table choose, without labels",
        auto::FAMILIES.join(", ")
    )
}

/// The value of `--family` that stands for the choice between several.
const AUTO: &str = "auto";

impl Args {
    /// The recipe of this family, or of the one that the options choose.
    fn recipe(&self, family: Option<&str>) -> anyhow::Result<Recipe> {
        let family = family.or(self.options.family());
        let mut recipe = match (&self.recipe, self.options.data()) {
            (Some(name), _) => match data_file(name) {
                true => bail!("{name}: a file of data and no recipe; give the data with --data {name}"),
                false => Recipe::find(name)?,
            },
            (None, None) => match self.options.recipe()? {
                Some(recipe) => recipe,
                None => bail!("there is nothing to train. Name a recipe (`elbo train digits`) or give --data FILE."),
            },
            (None, Some(data)) => match family {
                Some(family) => Recipe::for_family(family, data)?,
                None => Recipe::for_data(data),
            },
        };
        if let Some(family) = family {
            recipe.switch(family)?;
        }
        self.options.apply(&mut recipe)?;
        for (field, value) in &self.set {
            recipe.set(field, value)?;
        }
        // The paths must stay valid if a later command runs in another folder.
        if let Some(dir) = &mut recipe.data.data_dir {
            *dir = std::path::absolute(&*dir)?;
        }
        if PathBuf::from(&recipe.data.spec).exists()
            && !matches!(recipe.data.spec.as_str(), "digits" | "mnist" | "moons" | "machine")
        {
            recipe.data.spec = std::path::absolute(&recipe.data.spec)?.display().to_string();
        }
        Ok(recipe)
    }

    /// The run folder for a run of this name.
    fn out(&self, name: &str, seed: u64) -> PathBuf {
        self.out.clone().unwrap_or_else(|| PathBuf::from("runs").join(format!("{name}-s{seed}")))
    }
}

/// Which false-alarm rates the blob of a run will support.
fn calibration(run: &Run) -> String {
    let folds = run.recipe.calibration.folds.unwrap_or(0);
    let (rows, of) = match folds {
        0 => (run.data.calibration_rows, "held-out rows".to_owned()),
        _ => (run.data.train_rows + run.data.validation_rows, format!("rows held out in {folds} folds")),
    };
    let rows = u32::try_from(rows).unwrap_or(u32::MAX);
    match Rate::new(1, rows.saturating_add(1)).filter(|_| rows > 0) {
        None => "calibrated with no rows, so that scores have no p-values and there is no threshold".to_owned(),
        Some(least) => format!("calibrated with {rows} {of}: false-alarm rates from {least} ({}) on", percent(least)),
    }
}

pub(super) fn run(mut args: Args) -> anyhow::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut progress = Progress::new(stop.clone());
    ctrlc::set_handler(move || {
        if stop.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        noteln!("\nstopping after this step, with a checkpoint. Press Ctrl-C again to end at once.");
    })
    .map_err(|e| anyhow::anyhow!("Ctrl-C cannot be handled: {e}"))?;
    if args.family.as_deref() == Some(AUTO) {
        return choose(&args, &mut progress);
    }
    let (outcome, out) = match args.resume.take() {
        Some(path) => {
            let mut run = Run::open(&path)?;
            args.options.moved()?.apply(&mut run);
            (resume_run(&run, &mut progress)?, path)
        }
        None => {
            let recipe = args.recipe(args.family.as_deref())?;
            let out = args.out(&recipe.name, recipe.train.seed);
            (train(&recipe, &out, &mut progress)?, out)
        }
    };
    report(&outcome, &out)
}

/// Trains every candidate, and shows them side by side.
fn choose(args: &Args, progress: &mut Progress) -> anyhow::Result<()> {
    let recipes = auto::FAMILIES.map(|family| Ok((family, args.recipe(Some(family))?)));
    let candidates = recipes.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let Some((family, first)) = candidates.first() else { return Ok(()) };
    let name = first.name.trim_end_matches(&format!("-{family}")).to_owned();
    let out = args.out(&format!("{name}-{AUTO}"), first.train.seed);
    let (trials, best) = match auto::choose(&candidates, &out, progress)? {
        Verdict::Interrupted(outcome, run) => return report(&outcome, &run),
        Verdict::Chosen(trials, best) => (trials, best),
    };
    outln!("family    nats per row  train rows  validation rows  bytes of the score  seconds")?;
    for trial in &trials {
        let [train, validation] = trial.rows;
        outln!(
            "{:<8}  {:>12.3}  {train:>10}  {validation:>15}  {:>18}  {:>7.0}",
            trial.family,
            trial.nats,
            trial.bytes.as_ref().map_or_else(|_| "none".to_owned(), usize::to_string),
            trial.seconds
        )?;
    }
    for trial in &trials {
        if let Err(reason) = &trial.bytes {
            outln!("{} cannot be compiled and is therefore not chosen: {reason}", trial.family)?;
        }
    }
    let chosen = &trials[best];
    outln!(
        "chosen: {}. It has the lowest -log p (or bound on it) of the validation rows, in nats per row. The rows have\n\
         noise of the variance that rounding hides plus 0.01, and the least likely percent of them is left out.",
        chosen.family
    )?;
    let run = chosen.run.display();
    outln!("run:       {run} (the others are beside it)\nevaluate:  elbo eval {run}")?;
    Ok(())
}

/// Says how a training ended, and what can follow.
fn report(outcome: &Outcome, out: &Path) -> anyhow::Result<()> {
    let bound = outcome
        .best_elbo
        .map_or(String::new(), |v| format!("; best validation ELBO {v:.3} nats per row at step {}", outcome.best_step));
    let how = match outcome.end {
        End::Finished => "trained",
        End::Early => "stopped early, because the bound no longer improved,",
        End::Interrupted => "interrupted",
    };
    outln!("{how} after {} steps, {:.0} s{bound}", outcome.step, outcome.seconds)?;
    if outcome.end != End::Interrupted {
        outln!("{}", calibration(&Run::open(out)?))?;
    }
    let run = out.display();
    match outcome.end {
        End::Interrupted => outln!("continue:  elbo train --resume {run}")?,
        _ => outln!("run:       {run} (README.txt explains its files)\nevaluate:  elbo eval {run}")?,
    }
    Ok(())
}
