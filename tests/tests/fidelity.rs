//! On every labelled set of the folder that `ELBO_DATA` names, the integer score of every row is close to that of the float
//! graph, and it separates anomalies as well.

use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};

use elbo::ProgramKind;
use elbo_compiler::fidelity::paired;
use elbo_compiler::metrics::roc;
use elbo_trainer::compile::{CompileOptions, Names, compile};
use elbo_trainer::recipe::Recipe;
use elbo_trainer::settings::DataShape;
use elbo_trainer::train::fit;

/// Largest differences that are accepted: of the area under the ROC curve, and of its part up to a false-alarm rate of
/// 0.1.
const AREA: f64 = 0.001;
const PARTIAL_AREA: f64 = 0.003;
/// A score is close if it differs by at most this share, plus one nat. Every score must be close.
const SHARE: f64 = 0.01;

/// Scores of the test rows in floating point and in integers, and which rows are anomalous.
struct Scores {
    float: Vec<f64>,
    integer: Vec<f64>,
    anomalous: Vec<bool>,
}

/// Trains and compiles a model of a table, and scores its test rows.
fn scores(family: &str, table: &Path, rows: usize) -> Scores {
    let mut recipe = Recipe::for_family(family, &table.display().to_string()).expect("a family");
    recipe.train.steps = 1500;
    // No rows are kept apart to calibrate scores.
    recipe.calibration.fraction = 0.0;
    let dataset = recipe.dataset().expect("a table with labels and a split");
    let mut model = recipe.model(&DataShape::of(&dataset)).expect("a model of the table");
    fit(&mut *model, &dataset, &recipe.train, &mut ()).expect("a fit");
    let names = Names { name: "table", family };
    let options = CompileOptions::default();
    let compiled = compile(&*model, names, &dataset, &recipe.export, &options).expect("a blob");
    let step = compiled.test.len().div_ceil(rows).max(1);
    let marks = roc::anomalies(dataset.test.labels.as_deref().expect("labels")).expect("anomalies");
    let test: Vec<Vec<f32>> = compiled.test.into_iter().step_by(step).collect();
    let pairs = paired(&compiled.compiled, ProgramKind::Score, &test, 0).expect("scores");
    let [float, integer] = [0, 1].map(|of| pairs.iter().map(|pair| pair.scalars[of]).collect());
    Scores { float, integer, anomalous: marks.into_iter().step_by(step).collect() }
}

/// Prints one line and returns what differs too much.
fn compare(name: &str, family: &str, table: &Path) -> Vec<String> {
    let Scores { float, integer, anomalous } = scores(family, table, 8000);
    let areas = [&float, &integer].map(|scores| roc::auc(scores, &anomalous).expect("both classes"));
    let partial = [&float, &integer].map(|scores| roc::partial_auc(scores, &anomalous, 0.1).expect("both classes"));
    let excess = |(float, integer): (&f64, &f64)| (integer - float).abs() - SHARE * float.abs();
    let worst = float.iter().zip(&integer).max_by(|a, b| excess(*a).total_cmp(&excess(*b))).expect("rows");
    let count = float.iter().zip(&integer).filter(|pair| excess(*pair) > 1.0).count();
    println!(
        "{name:12} {family:5} {:6} rows  {:7.4} {:7.4}  {:7.4} {:7.4}  {count:5} rows beyond 1 % and one nat, worst {:.1} and {:.1}",
        float.len(),
        areas[0],
        areas[1],
        partial[0],
        partial[1],
        worst.0,
        worst.1
    );
    let mut wrong = Vec::new();
    let mut check = |what: &str, difference: f64, most: f64| {
        if difference > most {
            wrong.push(format!("{name}, {family}: {what} differs by {difference:.4}, more than {most}"));
        }
    };
    check("the area", (areas[0] - areas[1]).abs(), AREA);
    check("the partial area", (partial[0] - partial[1]).abs(), PARTIAL_AREA);
    if count > 0 {
        wrong.push(format!("{name}, {family}: {count} scores differ by more than {SHARE} and one nat"));
    }
    wrong
}

fn gunzipped(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).expect("a file of the folder");
    flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).expect("a gzip file");
    bytes
}

/// The values of a NumPy file of 16-bit integers.
fn integers(path: &Path) -> Vec<i16> {
    let bytes = gunzipped(path);
    let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    bytes[10 + header..].as_chunks().0.iter().map(|pair| i16::from_le_bytes(*pair)).collect()
}

