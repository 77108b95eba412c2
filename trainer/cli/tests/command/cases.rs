//! Files as people have them, from the folder that `ELBO_CASES` names: each is read as it should be, or refused in one line.
//!
//! The folder is optional, and every file in it is: what is absent is skipped with a word.

use std::path::{Path, PathBuf};

use crate::{elbo, text};

/// What a training on a file must do.
enum Outcome {
    /// It trains, and says each of these.
    Trains(&'static [&'static str]),
    /// It is refused in one line that says each of these.
    Refused(&'static [&'static str]),
}

use Outcome::{Refused, Trains};

/// File, further options, what must happen.
const TRAININGS: &[(&str, &[&str], Outcome)] = &[
    ("ok.csv", &[], Trains(&["200 rows and 3 columns: temp, flow, press"])),
    ("contaminated-10pct.csv", &[], Trains(&["labelled 1", "`anomaly`", "--keep-anomalies"])),
    ("contaminated-10pct.csv", &["--keep-anomalies"], Trains(&["3 columns: a, b, c"])),
    ("windows-train.npy", &[], Trains(&["taken for a table of 60 columns", "--kind image"])),
    ("strokes-train.npy", &[], Trains(&["taken for a table of 64 columns", "--kind image"])),
    ("strokes-train.npy", &["--kind", "image"], Trains(&[])),
    ("strokes-new-one-1.02.npy", &["--kind", "image"], Refused(&["--white"])),
    ("strokes-new-one-1.02.npy", &["--kind", "image", "--white", "1"], Refused(&["1.02", "--clamp", "--white"])),
    ("strokes-new-one-1.02.npy", &["--kind", "image", "--white", "1", "--clamp"], Trains(&["1 of 3200", "1.02"])),
    ("windows-quiet-one-negative.npy", &["--kind", "image"], Refused(&["--clamp"])),
    ("numeric-header-small.csv", &["--validation-fraction", "0"], Trains(&["4 rows", "--no-header"])),
    ("numeric-header-small.csv", &["--no-header"], Trains(&["5 rows"])),
    ("noheader-na-first-small.csv", &[], Refused(&["line 1", "`c1`", "`NA`"])),
    ("logger-noheader-time.csv", &[], Refused(&["line 1", "`c0`", "--drop-columns c0"])),
    ("logger-noheader-time.csv", &["--drop-columns", "c0"], Trains(&["4 rows"])),
    ("nanoamp.csv", &[], Trains(&["leak_A, bias_A"])),
    ("large-offset.csv", &[], Trains(&["count, temp"])),
    ("int64-time.npy", &[], Trains(&["2 columns"])),
    ("labels-ids.csv", &["--conditional"], Refused(&["too many classes"])),
    ("labels-ids.csv", &["--family", "adgm"], Refused(&["too many classes"])),
    ("labels-70000.csv", &["--conditional"], Refused(&["too many classes"])),
    ("labels-ids.csv", &[], Trains(&[])),
    ("u8-gray-8x8x1.npy", &[], Trains(&["taken for images", "--kind table"])),
    ("u8-gray-8x8x1.npy", &["--kind", "table"], Trains(&[])),
    ("u8-rgb-8x8.npy", &[], Trains(&["taken for images", "3 planes", "--colour grey"])),
    ("u8-rgb-8x8.npy", &["--colour", "grey"], Trains(&["taken for images"])),
    ("rgb.idx4-ubyte", &[], Trains(&["taken for images", "3 planes"])),
    ("float-images-0-255.npy", &[], Trains(&["taken for a table", "--kind image"])),
    ("float-images-0-255.npy", &["--kind", "image"], Trains(&[])),
    ("kaggle-digits.csv", &[], Trains(&["a table of", "--kind image"])),
    ("kaggle-digits.csv", &["--kind", "image"], Trains(&[])),
    ("thermal-64.csv", &[], Trains(&["64 columns"])),
    ("labels-Class.csv", &[], Trains(&["3 columns", "`Class`", "--label-column -"])),
    ("labels-Class.csv", &["--label-column", "-"], Trains(&["4 columns"])),
    ("labels-Label.csv", &[], Trains(&["3 columns", "`Label`"])),
    ("labels-text.csv", &[], Trains(&["normal = 0, fault = 1", "labelled 1"])),
    ("pandas-index.csv", &[], Trains(&["3 columns", "column \"\" only counts"])),
    ("glitch-rows-65535.csv", &[], Trains(&["`flow`", "65535", "--scaling robust"])),
    ("glitch-rows-65535.csv", &["--scaling", "robust"], Trains(&["2 columns"])),
    ("duplicate-names-small.csv", &[], Refused(&["line 2", "`a`", "`s1`"])),
    ("duplicate-names-small.csv", &["--drop-columns", "a"], Trains(&["1 column: b"])),
    ("column-name-with-comma.csv", &["--drop-columns", "note"], Trains(&["\"temp, C\", flow, press"])),
    ("column-name-with-comma.csv", &["--drop-columns", "temp, C", "--drop-columns", "note"], Trains(&["flow, press"])),
    ("column-name-with-comma.csv", &["--drop-columns", "\"temp, C\",note"], Trains(&["flow, press"])),
    ("decimal-comma-header.csv", &[], Trains(&["temp, flow, press", "decimal commas"])),
    ("decimal-comma-noheader.csv", &[], Trains(&["3 columns", "decimal commas"])),
    ("savetxt-default.txt", &[], Trains(&["3 columns", "blanks"])),
    ("comment-lines.csv", &[], Trains(&["temp, flow, press"])),
    ("sep-line.csv", &[], Trains(&["temp, flow, press"])),
    ("units-row.csv", &[], Trains(&["temp, flow, press", "C,l/s,hPa", "units"])),
    ("trailing-delimiter.csv", &[], Trains(&["3 columns: temp, flow, press", "empty last column"])),
    ("pipe.csv", &[], Trains(&["temp, flow, press", "`|`"])),
    ("semicolon-header-with-comma.csv", &[], Trains(&["\"temp, C\", flow, press"])),
    ("utf16.csv", &[], Trains(&["temp, flow, press", "UTF-16LE"])),
    ("arrays.npz", &[], Trains(&["rows of the array"])),
    ("quoted-newline.csv", &[], Refused(&["line 2", "`note`", "`line one line two`", "--drop-columns note"])),
    ("quoted-newline.csv", &["--drop-columns", "note"], Trains(&["temp, flow, press"])),
    ("f-order.npy", &[], Trains(&["200 rows and 3 columns"])),
    ("u8-images-5x7.npy", &[], Trains(&["taken for images"])),
];

