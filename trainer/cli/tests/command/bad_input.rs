//! What is wrong with an input is said in one line, with the place and the remedy, and nothing else happens.

use std::path::{Path, PathBuf};

use crate::{fails, text};

fn golden() -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/digits.elbo")).unwrap()
}

/// Every command that reads a blob refuses this one for the same reason.
fn refused(blob: &Path, reason: &[&str]) {
    let blob = text(blob);
    let parts = [&[blob][..], reason].concat();
    for command in ["inspect", "sample", "score"] {
        fails(&[command, blob], &parts);
    }
    fails(&["check", blob, "--board", "microbit"], &parts);
}

fn written(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn blobs_that_are_cut_short_damaged_or_of_another_version() {
    let dir = tempfile::tempdir().unwrap();
    let golden = golden();
    refused(
        &written(dir.path(), "cut.elbo", &golden[..golden.len() - 4]),
        &["the bytes end before the blob does", "again"],
    );
    refused(&written(dir.path(), "empty.elbo", &[]), &["the bytes end before the blob does"]);
    let mut damaged = golden.clone();
    damaged[golden.len() / 2] ^= 0x10;
    refused(&written(dir.path(), "damaged.elbo", &damaged), &["the checksum does not match", "again"]);
    let mut future = golden.clone();
    future[4] += 1;
    let reason = ["format version 6", "reads version 5", "compile it again", "update the runtime"];
    refused(&written(dir.path(), "future.elbo", &future), &reason);
    refused(&written(dir.path(), "text.elbo", &[b'x'; 100]), &["not a blob", "`elbo compile`"]);
    refused(&dir.path().join("absent.elbo"), &["cannot be read"]);
}

#[test]
fn rows_of_the_wrong_length() {
    let dir = tempfile::tempdir().unwrap();
    let blob = written(dir.path(), "digits.elbo", &golden());
    let rows: String = (0..20).map(|i| format!("{i},{i},1\n")).collect();
    let data = written(dir.path(), "narrow.csv", rows.as_bytes());
    for command in [&["score"][..], &["check", "--board", "microbit"]] {
        fails(&[command, &[text(&blob), "--data", text(&data)]].concat(), &["rows of 3 values", "takes 64"]);
    }
}

#[test]
fn tables_with_text_or_gaps() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    for (field, parts) in [
        ("NaN", &["3, column `b`", "finite", "NaN"][..]),
        ("inf", &["3, column `b`", "finite"]),
        ("warm", &["3, column `b`", "`warm`", "--drop-columns b"]),
        ("", &["3, column `b`", "expected a number"]),
    ] {
        let data = written(dir.path(), "t.csv", format!("a,b\n1,2\n3,{field}\n").as_bytes());
        fails(&["train", "--data", text(&data), "--out", text(&out)], &[&[text(&data)][..], parts].concat());
    }
    assert!(!out.exists(), "nothing is left of a run that could not start");
}

#[test]
fn an_idx_header_that_lies() {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = vec![0, 0, 8, 3];
    bytes.extend([1000u32, 28, 28].iter().flat_map(|n| n.to_be_bytes()));
    bytes.extend([0; 784]);
    let data = written(dir.path(), "images.idx", &bytes);
    let out = dir.path().join("run");
    let parts = ["[1000, 28, 28]", "784000 bytes", "784 follow"];
    fails(&["train", "--data", text(&data), "--out", text(&out)], &parts);
}

/// Below a regular file nothing can be made, not even by root.
#[test]
fn folders_and_files_that_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let file = written(dir.path(), "file", b"");
    let inside = file.join("run");
    fails(&["train", "digits", "--steps", "1", "--out", text(&inside)], &[text(&inside), "cannot be written", "--out"]);
    let blob = written(dir.path(), "digits.elbo", &golden());
    let scores = file.join("scores.csv");
    fails(&["score", text(&blob), "--data", "digits", "-o", text(&scores)], &[text(&scores), "cannot be written"]);
    let samples = file.join("samples.csv");
    fails(&["sample", text(&blob), "-o", text(&samples)], &[text(&samples), "cannot be written"]);
}

