//! `elbo compile` turns a run folder into a blob and prints reports on its cost and accuracy.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args as ClapArgs, ValueEnum};
use elbo::Limits;
use elbo::kernel::Packing;
use elbo::program::{ProgramKind, Role};
use elbo_compiler::fidelity::{Labels, fidelity};
use elbo_compiler::host::draws;
use elbo_compiler::metrics::roc;
use elbo_compiler::quantize::WeightBits;
use elbo_compiler::{Compiled, report};
use elbo_trainer::compile::{Compilation, CompileOptions};
use elbo_trainer::model::Bounded;
use elbo_trainer::plane;
use elbo_trainer::run::{CompiledRun, Run};

use super::columns::{Moved, say};
use crate::counts;
use crate::output::outln;

/// The order of the weights. It affects the speed and the size, but no result.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Target {
    /// Interleaves four rows at a time. This is the fastest order on the host and on all cores measured (M0, M4, M7 and
    /// M33).
    Dsp,
    /// Stores one row after another. This is slightly smaller if the number of rows is not a multiple of four.
    Plain,
}

/// Options of `elbo compile`.
#[derive(ClapArgs, Debug)]
#[command(after_help = "\
Examples:
  elbo compile runs/digits -o digits.elbo
  elbo compile runs/mnist -o mnist.elbo --importance-samples 16 --operations
  elbo compile runs/fan -o fan.elbo --programs score,reconstruct
  elbo compile runs/energy-u1-s0 -o u1.elbo --density u1.png")]
pub struct Args {
    /// Run folder that `elbo train` has written.
    pub run: PathBuf,
    /// File to which the blob is written.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    #[command(flatten)]
    pub moved: Moved,
    /// Order of the weights.
    #[arg(long, value_enum, default_value = "dsp")]
    pub target: Target,
    /// Number of bits of a weight, 8 or 16. With 16 bits scores stay much closer to the float model, but the weights take
    /// twice the flash and time. The default is the recipe's number. If it has none, a model of real-valued rows, such as a
    /// table, has 16 bits if it has at most 65,536 weights; any other model has 8.
    #[arg(long, value_name = "BITS")]
    pub weight_bits: Option<WeightBits>,
    /// Programs that the blob shall contain, with commas between: for example score,reconstruct. The default is all that the
    /// model has. The fewer there are, the less flash and RAM the model takes.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = program)]
    pub programs: Option<Vec<ProgramKind>>,
    /// Number of latent draws of the Monte Carlo score. With 0 the blob does not contain this score. The default is the
    /// recipe's number.
    #[arg(long, value_name = "L")]
    pub monte_carlo_samples: Option<usize>,
    /// Number of latent draws of the importance-weighted score. Each takes 8 bytes of RAM. With 0 the blob does not contain
    /// this score. The default is the recipe's number, which is 0 for a table.
    #[arg(long, value_name = "K")]
    pub importance_samples: Option<usize>,
    /// Number of training rows with which the scales are calibrated.
    #[arg(long, default_value_t = 1000)]
    pub calibration_rows: usize,
    /// Number of test rows on which the float model and the integers are compared. The default is all rows.
    #[arg(long)]
    pub test_rows: Option<usize>,
    /// Seed of the binarisation, of the noise and of the self-test.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Writes a PNG of a flow in two dimensions. It shows the target, the density in floating point, the density of the
    /// integers and their samples, side by side.
    #[arg(long, value_name = "FILE")]
    pub density: Option<PathBuf>,
    /// Also prints the operations of every program.
    #[arg(long)]
    pub operations: bool,
}

/// The kind of program with this name.
fn program(name: &str) -> Result<ProgramKind, String> {
    ProgramKind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
        let known: Vec<&str> = ProgramKind::ALL.into_iter().map(ProgramKind::name).collect();
        format!("expected one of {}", known.join(", "))
    })
}

