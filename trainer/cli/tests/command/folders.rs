//! Run folders and pipes: the files of others stay, one folder has one process, and a closed pipe is no fault.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::{elbo, fails, succeeds, text};

#[test]
fn a_folder_with_other_files_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let readme = dir.path().join("README.txt");
    std::fs::write(&readme, "mine").unwrap();
    fails(&["train", "digits", "--steps", "1", "--out", text(dir.path())], &["not empty", "--out"]);
    assert_eq!(std::fs::read_to_string(&readme).unwrap(), "mine");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_folder_belongs_to_one_process_until_it_ends_in_any_way() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let train = ["train", "digits", "--steps", "200000", "--set", "train.checkpoint_every=20", "--out", text(&out)];
    let mut first = elbo(&train).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while !out.join("checkpoint.safetensors").exists() {
        assert!(started.elapsed() < Duration::from_secs(60), "no checkpoint appears");
        std::thread::sleep(Duration::from_millis(5));
    }
    let holder = format!("process {}", first.id());
    fails(&train, &[&holder, "--out"]);
    fails(&["train", "--resume", text(&out)], &[&holder]);
    first.kill().unwrap();
    first.wait().unwrap();
    fails(&train, &["already contains a run", "--resume"]);
    let mut resumed =
        elbo(&["train", "--resume", text(&out)]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(resumed.stderr.take().unwrap()).lines().next().unwrap().unwrap();
    resumed.kill().unwrap();
    resumed.wait().unwrap();
    assert!(said.starts_with("step "), "{said}");
}

/// Runs a command whose reader goes after the first line, or before it.
fn cut_off(arguments: &[&str], lines: usize) {
    let mut child = elbo(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    for _ in 0..lines {
        reader.read_line(&mut String::new()).unwrap();
    }
    drop(reader);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && !said.contains("panicked"), "elbo {arguments:?}: {:?} {said}", output.status);
}

#[test]
fn a_reader_that_goes_ends_a_command_quietly() {
    let dir = tempfile::tempdir().unwrap();
    let [run, blob] = ["run", "x.elbo"].map(|name| dir.path().join(name));
    succeeds(&["train", "digits", "--steps", "3", "--out", text(&run)]);
    succeeds(&["compile", text(&run), "-o", text(&blob)]);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/digits.elbo");
    let other = dir.path().join("other");
    for arguments in [
        &["inspect", text(&golden)][..],
        &["sample", text(&golden), "--text", "--count", "2000"],
        &["score", text(&golden), "--data", "digits"],
        &["recipe", "--fields", "vae"],
        &["eval", text(&run), "--binarisations", "1"],
        &["compile", text(&run), "-o", text(&blob), "--operations"],
        &["train", "digits", "--steps", "2", "--out", text(&other)],
    ] {
        cut_off(arguments, 0);
    }
    cut_off(&["inspect", text(&golden)], 1);
    cut_off(&["score", text(&golden), "--data", "digits"], 1);

    // Nobody reads the notes: the work is done nevertheless.
    let mut noisy = elbo(&["train", "digits", "--steps", "3", "--set", "train.validate_every=1", "--out"]);
    let out = dir.path().join("noisy");
    let mut child = noisy.arg(&out).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    assert!(child.wait().unwrap().success() && out.join("model.safetensors").exists());
}

/// A mistake of the user is told in one line, even to a user who asks for backtraces.
#[test]
fn no_backtrace_is_shown_for_a_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    for arguments in [
        &["train", "digits", "--conv", "8,8,8,8", "--out", text(&out)][..],
        &["train", "digits", "--conv", "4,8", "--set", "vae.conv.kernel=3", "--out", text(&out)],
        &["compile", text(dir.path()), "-o", text(&out)],
        &["train", "--data", "absent.csv", "--out", text(&out)],
    ] {
        let output = elbo(arguments).env("RUST_BACKTRACE", "1").output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let mistake = !output.status.success();
        assert!(!mistake || said.starts_with("elbo: ") && said.lines().count() == 1, "{arguments:?}: {said}");
    }
}
