//! Models with a front end: from recordings to alarms and their causes.
//!
//! The simulated machine is always tested, and recordings of the folder that `ELBO_DATA` names where it has them.

use std::f64::consts::TAU;
use std::path::PathBuf;

use elbo::{Limits, ProgramKind, Rate};
use elbo_compiler::Explanation;
use elbo_compiler::fidelity::paired;
use elbo_compiler::front::Part;
use elbo_compiler::host::{Runner, quantize};
use elbo_compiler::metrics::roc;
use elbo_trainer::compile::{Compilation, CompileOptions, Names, compile};
use elbo_trainer::data::{CalibrationRows, DataOptions, Dataset, Features, FrontRecipe, load};
use elbo_trainer::recipe::Recipe;
use elbo_trainer::settings::DataShape;
use elbo_trainer::train::fit;

/// Largest differences between the areas under the ROC curve of floats and integers, and of its part up to a false-alarm
/// rate of 0.1.
const AREA: f64 = 0.001;
const PARTIAL_AREA: f64 = 0.003;

/// Spectra of windows of recordings, of which a share of the train windows calibrates.
fn spectra(spec: &str, window: usize, rate: f64) -> Dataset {
    let front = FrontRecipe {
        features: vec![Features::Spectrum],
        window,
        hop: Some(window),
        rate: Some(rate),
        ..FrontRecipe::default()
    };
    let options = DataOptions {
        front: Some(front),
        calibration: CalibrationRows::Share(0.3),
        leave_out_anomalies: true,
        ..DataOptions::default()
    };
    load(spec, None, &options).expect("recordings")
}

/// A mixture with its default recipe.
fn mixture(dataset: &Dataset) -> Compilation {
    let recipe = Recipe::for_family("mixture", "recordings").expect("a family");
    let mut model = recipe.model(&DataShape::of(dataset)).expect("a model of the features");
    fit(&mut *model, dataset, &recipe.train, &mut ()).expect("a fit");
    let names = Names { name: "recordings", family: "mixture" };
    compile(&*model, names, dataset, &recipe.export, &CompileOptions::default()).expect("a blob")
}

/// The areas under the ROC curve of floats and integers, and their parts; and the share of normal windows that alarm at a
/// false-alarm rate of 1 %.
fn measure(name: &str, dataset: &Dataset, compilation: &Compilation) -> ([f64; 2], f64) {
    let labels = dataset.test.labels.as_deref().expect("labels");
    let anomalous = roc::anomalies(labels).expect("anomalies");
    let pairs = paired(&compilation.compiled, ProgramKind::Score, &compilation.test, 0).expect("scores");
    let scores = [0, 1].map(|of| pairs.iter().map(|pair| pair.scalars[of]).collect::<Vec<f64>>());
    let areas = scores.each_ref().map(|scores| roc::auc(scores, &anomalous).expect("both classes"));
    let partial = scores.each_ref().map(|scores| roc::partial_auc(scores, &anomalous, 0.1).expect("both classes"));
    let model = compilation.compiled.blob.load(Limits::host()).expect("a proved blob");
    let calibration = model.meta().expect("a description").calibrations.get(ProgramKind::Score).expect("a calibration");
    let threshold = calibration.threshold(Rate::ONE_IN_100).expect("rows for 1 %").to_f64();
    let normal = || scores[1].iter().zip(&anomalous).filter(|(_, anomalous)| !**anomalous).map(|(score, _)| *score);
    let alarms = normal().filter(|score| *score >= threshold).count() as f64 / normal().count() as f64;
    println!(
        "{name:10} area {:.4} {:.4}  partial {:.4} {:.4}  {} calibration windows, {:.2} % of {} normal windows alarm at 1 %",
        areas[0],
        areas[1],
        partial[0],
        partial[1],
        calibration.rows(),
        100.0 * alarms,
        normal().count()
    );
    assert!((areas[0] - areas[1]).abs() <= AREA && (partial[0] - partial[1]).abs() <= PARTIAL_AREA, "{name}");
    (areas, alarms)
}

#[test]
fn faults_of_the_simulated_machine_are_found() {
    let dataset = spectra("machine", 256, 200.0);
    let ([_, area], alarms) = measure("machine", &dataset, &mixture(&dataset));
    assert!(area > 0.98 && alarms < 0.05, "{area} {alarms}");
}

#[test]
fn a_coin_on_a_fan_is_found() {
    let folder = std::env::var_os("ELBO_DATA").map(|folder| PathBuf::from(folder).join("fan_vibration"));
    let Some(folder) = folder.filter(|folder| folder.is_dir()) else {
        eprintln!("skipped: ELBO_DATA does not name a folder with `fan_vibration` in it");
        return;
    };
    let dataset = spectra(&folder.join("x.npy.gz").display().to_string(), 200, 200.0);
    let ([_, area], alarms) = measure("fan", &dataset, &mixture(&dataset));
    assert!(area >= 0.995 && alarms <= 0.02, "{area} {alarms}");
}

/// A tone in one band of one axis is a fault of that band. It should be among the first two causes, unless another band of
/// the window happens to be as unusual.
#[test]
fn causes_name_the_band_of_a_fault() {
    let dataset = spectra("machine", 256, 200.0);
    let compilation = mixture(&dataset);
    for (strength, least) in [(3.0, 97), (5.0, 100)] {
        let found = named(&dataset, &compilation, strength);
        println!(
            "tones of {strength} times the amplitude of a band: its name is among the first two causes of {found} in 100"
        );
        assert!(found >= least, "{found}");
    }
}

/// How many of 100 tones are named among the first two causes. A tone has the amplitude that its band has on average, times
/// `strength`.
fn named(dataset: &Dataset, compilation: &Compilation, strength: f64) -> usize {
    let model = compilation.compiled.blob.load(Limits::host()).expect("a proved blob");
    let info = model.program(ProgramKind::Score).and_then(|program| program.inputs[0]).expect("a score");
    let front = dataset.front.as_ref().expect("a front end");
    let Some(Part::Spectrum { edges, .. }) = front.parts.first() else { panic!("a spectrum") };
    let bands = edges.len() - 1;
    let labels = dataset.test.labels.as_deref().expect("labels");
    let normal: Vec<&Vec<f32>> =
        compilation.test.iter().zip(labels).filter(|(_, label)| **label == 0).map(|(window, _)| window).collect();
    let mut runner = Runner::new(&model);
    let mut missed = 0;
    for fault in 0..100 {
        let (axis, band) = (fault % 3, fault * 7 % bands);
        let mut window = normal[fault * 2 % normal.len()].clone();
        let middle = f64::from(edges[band] + edges[band + 1] - 1) / 2.0;
        let samples = &mut window[axis * front.window..][..front.window];
        let mean = dataset.standardise().expect("standardised features").mean[axis * bands + band];
        let amplitude = strength * (2.0 * mean.exp()).sqrt();
        for (at, sample) in samples.iter_mut().enumerate() {
            let tone = amplitude * (TAU * middle * at as f64 / front.window as f64).sin();
            *sample = (f64::from(*sample) + tone).round() as f32;
        }
        let explanation = Explanation::of(&mut runner, &quantize(&window, &info)).expect("an explanation");
        let scores = explanation.scores;
        let sum: i64 = explanation.contributions.iter().map(|nats| nats.to_bits()).sum();
        assert_eq!(sum, scores.score.to_bits() - scores.reference.to_bits());
        let first: Vec<usize> = explanation.largest(2).into_iter().map(|(feature, _)| feature).collect();
        if !first.contains(&(axis * bands + band)) {
            missed += 1;
        }
    }
    100 - missed
}