struct Cases {
    folder: PathBuf,
    out: tempfile::TempDir,
}

impl Cases {
    /// The folder of cases, if there is one.
    fn find() -> Option<Self> {
        let Some(folder) = std::env::var_os("ELBO_CASES") else {
            eprintln!("skipped: ELBO_CASES does not name a folder of cases");
            return None;
        };
        Some(Self { folder: PathBuf::from(folder), out: tempfile::tempdir().unwrap() })
    }

    /// The path of a file, if it is there.
    fn file(&self, name: &str) -> Option<PathBuf> {
        let path = self.folder.join(name);
        if !path.exists() {
            eprintln!("skipped: {} is absent", path.display());
            return None;
        }
        Some(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.out.path().join(name)
    }

    /// Trains on a file and compiles; the blob.
    fn blob(&self, file: &str, name: &str, options: &[&str]) -> Option<PathBuf> {
        let data = self.file(file)?;
        let (run, blob) = (self.path(&format!("{name}-run")), self.path(&format!("{name}.elbo")));
        let train = ["train", "--data", text(&data), "--hidden", "16", "--latent", "1", "--out", text(&run)];
        let (done, said) = run_with(&[&train, options].concat());
        assert!(done, "{file}: {said}");
        let (done, said) = run_with(&["compile", text(&run), "-o", text(&blob)]);
        assert!(done, "{file}: {said}");
        Some(blob)
    }

    /// The scores of all rows of a file.
    fn scores(&self, blob: &Path, file: &str) -> Result<Vec<f64>, String> {
        let Some(data) = self.file(file) else { return Err("absent".to_owned()) };
        let out = self.path("scores.csv");
        let (done, said) = run_with(&["score", text(blob), "--data", text(&data), "-o", text(&out)]);
        if !done {
            return Err(said);
        }
        let table = std::fs::read_to_string(&out).unwrap();
        let last = |line: &str| line.rsplit(',').next().unwrap_or_default().parse::<f64>().ok();
        Ok(table.lines().filter_map(last).collect())
    }
}

/// Runs the command as a developer does, with backtraces asked for; whether it succeeded, and what it said.
fn run_with(arguments: &[&str]) -> (bool, String) {
    let output = elbo(arguments).env("RUST_BACKTRACE", "1").output().unwrap();
    let said = String::from_utf8([output.stdout.as_slice(), &output.stderr].concat()).unwrap();
    assert!(output.status.code().is_some_and(|code| code < 100), "elbo {arguments:?}: {:?} {said}", output.status);
    (output.status.success(), said)
}

#[test]
fn every_file_is_read_or_refused_as_it_should_be() {
    let Some(cases) = Cases::find() else { return };
    for (at, (file, options, outcome)) in TRAININGS.iter().enumerate() {
        let Some(data) = cases.file(file) else { continue };
        let out = cases.path(&format!("run-{at}"));
        let small: &[&str] = if options.contains(&"adgm") { &[] } else { &["--hidden", "4", "--latent", "1"] };
        let train = ["train", "--data", text(&data), "--steps", "2", "--out", text(&out)];
        let (done, said) = run_with(&[&train, small, options].concat());
        let (parts, expected) = match outcome {
            Trains(parts) => (parts, true),
            Refused(parts) => (parts, false),
        };
        assert_eq!(done, expected, "{file} {options:?}: {said}");
        for part in *parts {
            assert!(said.contains(part), "{file} {options:?}: `{part}` is not in: {said}");
        }
        if !expected {
            let lines: Vec<&str> = said.lines().collect();
            assert!(lines.last().is_some_and(|line| line.starts_with("elbo: ")), "{file} {options:?}: {said}");
        }
    }
}

#[test]
fn scores_do_not_hang_on_one_value_or_on_the_order_of_columns() {
    let Some(cases) = Cases::find() else { return };
    let mean = |scores: &[f64]| scores.iter().sum::<f64>() / scores.len() as f64;
    if let Some(blob) = cases.blob("windows-train.npy", "windows", &["--steps", "300"])
        && let Ok(quiet) = cases.scores(&blob, "windows-quiet.npy")
    {
        let negative = cases.scores(&blob, "windows-quiet-one-negative.npy").unwrap();
        assert!((mean(&quiet) - mean(&negative)).abs() < 1.0, "{} {}", mean(&quiet), mean(&negative));
    }
    if let Some(blob) = cases.blob("strokes-train.npy", "strokes", &["--steps", "300", "--kind", "image"])
        && cases.scores(&blob, "strokes-new.npy").is_ok()
    {
        let refused = cases.scores(&blob, "strokes-new-one-1.02.npy").unwrap_err();
        assert!(refused.contains("1.02") && refused.contains("--clamp"), "{refused}");
    }
    if let Some(blob) = cases.blob("ok.csv", "ok", &["--steps", "600"])
        && let Ok(swapped) = cases.scores(&blob, "new-columns-swapped.csv")
    {
        assert!(swapped.len() == 20 && mean(&swapped) < 10.0, "{swapped:?}");
        let of_one = cases.scores(&blob, "new-one.csv").unwrap();
        assert_eq!(of_one.len(), 1);
        assert_eq!(cases.scores(&blob, "split-only-test.csv").unwrap().len(), 20);
        let (done, said) = run_with(&["score", text(&blob)]);
        assert!(!done && said.contains("--data"), "{said}");
        let refused = cases.scores(&blob, "nanoamp.csv").unwrap_err();
        assert!(refused.contains("no column temp") || refused.contains("`temp`"), "{refused}");
    }
}

#[test]
fn labelled_anomalies_neither_train_nor_calibrate() {
    let Some(cases) = Cases::find() else { return };
    let options = ["--steps", "1500", "--set", "vae.latent=2"];
    let Some(blob) = cases.blob("contaminated-10pct.csv", "contaminated", &options) else { return };
    let (_, said) = run_with(&["inspect", text(&blob)]);
    let threshold = said.split_once(" 10 % from ").and_then(|(_, rest)| rest.split(';').next()).unwrap();
    let threshold: f64 = threshold.parse().unwrap();
    let scores = cases.scores(&blob, "contaminated-20-anomalies.csv").unwrap();
    let above = scores.iter().filter(|score| **score > threshold).count();
    assert!(scores.len() == 20 && above >= 18, "{above} of {} above {threshold}", scores.len());
}

#[test]
fn small_units_and_large_offsets_are_told_apart() {
    let Some(cases) = Cases::find() else { return };
    let probe = |blob: &Path, header: &str, rows: &[&str]| {
        let path = cases.path("probe.csv");
        std::fs::write(&path, format!("{header}\n{}\n", rows.join("\n"))).unwrap();
        cases.scores(blob, text(&path)).unwrap()
    };
    for (file, rows) in [
        ("nanoamp.csv", ["5.7e-9,2.8e-8", "5.7e-8,2.8e-7"]),
        ("nanoamp-in-nA.csv", ["5.7,28", "57,280"]),
        ("large-offset.csv", ["200000000,20", "200000030,20"]),
    ] {
        let Some(blob) = cases.blob(file, file, &["--steps", "300"]) else { continue };
        let header = std::fs::read_to_string(cases.folder.join(file)).unwrap();
        let scores = probe(&blob, header.lines().next().unwrap(), &rows);
        let [low, high] = [scores[0].min(scores[1]), scores[0].max(scores[1])];
        assert!(high > low + 10.0, "{file}: {scores:?}");
    }
}

/// A time in milliseconds since 1970 is a large integer, of which the last four digits count.
#[test]
fn milliseconds_of_large_integers_count() {
    let Some(cases) = Cases::find() else { return };
    let file = "int64-time.npy";
    let Some(blob) = cases.blob(file, file, &["--steps", "300"]) else { return };
    let npy = std::fs::read(cases.folder.join(file)).unwrap();
    let header = 10 + usize::from(u16::from_le_bytes([npy[8], npy[9]]));
    let row = |time: i64| [time.to_le_bytes(), 2i64.to_le_bytes()].concat();
    // The header says how many rows follow.
    let times = (0..200).map(|i| 1_700_000_001_000 + if i % 2 == 0 { 0 } else { 2500 });
    let probe = cases.path("probe.npy");
    std::fs::write(&probe, [npy[..header].to_vec(), times.flat_map(row).collect()].concat()).unwrap();
    let out = cases.path("times.csv");
    let (done, said) = run_with(&["score", text(&blob), "--data", text(&probe), "-o", text(&out)]);
    assert!(done, "{said}");
    let table = std::fs::read_to_string(&out).unwrap();
    let scores: Vec<f64> = table.lines().filter_map(|line| line.rsplit(',').next()?.parse().ok()).collect();
    assert_eq!(scores.len(), 200);
    assert!(scores[1] > scores[0] + 1.0, "{:?}", &scores[..2]);
}