#[test]
fn boards_and_data_sets_that_do_not_exist() {
    let dir = tempfile::tempdir().unwrap();
    let blob = written(dir.path(), "digits.elbo", &golden());
    for command in ["check", "flash"] {
        fails(&[command, text(&blob), "--board", "arduino"], &["no board `arduino`", "microbit", "mps2-an386", "pico"]);
    }
    fails(&["score", text(&blob), "--data", "digitz"], &["`digitz`", "`digits`"]);
    fails(&["eval", text(dir.path())], &["run folder"]);
}

#[test]
fn options_of_another_family_and_labels_that_are_missing() {
    let dir = tempfile::tempdir().unwrap();
    let rows: String = (0..40).map(|i| format!("{i},{}\n", i * i)).collect();
    let data = written(dir.path(), "plain.csv", rows.as_bytes());
    let out = dir.path().join("run");
    let train = |more: &[&str], parts: &[&str]| {
        fails(&[&["train", "--data", text(&data), "--out", text(&out)], more].concat(), parts);
        assert!(!out.exists(), "a run folder for {more:?}");
    };
    train(&["--layers", "4,2"], &["--layers", "--family dlgm", "vae"]);
    train(&["--family", "dlgm", "--layers", "4,0"], &["`dlgm.layers`", "at least 1"]);
    train(&["--family", "dlgm", "--conditional"], &["--conditional", "--family vae", "dlgm"]);
    train(&["--conditional"], &["`vae.conditional`", "labels", "--label-column"]);
    train(&["--likelihood", "logistic"], &["`vae.likelihood`", "`gaussian` for a table", "logistic"]);
    train(&["--set", "vae.free_bits=0.1", "--set", "train.estimator=a"], &["`vae.free_bits`", "estimator"]);
}

#[test]
fn flows_of_the_wrong_thing() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let column: String = (0..30).map(|i| format!("{i}\n")).collect();
    let column = written(dir.path(), "column.csv", column.as_bytes());
    for (arguments, parts) in [
        (&["--energy", "u1", "--data", "digits"][..], &["`data.spec`", "no data", "digits"][..]),
        (&["digits", "--energy", "u1"], &["`data.spec`", "no data", "digits"]),
        (&["--energy", "u1", "--family", "vae"], &["--energy", "--family flow", "vae"]),
        (&["digits", "--set", "flow.energy=u1"], &["`flow.energy`", "family `flow`", "vae"]),
        (&["--energy", "u1", "--set", "flow.steps=0"], &["`flow.steps`", "at least one", "0"]),
        (&["digits", "--family", "flow"], &["a table", "images of 8 x 8"]),
        (
            &["digits", "--posterior", "planar", "--set", "vae.posterior.steps=0"],
            &["`vae.posterior.steps`", "at least one"],
        ),
        (&["energy-u2", "--posterior", "planar"], &["--posterior", "VAE", "--flow"]),
        (&["digits", "--family", "vae", "--flow", "planar"], &["--flow", "--posterior"]),
        (&["digits", "--set", "flow.anneal_steps=10"], &["`flow.anneal_steps`", "family `flow`", "vae"]),
        (&["--data", text(&column), "--flow", "nice"], &["`flow.kind`", "two", "couplings"]),
    ] {
        fails(&[&["train"], arguments, &["--out", text(&out)]].concat(), parts);
    }
    let (output, message) = crate::run(&["train", "--energy", "u9"]);
    assert!(!output.status.success() && message.contains("u9") && message.contains("`u4`"), "{message}");
    let recipe = "name = 'x'\nfamily = 'flow'\n[flow]\nenergy = 'u5'\n";
    let recipe = written(dir.path(), "x.toml", recipe.as_bytes());
    let (output, message) = crate::run(&["train", text(&recipe)]);
    assert!(!output.status.success() && message.contains("not a recipe") && message.contains("`u4`"), "{message}");
    assert!(!out.exists(), "nothing is left of a run that could not start");
}
