//! A labelled table with text in it, from the file to scores that tell its anomalies.

use std::fmt::Write as _;
use std::path::Path;

use crate::{fails, succeeds, text};

/// 500 rows of three features that follow one another and 60 whose third follows three times more loosely, marked in a
/// column of its own name; two columns of text.
fn table(path: &Path) {
    let mut state = 12345u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / f64::from(1u32 << 31) * 2.0 - 1.0
    };
    let mut rows = "time,a,b,c,site,fault,split\n".to_owned();
    for i in 0..560 {
        let fault = i >= 500;
        let t = 3.0 * uniform();
        let c = if fault { t + 0.6 * uniform() } else { t + 0.2 * uniform() };
        let (a, b) = (20.0 + t, -5.0 * t + 0.2 * uniform());
        let split = if fault || i % 3 == 0 { "test" } else { "train" };
        writeln!(
            rows,
            "2026-01-{:02}T00:00,{a:.4},{b:.4},{c:.4},hall {},{},{split}",
            i % 28 + 1,
            i % 4,
            i32::from(fault)
        )
        .unwrap();
    }
    std::fs::write(path, rows).unwrap();
}

/// The number after `name` in `text`.
fn number(text: &str, name: &str) -> f64 {
    let after = text.split_once(name).unwrap_or_else(|| panic!("no {name} in: {text}")).1;
    let digits: String = after.trim_start().chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    digits.parse().unwrap_or_else(|e| panic!("{name}: {e} in: {text}"))
}

#[test]
fn anomalies_are_told_by_float_and_integers_alike() {
    let dir = tempfile::tempdir().unwrap();
    let [data, run, blob] = ["log.csv", "run", "log.elbo"].map(|name| dir.path().join(name));
    table(&data);
    let (data, run, blob) = (text(&data), text(&run), text(&blob));

    // Without the options the message names them.
    let train = ["train", "--data", data, "--out", run, "--latent", "1", "--hidden", "16", "--steps", "2500"];
    fails(&train, &["line 2", "column `time`", "--drop-columns time"]);
    let columns = ["--drop-columns", "time,site", "--label-column", "fault"];
    succeeds(&[&train[..], &columns].concat());

    let compiled = succeeds(&["compile", run, "-o", blob]);
    let (float, integer) = compiled.split_once("AUC").and_then(|(_, rest)| rest.split_once("AUC")).unwrap();
    let (float, integer) = (number(&format!("AUC {float}"), "AUC"), number(&format!("AUC {integer}"), "AUC"));
    assert!((0.6..0.99).contains(&float) && (float - integer).abs() < 0.01, "{compiled}");

    assert!(compiled.contains("227 rows") && compiled.contains("167 rows"), "all and the normal ones: {compiled}");

    let evaluated = succeeds(&["eval", run, "--binarisations", "20"]);
    assert!((number(&evaluated, "AUC") - float).abs() < 0.05 && evaluated.contains("60 anomalies"), "{evaluated}");

    let scored = succeeds(&[&["score", blob, "--data", data, "--split", "test"][..], &columns].concat());
    assert!((number(&scored, "AUC") - integer).abs() < 1e-4 && scored.contains("60 anomalies"), "{scored}");

    // The blob remembers its columns, those left out and the labels.
    assert_eq!(succeeds(&["score", blob, "--data", data, "--split", "test"]), scored);
}

#[test]
fn an_excerpt_is_standardised_as_the_models_own_rows_were() {
    let dir = tempfile::tempdir().unwrap();
    let [data, run, blob, excerpt, scores] =
        ["log.csv", "run", "log.elbo", "excerpt.csv", "scores.csv"].map(|name| dir.path().join(name));
    table(&data);
    let columns = ["--drop-columns", "time,site", "--label-column", "fault"];
    let (run, blob) = (text(&run), text(&blob));
    succeeds(&[&["train", "--data", text(&data), "--out", run, "--steps", "50"][..], &columns].concat());
    succeeds(&["compile", run, "-o", blob]);
    let whole = std::fs::read_to_string(&data).unwrap();
    let faults: Vec<&str> = whole.lines().filter(|line| !line.contains(",0,")).collect();
    std::fs::write(&excerpt, faults.join("\n").replace(",test", ",train")).unwrap();

    let scored = |arguments: &[&str]| {
        succeeds(&[&["score", blob, "-o", text(&scores)][..], arguments, &columns].concat());
        let table = std::fs::read_to_string(&scores).unwrap();
        let score = |line: &str| line.rsplit(',').next().unwrap_or_default().to_owned();
        table.lines().skip(1).map(score).collect::<Vec<String>>()
    };
    let all = scored(&["--data", text(&data)]);
    let of_faults = &all[all.len() - 60..];
    assert_eq!(scored(&["--data", text(&excerpt)]), of_faults);
    assert_ne!(of_faults.first(), of_faults.last());
}