/// The fields of the lines of a CSV file without quotes, after its header.
fn lines(path: &Path) -> Vec<Vec<String>> {
    let text = String::from_utf8(gunzipped(path)).expect("text");
    text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

/// Writes a table with the columns `anomaly` and `split`.
fn write_table(path: &Path, rows: impl Iterator<Item = (Vec<f64>, bool, String)>) {
    let mut text = String::new();
    for (row, anomaly, split) in rows {
        if text.is_empty() {
            (0..row.len()).for_each(|column| write!(text, "f{column},").expect("text"));
            text.push_str("anomaly,split\n");
        }
        row.iter().for_each(|value| write!(text, "{value},").expect("text"));
        writeln!(text, "{},{split}", u8::from(anomaly)).expect("text");
    }
    std::fs::write(path, text).expect("a temporary file");
}

/// Windows of a fan's acceleration: for each axis the standard deviation, the mean absolute difference of neighbours and the
/// largest deviation from the mean.
fn fan(data: &Path, path: &Path) {
    let (x, meta) = (integers(&data.join("x.npy.gz")), lines(&data.join("meta.csv.gz")));
    let rows = x.chunks_exact(600).zip(meta).filter(|(_, meta)| meta[3] != "unused").map(|(window, meta)| {
        let features = (0..3).flat_map(|axis| {
            let values: Vec<f64> = window.iter().skip(axis).step_by(3).map(|v| f64::from(*v)).collect();
            let count = values.len() as f64;
            let mean = values.iter().sum::<f64>() / count;
            let deviations = values.iter().map(|v| (v - mean).abs());
            let spread = (deviations.clone().map(|d| d * d).sum::<f64>() / count).sqrt();
            let rough = values.windows(2).map(|pair| (pair[1] - pair[0]).abs()).sum::<f64>() / count;
            [spread, rough, deviations.fold(0.0, f64::max)]
        });
        (features.collect(), meta[2] == "1", meta[3].clone())
    });
    write_table(path, rows);
}

/// Heartbeats: pairs of samples averaged, without their mean.
fn ecg(data: &Path, path: &Path) {
    let (x, meta) = (integers(&data.join("beats_x.npy.gz")), lines(&data.join("beats_meta.csv.gz")));
    let rows = x.chunks_exact(128).zip(meta).filter(|(_, meta)| meta[5] != "unused").map(|(beat, meta)| {
        let halves: Vec<f64> = beat.chunks(2).map(|pair| f64::from(pair[0] + pair[1]) / 2.0).collect();
        let mean = halves.iter().sum::<f64>() / halves.len() as f64;
        (halves.iter().map(|v| v - mean).collect(), meta[3] != "N", meta[5].clone())
    });
    write_table(path, rows);
}

/// Windows of 24 temperatures of a machine, each labelled like its last sample.
fn machine(data: &Path, path: &Path) {
    let samples = lines(&data.join("machine_temperature.csv.gz"));
    let rows = samples.windows(24).filter(|window| window.iter().all(|sample| sample[3] != "unused")).map(|window| {
        let last = &window[23];
        let values = window.iter().map(|sample| sample[1].parse().expect("a number"));
        (values.collect(), last[2] == "1", last[3].clone())
    });
    write_table(path, rows);
}

#[test]
fn integer_scores_are_those_of_the_float_graph() {
    let data = std::env::var_os("ELBO_DATA").map(PathBuf::from);
    let Some(data) =
        data.filter(|data| ["adbench", "fan_vibration", "ecg_mitbih", "nab"].iter().all(|f| data.join(f).is_dir()))
    else {
        eprintln!("skipped: ELBO_DATA does not name a folder with the labelled sets");
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut tables: Vec<(&str, PathBuf)> = ["breastw", "cardio", "ionosphere", "pendigits", "shuttle", "thyroid"]
        .map(|name| (name, data.join(format!("adbench/{name}.csv.gz"))))
        .into();
    let made = ["fan", "ecg", "machine"].map(|name| (name, folder.path().join(format!("{name}.csv"))));
    fan(&data.join("fan_vibration"), &made[0].1);
    ecg(&data.join("ecg_mitbih"), &made[1].1);
    machine(&data.join("nab"), &made[2].1);
    tables.extend(made);
    println!("set          family        rows  float and integer area, area up to 0.1");
    let wrong: Vec<String> = tables
        .iter()
        .flat_map(|(name, table)| ["vae", "flow"].into_iter().flat_map(|family| compare(name, family, table)))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
