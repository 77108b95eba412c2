//! Recordings from files: what the errors advise works, and a blob scores other recordings as its own were read.

use std::fmt::Write;
use std::path::Path;

use crate::{fails, succeeds, text};

/// A table of 4000 samples at 100 Hz, with what stands in the fields of line `at`.
fn table(path: &Path, at: usize, fields: &str) {
    let mut csv = "time,place,x\n".to_owned();
    for line in 2..4002 {
        if line == at {
            writeln!(csv, "{fields}").unwrap();
        } else {
            let noise = (line * 2_654_435_761 % 1009) as f64 / 1009.0;
            let value = (line as f64 * 0.7).sin() + noise;
            writeln!(csv, "{},hall,{value:.4}", line as f64 / 100.0).unwrap();
        }
    }
    std::fs::write(path, csv).unwrap();
}

#[test]
fn errors_of_recordings_name_options_that_help() {
    let dir = tempfile::tempdir().unwrap();
    let [csv, run, blob, scores] = ["t.csv", "run", "t.elbo", "scores.csv"].map(|name| dir.path().join(name));
    let train = ["train", "--family", "mixture", "--front", "spectrum", "--window", "64", "--data", text(&csv)];
    let groups = ["--group-column", "place", "--out", text(&run)];
    table(&csv, 9, "0.09,hall,");
    fails(&[&train[..], &groups].concat(), &["row 9", "`x`", "--gaps"]);
    // The newest sample first.
    table(&csv, 0, "");
    let lines = std::fs::read_to_string(&csv).unwrap();
    let (header, samples) = lines.split_once('\n').unwrap();
    let reversed: Vec<&str> = std::iter::once(header).chain(samples.lines().rev()).collect();
    std::fs::write(&csv, reversed.join("\n")).unwrap();
    fails(&[&train[..], &groups].concat(), &["line 3", "`time`", "--drop-columns time", "--time-column -"]);
    fails(&[&train[..], &["--time-column", "-", "--out", text(&run)]].concat(), &["`place`"]);
    let even = ["--drop-columns", "time", "--rate", "100"];
    succeeds(&[&train[..], &groups, &even].concat());
    std::fs::remove_dir_all(&run).unwrap();
    table(&csv, 9, "0.09,hall,NaN");
    let said = succeeds(&[&train[..], &groups, &["--gaps"]].concat());
    assert!(said.contains("100 samples a second, with 1 gaps"), "{said}");
    succeeds(&["compile", text(&run), "-o", text(&blob)]);
    table(&csv, 0, "");
    succeeds(&["score", text(&blob), "--data", text(&csv), "-o", text(&scores)]);
    // A window of 64 samples begins every 32.
    let lines = std::fs::read_to_string(&scores).unwrap().lines().count();
    assert_eq!(lines, 1 + (4000 - 64) / 32 + 1);
}
