//! Anomaly detection on six tables of ADBench (Han et al., 2022) with mixtures of Gaussians: the integer score is as good as
//! the float one, and as good as published detectors of the same kind.
//!
//! The tables lie in the folder `adbench` of the folder that `ELBO_DATA` names, as `NAME.csv.gz`: normalised columns, `label` 1
//! of an anomaly, `split` with anomalies only among the test rows.

use std::path::{Path, PathBuf};

use elbo_compiler::roc;
use elbo_trainer::compile::{CompileOptions, Names, compile};
use elbo_trainer::evaluate::elbo_of_rows;
use elbo_trainer::family::Register;
use elbo_trainer::family::mixture::{Entry, GaussianMixture, MixtureRecipe};
use elbo_trainer::settings::DataRecipe;
use elbo_trainer::train::fit;

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

/// Areas of the float and of the integer score on the test rows.
fn areas(folder: &Path, name: &str, components: usize) -> [f64; 2] {
    let spec = folder.join(format!("{name}.csv.gz")).display().to_string();
    // All train rows, as the references had.
    let dataset =
        DataRecipe { spec, validation_fraction: 0.0, ..DataRecipe::default() }.load().expect("a table of ADBench");
    let recipe = MixtureRecipe { components, ..MixtureRecipe::default() };
    let mut model = GaussianMixture::new(recipe, dataset.dim).expect("a mixture");
    fit(&mut model, &dataset, &Entry::train(), &mut ()).expect("a fit");
    let names = Names { name, family: "mixture" };
    let compiled = compile(&model, names, &dataset, &Entry::export(), &CompileOptions::default()).expect("a blob");
    let anomalous = roc::anomalies(dataset.test.labels.as_deref().expect("labels")).expect("anomalies");
    let (_, bounds) = elbo_of_rows(&model, &dataset.test, 1, 0).expect("densities");
    let float: Vec<f64> = bounds.iter().map(|bound| -bound).collect();
    let nats = compiled.compiled.blob.scores(&compiled.test).expect("scores");
    let integer: Vec<f64> = nats.iter().map(|nats| nats.to_f64()).collect();
    [float, integer].map(|scores| roc::auc(&scores, &anomalous).expect("both classes"))
}

#[test]
fn integer_scores_are_as_good_as_published_detectors() {
    let folder = std::env::var_os("ELBO_DATA").map(|folder| PathBuf::from(folder).join("adbench"));
    let Some(folder) = folder.filter(|folder| folder.is_dir()) else {
        eprintln!("skipped: ELBO_DATA does not name a folder with `adbench` in it");
        return;
    };
    println!("              Mahalanobis  k = 1 float  integer    GMM8    k = 8 float  integer");
    let mut missed = Vec::new();
    for (name, mahalanobis, gmm) in REFERENCE {
        let [float, integer] = areas(&folder, name, 1);
        let [float_8, integer_8] = areas(&folder, name, 8);
        println!(
            "{name:12}  {mahalanobis:11.3}  {float:11.4}  {integer:7.4}  {gmm:7.3}  {float_8:11.4}  {integer_8:7.4}"
        );
        if (integer - mahalanobis).abs() > 0.002 {
            missed.push(format!("{name}: {integer:.4} of one component is not within 0.002 of {mahalanobis}"));
        }
        for (k, float, integer) in [(1, float, integer), (8, float_8, integer_8)] {
            if (integer - float).abs() > 0.001 {
                missed.push(format!("{name}: {integer:.4} of integers is not within 0.001 of {float:.4}, k = {k}"));
            }
        }
        if integer_8 < gmm - 0.01 {
            missed.push(format!("{name}: {integer_8:.4} of eight components is below {gmm} - 0.01"));
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}
