//! `elbo train --family mixture`, on tables that are not kind: from the file to scores and draws.

use std::fmt::Write;
use std::path::Path;

use crate::{fails, succeeds, text};

/// What stands in a row.
type Row<'r> = Box<dyn Fn(usize) -> Vec<f64> + 'r>;

/// Rows of `row(i)`, written as a table with columns `a`, `b`, ....
fn table(path: &Path, rows: usize, row: impl Fn(usize) -> Vec<f64>) {
    let mut csv = String::new();
    let names: Vec<String> = (0..row(0).len()).map(|column| format!("c{column}")).collect();
    writeln!(csv, "{}", names.join(",")).unwrap();
    for i in 0..rows {
        let values: Vec<String> = row(i).iter().map(f64::to_string).collect();
        writeln!(csv, "{}", values.join(",")).unwrap();
    }
    std::fs::write(path, csv).unwrap();
}

#[test]
fn degenerate_tables_become_models_that_score_and_draw() {
    let dir = tempfile::tempdir().unwrap();
    let hash = |i: usize| (i * 2_654_435_761 % 1009) as f64 / 1009.0;
    let tables: [(&str, &str, Row<'_>); 4] = [
        // A column without variance, and one that is another's multiple.
        ("flat", "3", Box::new(|i| vec![hash(i), 7.0, 3.0 * hash(i)])),
        // Three different rows, and more components than that.
        ("copies", "8", Box::new(|i| vec![(i % 3) as f64, (i % 3 * i % 3) as f64])),
        // One row far from the others.
        ("outlier", "4", Box::new(|i| if i == 17 { vec![1e6, -1e6] } else { vec![hash(i), hash(i + 500)] })),
        // More columns than rows.
        ("wide", "1", Box::new(|i| (0..60).map(|column| hash(60 * i + column)).collect())),
    ];
    for (name, components, row) in tables {
        let [csv, out, blob, draws] =
            ["csv", "run", "elbo", "draws.csv"].map(|end| dir.path().join(format!("{name}.{end}")));
        table(&csv, if name == "wide" { 50 } else { 200 }, row);
        let train = ["train", "--family", "mixture", "--data", text(&csv), "--components", components];
        // Of Gaussians with a weak prior, by which the number of components that remain is known.
        let plain = ["scales=1", "rounding=false", "target=diagonal", "shrinkage=0.05", "floor=0.001"];
        let plain: Vec<String> = plain.iter().map(|set| format!("mixture.{set}")).collect();
        let plain: Vec<&str> = plain.iter().flat_map(|set| ["--set", set.as_str()]).collect();
        succeeds(&[&train[..], &plain, &["--out", text(&out)]].concat());
        let log_p = succeeds(&["eval", text(&out)]);
        assert!(log_p.contains("exact") && !log_p.contains("NaN") && !log_p.contains("inf"), "{name}: {log_p}");
        let report = succeeds(&["compile", text(&out), "-o", text(&blob)]);
        assert!(report.contains("score") && report.contains("sample"), "{name}: {report}");
        // Of the line the fit keeps one component.
        assert_eq!(report.contains("classify"), name == "copies" || name == "outlier", "{name}: {report}");
        succeeds(&["score", text(&blob), "--data", text(&csv)]);
        succeeds(&["sample", text(&blob), "-o", text(&draws), "--count", "20"]);
        let drawn = std::fs::read_to_string(&draws).unwrap();
        assert!(drawn.lines().count() >= 20 && !drawn.contains("NaN"), "{name}: {drawn}");
        let own = dir.path().join(format!("{name}-default"));
        succeeds(&[&train[..5], &["--out", text(&own)]].concat());
        succeeds(&["compile", text(&own), "-o", text(&blob)]);
        succeeds(&["score", text(&blob), "--data", text(&csv)]);
        succeeds(&["sample", text(&blob), "-o", text(&draws), "--count", "20"]);
    }
}

#[test]
fn a_training_repeats_itself_and_what_cannot_be_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let csv = dir.path().join("few.csv");
    table(&csv, 40, |i| vec![(i * i % 23) as f64, (i * 7 % 11) as f64]);
    let train = ["train", "--family", "mixture", "--data", text(&csv)];
    let with = |more: &[&str], name: &str| -> Vec<String> {
        let out = dir.path().join(name);
        train.iter().chain(more).chain(&["--out", text(&out)]).map(|part| (*part).to_owned()).collect()
    };
    let refused = |more: &[&str], parts: &[&str]| {
        let arguments = with(more, "refused");
        fails(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), parts);
    };
    refused(&["--components", "0"], &["mixture.components", "at least 1"]);
    refused(&["--components", "39"], &["components is 39", "number of train rows"]);
    refused(&["--steps", "10000"], &["train.steps", "starts"]);
    refused(&["--set", "mixture.floor=0"], &["mixture.floor", "above 0"]);
    refused(&["--latent", "3"], &["latent"]);
    let whole = with(&["--steps", "6"], "whole");
    succeeds(&whole.iter().map(String::as_str).collect::<Vec<_>>());
    let again = with(&["--steps", "6"], "again");
    succeeds(&again.iter().map(String::as_str).collect::<Vec<_>>());
    let weights = |name: &str| std::fs::read(dir.path().join(name).join("model.safetensors")).unwrap();
    assert_eq!(weights("whole"), weights("again"));
}

#[test]
fn auto_trains_every_candidate_and_says_why_one_is_chosen() {
    let dir = tempfile::tempdir().unwrap();
    let [csv, out] = ["few.csv", "auto"].map(|name| dir.path().join(name));
    table(&csv, 120, |i| vec![(i * i % 23) as f64, (i * 7 % 11) as f64 + 0.01 * i as f64, (i % 50) as f64]);
    let train = ["train", "--family", "auto", "--data", text(&csv)];
    let said = succeeds(&[&train[..], &["--steps", "30", "--out", text(&out)]].concat());
    for part in ["family    nats per row", "mixture", "flow", "vae", "chosen: ", "validation rows", "elbo eval"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    for family in ["mixture", "flow", "vae"] {
        assert!(out.join(family).join("recipe.toml").is_file(), "{family}");
    }
    fails(&[&train[..], &["--out", text(&out)]].concat(), &["not empty"]);
    let none = dir.path().join("none");
    let refused = |more: &[&str], parts: &[&str]| fails(&[&train[..], &["--out", text(&none)], more].concat(), parts);
    refused(&["--validation-fraction", "0"], &["data.validation_fraction", "validation rows"]);
    refused(&["--components", "3"], &["--components belongs to --family mixture"]);
    assert!(!none.exists());
}
