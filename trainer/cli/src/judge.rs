//! `elbo judge` measures the quality of drawn images with a classifier that was trained on real ones.

use std::path::PathBuf;

use anyhow::{Context, bail};
use elbo_compiler::host::draws;
use elbo_compiler::metrics::roc;
use elbo_trainer::data::{self, DataOptions, Dataset, Reading};
use elbo_trainer::evaluate::scores;
use elbo_trainer::family::{self, Score};
use elbo_trainer::judge::{Classifier, Judgement, STEPS};
use elbo_trainer::nn::{Rng, on_pool};
use elbo_trainer::noise::{Purpose, generator};
use elbo_trainer::run::Run;

use crate::blob::{load, read};
use crate::counts;
use crate::output::{noteln, outln};

const EXAMPLES: &str = "Examples:
  elbo judge runs/wgan-digits-s0                      the samples of the float model
  elbo judge digits.elbo --data digits                exactly the samples that a board draws
  elbo judge runs/wgan-mnist-s0 --judge judges        the classifier is kept in the folder judges

The first call trains a classifier on the training rows of the data set and keeps it in the folder
--judge. For MNIST this takes some minutes. The report compares the classes of the drawn images with
a uniform histogram. It also contains the Frechet distance between Gaussians that are fitted to the
classifier's features of drawn and real images.";

/// Measures the quality of the images that a model draws.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Run folder that `elbo train` has written, or blob that `elbo compile` has written.
    model: PathBuf,
    /// Folder in which the classifier is kept for later calls.
    #[arg(long, default_value = "judges", value_name = "DIR")]
    judge: PathBuf,
    /// Data set on which a blob was trained: digits, mnist, or a folder of IDX files. A run folder names it already.
    #[arg(long, value_name = "DATA")]
    data: Option<String>,
    /// Folder that contains the data set. The default is the environment variable ELBO_DATA.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Number of images to draw.
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    count: usize,
    /// Seed of the noise.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    counts::count("--count", args.count, &(2..=*counts::SAMPLES.end()))?;
    if args.model.is_dir() {
        let run = Run::open(&args.model)?;
        let (dataset, model) = (run.dataset()?, run.model()?);
        let Some(sampler) = model.capabilities().sampler else {
            bail!("{}: the model has no program that draws samples", args.model.display());
        };
        let mut noise = generator(args.seed, Purpose::Pictures, 1);
        let mut images = Vec::with_capacity(args.count * dataset.dim);
        while images.len() < args.count * dataset.dim {
            let n = (args.count - images.len() / dataset.dim).min(500);
            let drawn = on_pool(|| sampler.sample(n, &mut noise))?;
            images.extend(drawn.flatten_all()?.to_vec1::<f32>()?);
        }
        report(&images, &dataset, args)?;
        if let Some(scores) = on_pool(|| scores(&*model, &against_noise(&dataset, args.seed)))? {
            report_critic(&scores, &dataset)?;
        }
        return Ok(());
    }
    let Some(spec) = &args.data else {
        bail!("{}: a blob does not name the data that it was trained on. Name them with --data.", args.model.display());
    };
    let blob = read(&args.model)?;
    let model = load(&blob, &args.model)?;
    let reading = if model.reading()?.is_some() { Some(Reading::of_model(&model)?) } else { None };
    let options = DataOptions { reading, ..DataOptions::default() };
    let dataset = data::load(spec, args.data_dir.as_deref(), &options)?;
    let images = draws(&model, args.count, args.seed)?.context("the model has no program that draws samples")?.concat();
    if images.len() != args.count * dataset.dim {
        let width = images.len() / args.count;
        bail!(
            "the model draws {width} values, but the rows of `{}` have {}. Name the model's own data with --data.",
            dataset.name,
            dataset.dim
        );
    }
    report(&images, &dataset, args)?;
    if family::find(model.meta()?.family).is_ok_and(|family| family.score == Score::Critic) {
        let rows: Vec<Vec<f32>> =
            against_noise(&dataset, args.seed).chunks_exact(dataset.dim).map(<[f32]>::to_vec).collect();
        let scores: Vec<f64> = blob.scores(&rows)?.iter().map(|score| score.to_f64()).collect();
        report_critic(&scores, &dataset)?;
    }
    Ok(())
}

/// The test rows, followed by the same number of rows of uniform noise.
fn against_noise(dataset: &Dataset, seed: u64) -> Vec<f32> {
    let mut rng = Rng::new(seed);
    let noise: Vec<f32> = dataset.test.x.iter().map(|_| rng.unit() as f32).collect();
    [dataset.test.x.as_slice(), &noise].concat()
}

/// Prints how well the critic separates the two halves of [`against_noise`].
fn report_critic(scores: &[f64], dataset: &Dataset) -> anyhow::Result<()> {
    let strange: Vec<bool> = (0..scores.len()).map(|i| i >= dataset.test.n).collect();
    if let Some(area) = roc::auc(scores, &strange) {
        outln!("critic's AUC      {area:.4} (test rows against uniform noise)")?;
    }
    Ok(())
}

fn report(images: &[f32], dataset: &Dataset, args: &Args) -> anyhow::Result<()> {
    let path = Classifier::file(&args.judge, dataset);
    if !path.exists() {
        noteln!("training a classifier of `{}`, which will be kept as {}", dataset.name, path.display());
    }
    let watch = |step: u64, loss: f64| {
        if step.is_multiple_of(500) {
            noteln!("step {step}/{STEPS}  loss {loss:.4}");
        }
    };
    let classifier = on_pool(|| Classifier::load_or_train(dataset, &args.judge, watch))?;
    outln!("{}", on_pool(|| Judgement::of(images, dataset, &classifier))?)?;
    Ok(())
}
