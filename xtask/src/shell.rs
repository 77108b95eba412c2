//! Runs other programs. Every command is printed, and an error contains the command.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The root of the repository.
pub fn root() -> PathBuf {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().map_or(manifest.clone(), PathBuf::from)
}

/// The command as a person would type it.
pub fn display(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

/// Runs a command with its output on this terminal.
///
/// # Errors
/// The command cannot be started, or it fails.
pub fn run(command: &mut Command) -> Result<()> {
    let text = display(command);
    eprintln!("+ {text}");
    let status = command.status().with_context(|| format!("cannot start `{text}`"))?;
    ensure!(status.success(), "`{text}` failed: {status}");
    Ok(())
}

/// Runs a command and returns its standard output.
///
/// # Errors
/// The command cannot be started, it fails (the message contains its standard error), or its output is not UTF-8.
pub fn output(command: &mut Command) -> Result<String> {
    let text = display(command);
    let output = command.output().with_context(|| format!("cannot start `{text}`"))?;
    ensure!(output.status.success(), "`{text}` failed: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).with_context(|| format!("`{text}` wrote something that is not UTF-8"))
}

/// Whether a program of this name is in `PATH`.
pub fn has(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// Compiles the command `elbo` of this repository. Cargo shows what it compiles.
///
/// # Errors
/// Those of [`run`].
pub fn build_elbo() -> Result<()> {
    run(&mut elbo_command("build", &[]))
}

/// Runs the command `elbo` of this repository, which [`build_elbo`] has compiled.
///
/// # Errors
/// Those of [`run`].
pub fn elbo(arguments: &[&str]) -> Result<()> {
    run(elbo_command("run", &["--quiet"]).arg("--").args(arguments))
}

fn elbo_command(task: &str, options: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.arg(task).args(options).args(["--package", "elbo-cli", "--bin", "elbo"]).current_dir(root());
    command
}
