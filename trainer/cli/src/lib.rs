//! The command `elbo` trains models, compiles them to blobs, and runs blobs on the host and on boards.

#![deny(clippy::print_stdout, clippy::print_stderr)]

mod backtest;
mod blob;
mod board;
mod causes;
mod columns;
pub mod compare;
mod compile;
mod counts;
mod eval;
mod judge;
mod options;
mod output;
mod progress;
mod recipe;
pub mod replay;
mod report;
mod score;
mod scorer;
mod train;

use clap::{Parser, Subcommand};

/// Trains deep generative models and compiles them for microcontrollers.
#[derive(Debug, Parser)]
#[command(name = "elbo", version, about, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  elbo train digits                    trains on the 8x8 digits that are included
  elbo eval runs/digits-s0             computes the bound on the log-likelihood of the test rows
  elbo compile runs/digits-s0 -o digits.elbo
                                       compiles the model to a verified blob
  elbo sample digits.elbo -o digits.png
                                       draws samples

`elbo COMMAND --help` explains a command.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Trains a model from a recipe or a data file.
    Train(Box<train::Args>),
    /// Shows the built-in recipes, or the fields of a recipe.
    Recipe(recipe::Args),
    /// Computes the bound on the log-likelihood of held-out rows.
    Eval(eval::Args),
    /// Measures the quality of the images that a model draws.
    Judge(judge::Args),
    /// Compiles a run to a blob and reports its cost and accuracy.
    Compile(compile::Args),
    /// Describes a blob: the cost and the operations of its programs.
    Inspect(blob::Inspect),
    /// Draws samples from a blob, exactly as a board does.
    Sample(blob::Sample),
    /// Scores rows of data with a blob.
    Score(score::Score),
    /// Measures how a detector does on labelled recordings: false alarms, events found, delays, areas.
    Backtest(backtest::Backtest),
    /// Writes a backtest as a page for a browser, with a threshold to drag.
    Report(report::Report),
    /// Builds a firmware with a blob and runs it, in an emulator or through a debug probe.
    Flash(board::Flash),
    /// Runs a blob on an emulated board and on the host, and compares every value.
    Check(board::Check),
    /// Streams a recording to the monitor on an emulated board, and compares its verdicts with the host's.
    Replay(replay::Replay),
}

/// Runs the command line. It ends well if the reader of its output has gone.
///
/// # Errors
/// The error that is shown to the user.
pub fn run() -> anyhow::Result<()> {
    let result = command();
    match result {
        Err(error) if matches!(error.downcast_ref(), Some(output::OutputError::Closed)) => Ok(()),
        other => other,
    }
}

fn command() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Train(args) => train::run(*args),
        Command::Recipe(args) => recipe::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Judge(args) => judge::run(&args),
        Command::Compile(args) => compile::run(&args),
        Command::Inspect(args) => blob::inspect(&args),
        Command::Sample(args) => blob::sample(&args),
        Command::Score(args) => score::score(&args),
        Command::Backtest(args) => backtest::backtest(&args),
        Command::Report(args) => report::report(&args),
        Command::Flash(args) => board::flash(&args),
        Command::Check(args) => board::check(&args),
        Command::Replay(args) => replay::replay(&args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