/// Runs the command.
///
/// # Errors
/// The folder is not a run folder, the model cannot be compiled, or the output cannot be written.
pub fn run(args: &Args) -> Result<()> {
    let draws = |option: &str, given: Option<usize>| {
        given.map(|given| counts::count(option, given, &counts::OPTIONAL_DRAWS)).transpose()
    };
    let monte_carlo_samples = draws("--monte-carlo-samples", args.monte_carlo_samples)?;
    let importance_samples = draws("--importance-samples", args.importance_samples)?;
    let calibration_rows = counts::count("--calibration-rows", args.calibration_rows, &counts::SAMPLES)?;
    args.test_rows.map(|rows| counts::count("--test-rows", rows, &counts::ROWS)).transpose()?;
    let mut run = Run::open(&args.run)?;
    args.moved.apply(&mut run);
    if args.density.is_some()
        && !(run.model()?.capabilities().bounds.is_some_and(Bounded::exact) && run.shape().dim() == 2)
    {
        bail!("--density needs a flow in two dimensions, and `{}` is not one. Leave the option out.", run.recipe.name);
    }
    let options = CompileOptions {
        packing: match args.target {
            Target::Dsp => Packing::Dsp4,
            Target::Plain => Packing::RowMajor,
        },
        weight_bits: args.weight_bits,
        programs: args.programs.clone(),
        monte_carlo_samples,
        importance_samples,
        calibration_rows,
        seed: args.seed,
    };
    let CompiledRun { compilation: Compilation { compiled, mut test }, model, dataset } = run.compile(&options)?;
    say(&dataset);

    std::fs::write(&args.output, compiled.blob.bytes())
        .with_context(|| format!("{}: the blob cannot be written", args.output.display()))?;
    test.truncate(args.test_rows.unwrap_or(usize::MAX));
    let mut anomalous = dataset.test.labels.as_deref().and_then(roc::anomalies);
    if let Some(marks) = &mut anomalous {
        marks.truncate(test.len());
    }
    let classes = dataset.test.labels.as_deref().filter(|_| model.classes_are_labels());
    let labels = Labels { anomalous: anomalous.as_deref(), classes };
    print_report(&compiled, &test, labels, args)?;
    if let Some(path) = &args.density {
        let mut panels = vec![plane::target(&*model, &dataset)?, plane::density(&*model)?];
        panels.extend(of_integers(&compiled, args.seed)?);
        plane::write(path, panels).with_context(|| format!("{}: cannot be written", path.display()))?;
        outln!("wrote {}", path.display())?;
    }
    Ok(())
}

/// The density and the samples of the integer programs in the plane.
fn of_integers(compiled: &Compiled, seed: u64) -> Result<Vec<plane::Panel>> {
    let centres: Vec<Vec<f32>> = plane::centres().into_iter().map(Vec::from).collect();
    let density: Vec<f32> = compiled.blob.scores(&centres)?.iter().map(|nats| (-nats.to_f64()).exp() as f32).collect();
    let draws = draws(&compiled.blob.load(Limits::host())?, plane::DRAWS, seed)?;
    let draws = draws.map(|points| plane::histogram(&points.concat()));
    Ok([Some(density).filter(|density| !density.is_empty()), draws].into_iter().flatten().collect())
}

fn print_report(compiled: &Compiled, test: &[Vec<f32>], labels: Labels<'_>, args: &Args) -> Result<()> {
    let model = compiled.blob.load(Limits::host())?;
    outln!("{}", report::layers(compiled))?;
    outln!("{}", report::costs(&model, compiled.blob.bytes().len()))?;
    outln!("{}", report::firmware(&model))?;
    outln!("{}", report::calibrations(&model)?)?;
    if args.operations {
        outln!("{}", report::disassembly(&model))?;
    }
    outln!("comparison of float and integers on the test split, with the same inputs and noise:")?;
    for kind in ProgramKind::ALL {
        compare(compiled, kind, test, labels, args.seed)?;
    }
    if let Some(marks) = labels.anomalous {
        // Extreme anomalies exceed the range of 16 bits, so that their errors say nothing about normal rows.
        outln!("the scores of the normal rows alone:")?;
        let normal = test.iter().zip(marks).filter(|(_, anomalous)| !**anomalous).map(|(x, _)| x.clone());
        let normal: Vec<Vec<f32>> = normal.collect();
        for kind in ProgramKind::ALL.into_iter().filter(|kind| kind.signature().vectors == 0) {
            compare(compiled, kind, &normal, Labels::default(), args.seed)?;
        }
    }
    outln!("wrote {}", args.output.display())?;
    Ok(())
}

/// Largest number of steps of all runs of one program in a comparison. More rows would hardly change the statistics.
const STEPS: u64 = 30_000_000_000;

fn compare(compiled: &Compiled, kind: ProgramKind, rows: &[Vec<f32>], labels: Labels<'_>, seed: u64) -> Result<()> {
    let model = compiled.blob.load(Limits::host())?;
    let Some(program) = model.program(kind) else { return Ok(()) };
    if kind.input_roles().contains(&Role::Features) {
        // With a front end the rows are windows of samples, and the score of a window contains this program.
        return Ok(());
    }
    let most = (STEPS / program.work.max(1)).max(1) as usize;
    let step = rows.len().div_ceil(most).max(1);
    let rows: Vec<Vec<f32>> = rows.iter().step_by(step).cloned().collect();
    let marks: Option<Vec<bool>> = labels.anomalous.map(|marks| marks.iter().step_by(step).copied().collect());
    let classes: Option<Vec<u32>> = labels.classes.map(|classes| classes.iter().step_by(step).copied().collect());
    let labels = Labels { anomalous: marks.as_deref(), classes: classes.as_deref() };
    outln!("{}", fidelity(compiled, kind, &rows, labels, seed)?)?;
    Ok(())
}
