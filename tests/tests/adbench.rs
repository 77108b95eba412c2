//! Anomaly detection on six tables of ADBench (Han et al., 2022) with mixtures of Gaussians: the integer score is as good as
//! the float one, and as good as published detectors of the same kind.
//!
//! The tables lie in the folder `adbench` of the folder that `ELBO_DATA` names, as `NAME.csv.gz`: normalised columns, `label` 1
//! of an anomaly, `split` with anomalies only among the test rows.

use std::path::{Path, PathBuf};

use elbo::ProgramKind;
use elbo_compiler::metrics::roc;
use elbo_trainer::compile::{CompileOptions, Names, compile};
use elbo_trainer::evaluate::elbo_of_rows;
use elbo_trainer::family::Register;
use elbo_trainer::family::mixture::{Entry, GaussianMixture, MixtureRecipe};
use elbo_trainer::settings::DataRecipe;
use elbo_trainer::train::fit;

/// Largest differences between integers and floats: of the area under the ROC curve, and of its part up to a false-alarm
/// rate of 0.1.
const AREA: f64 = 0.001;
const PARTIAL_AREA: f64 = 0.003;

/// Areas under the ROC curve of the Mahalanobis distance and of scikit-learn's `GaussianMixture` with 8 components, fitted to
/// all train rows.
const REFERENCE: [(&str, f64, f64); 6] = [
    ("cardio", 0.944, 0.824),
    ("thyroid", 0.973, 0.980),
    ("shuttle", 0.994, 1.000),
    ("ionosphere", 0.965, 0.949),
    ("pendigits", 0.844, 0.995),
    ("breastw", 0.983, 0.984),
];

/// What a model scores on the test rows.
struct Measured {
    /// Areas under the ROC curve, of the float and of the integer score.
    areas: [f64; 2],
    /// The same up to a false-alarm rate of 0.1, divided by it.
    partial: [f64; 2],
    components: usize,
    bytes: usize,
}

fn measure(folder: &Path, name: &str, recipe: MixtureRecipe) -> Measured {
    let spec = folder.join(format!("{name}.csv.gz")).display().to_string();
    // All train rows, as the references had.
    let dataset =
        DataRecipe { spec, validation_fraction: 0.0, ..DataRecipe::default() }.load().expect("a table of ADBench");
    let mut model = GaussianMixture::new(recipe, dataset.dim).expect("a mixture");
    fit(&mut model, &dataset, &Entry::train(), &mut ()).expect("a fit");
    let names = Names { name, family: "mixture" };
    let options = CompileOptions { programs: Some(vec![ProgramKind::Score]), ..CompileOptions::default() };
    let compiled = compile(&model, names, &dataset, &Entry::export(), &options).expect("a blob");
    let anomalous = roc::anomalies(dataset.test.labels.as_deref().expect("labels")).expect("anomalies");
    let (_, bounds) = elbo_of_rows(&model, &dataset.test, 1, 0).expect("densities");
    let float: Vec<f64> = bounds.iter().map(|bound| -bound).collect();
    let blob = &compiled.compiled.blob;
    let nats = blob.scores(&compiled.test).expect("scores");
    let integer: Vec<f64> = nats.iter().map(|nats| nats.to_f64()).collect();
    let both = [&float, &integer];
    Measured {
        areas: both.map(|scores| roc::auc(scores, &anomalous).expect("both classes")),
        partial: both.map(|scores| roc::partial_auc(scores, &anomalous, 0.1).expect("both classes")),
        components: model.mixture().expect("a mixture").components(),
        bytes: blob.bytes().len(),
    }
}

fn data() -> Option<PathBuf> {
    let folder = std::env::var_os("ELBO_DATA").map(|folder| PathBuf::from(folder).join("adbench"));
    let folder = folder.filter(|folder| folder.is_dir());
    if folder.is_none() {
        eprintln!("skipped: ELBO_DATA does not name a folder with `adbench` in it");
    }
    folder
}

/// The differences between integers and floats that are too large.
fn unequal(name: &str, measured: &Measured) -> Vec<String> {
    let mut differ = Vec::new();
    for (what, [float, integer], most) in
        [("area", measured.areas, AREA), ("partial area", measured.partial, PARTIAL_AREA)]
    {
        if (integer - float).abs() > most {
            differ.push(format!("{name}: the {what} {integer:.4} of integers is not within {most} of {float:.4}"));
        }
    }
    differ
}

#[test]
fn integer_scores_are_as_good_as_published_detectors() {
    let Some(folder) = data() else { return };
    println!("              Mahalanobis  k = 1 float  integer    GMM8    k = 8 float  integer");
    let mut missed = Vec::new();
    for (name, mahalanobis, gmm) in REFERENCE {
        let [one, eight] = [1, 8].map(|components| measure(&folder, name, MixtureRecipe::gaussians(components)));
        let ([float, integer], [float_8, integer_8]) = (one.areas, eight.areas);
        println!(
            "{name:12}  {mahalanobis:11.3}  {float:11.4}  {integer:7.4}  {gmm:7.3}  {float_8:11.4}  {integer_8:7.4}"
        );
        if (integer - mahalanobis).abs() > 0.002 {
            missed.push(format!("{name}: {integer:.4} of one component is not within 0.002 of {mahalanobis}"));
        }
        missed.extend([one, eight].iter().flat_map(|measured| unequal(name, measured)));
        if integer_8 < gmm - 0.01 {
            missed.push(format!("{name}: {integer_8:.4} of eight components is below {gmm} - 0.01"));
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

/// The best of five detectors fitted to all train rows: isolation forest, Mahalanobis distance, distance to the fifth
/// neighbour, `GaussianMixture` with 8 components, and a VAE.
const BEST: [(&str, f64); 6] = [
    ("cardio", 0.945),
    ("thyroid", 0.990),
    ("shuttle", 1.000),
    ("ionosphere", 0.982),
    ("pendigits", 0.999),
    ("breastw", 0.993),
];

/// The least mean of the areas of the six tables.
const MEAN: f64 = 0.975;

/// The default recipe of the family, the same for every table.
#[test]
fn the_default_mixture_is_close_to_the_best_of_several_detectors() {
    let Some(folder) = data() else { return };
    println!("              best of five  components   float  integer  partial float  integer  bytes");
    let (mut missed, mut sum) = (Vec::new(), 0.0);
    for (name, best) in BEST {
        let measured = measure(&folder, name, MixtureRecipe::default());
        let ([float, integer], [partial, partial_integer]) = (measured.areas, measured.partial);
        println!(
            "{name:12}  {best:12.3}  {:10}  {float:6.4}  {integer:7.4}  {partial:13.4}  {partial_integer:7.4}  {:5}",
            measured.components, measured.bytes
        );
        if integer < best - 0.03 {
            missed.push(format!("{name}: {integer:.4} is below {best} - 0.03"));
        }
        missed.extend(unequal(name, &measured));
        sum += integer;
    }
    let mean = sum / BEST.len() as f64;
    println!("mean {mean:.4}");
    assert!(mean >= MEAN && missed.is_empty(), "mean {mean:.4}, {missed:#?}");
}
