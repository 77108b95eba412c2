//! The command `elbo` as a person runs it.

mod backtests;
mod bad_input;
mod cases;
mod families;
mod files;
mod flows;
#[cfg(unix)]
mod folders;
#[cfg(unix)]
mod interrupt;
mod lean;
mod mixtures;
mod recipes;
mod recordings;
mod reports;
mod scores;
mod tables;

use std::path::Path;
use std::process::{Command, Output};

/// `elbo` with these arguments, not yet started.
fn elbo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_elbo"));
    command.args(arguments).env_remove("ELBO_DATA").env_remove("RUST_BACKTRACE");
    command
}

fn run(arguments: &[&str]) -> (Output, String) {
    let output = elbo(arguments).output().unwrap();
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    (output, String::from_utf8(text).unwrap())
}

/// What a command that must succeed prints.
fn succeeds(arguments: &[&str]) -> String {
    let (output, text) = run(arguments);
    assert!(output.status.success(), "elbo {arguments:?}: {text}");
    text
}

/// Checks that a command fails with exit code 1 and a message of one line that holds each of `parts`.
fn fails(arguments: &[&str], parts: &[&str]) {
    let (output, text) = run(arguments);
    assert_eq!(output.status.code(), Some(1), "elbo {arguments:?}: {text}");
    let message = text.lines().last().unwrap_or_default();
    assert!(message.starts_with("elbo: "), "elbo {arguments:?}: {text}");
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

/// A path as an argument.
fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
