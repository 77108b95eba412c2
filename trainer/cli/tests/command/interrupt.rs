//! A training run that is interrupted at any moment goes on to the very weights of one that is not.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{elbo, succeeds, text};

const STEPS: &str = "6000";

fn train(out: &Path) -> Child {
    elbo(&["train", "digits", "--steps", STEPS, "--out", text(out)])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Waits until the run has written `file`, sends `signal` and returns what the run printed.
fn stop(child: Child, file: &Path, signal: &str) -> (bool, String) {
    let started = Instant::now();
    while !file.exists() {
        assert!(started.elapsed() < Duration::from_secs(60), "{} does not appear", file.display());
        std::thread::sleep(Duration::from_millis(2));
    }
    let kill = format!("kill -{signal} {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

/// `metrics.csv` without its last column, the clock.
fn metrics(run: &Path) -> Vec<String> {
    let table = std::fs::read_to_string(run.join("metrics.csv")).unwrap();
    table.lines().map(|line| line.rsplit_once(',').unwrap().0.to_owned()).collect()
}

#[test]
fn a_run_that_is_interrupted_ends_with_the_weights_of_one_that_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let [whole, asked, killed] = ["whole", "asked", "killed"].map(|name| dir.path().join(name));
    succeeds(&["train", "digits", "--steps", STEPS, "--out", text(&whole)]);
    let model = |run: &Path| std::fs::read(run.join("model.safetensors")).unwrap();

    // Ctrl-C in the middle: a checkpoint at the step where it came, and the way to go on.
    let (success, said) = stop(train(&asked), &asked.join("metrics.csv"), "INT");
    assert!(success && said.contains("interrupted after") && said.contains("elbo train --resume"), "{said}");
    assert_ne!(model(&asked), model(&whole));
    succeeds(&["train", "--resume", text(&asked)]);

    // Cut off before there is a checkpoint, and again after the first one.
    let (success, _) = stop(train(&killed), &killed.join("recipe.toml"), "KILL");
    assert!(!success);
    let again =
        elbo(&["train", "--resume", text(&killed)]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let (success, _) = stop(again, &killed.join("checkpoint.safetensors"), "KILL");
    assert!(!success);
    succeeds(&["train", "--resume", text(&killed)]);

    for run in [&asked, &killed] {
        assert!(model(run) == model(&whole), "{}: other weights", run.display());
        assert_eq!(metrics(run), metrics(&whole));
    }
}
