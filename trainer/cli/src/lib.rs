//! The command `elbo`: training, compiling, and running blobs on the host and on boards.

mod blob;
mod board;
mod columns;
pub mod compare;
mod compile;
mod eval;
mod judge;
mod options;
mod progress;
mod recipe;
mod train;

use clap::{Parser, Subcommand};

/// Trains deep generative models and makes them fit a microcontroller.
#[derive(Debug, Parser)]
#[command(name = "elbo", version, about, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  elbo train digits                    train on the 8x8 digits that come with the program
  elbo eval runs/digits-s0             bound the log-likelihood of its test rows
  elbo compile runs/digits-s0 -o digits.elbo
                                       make it a verified blob of integers
  elbo sample digits.elbo -o digits.png

Every command explains itself: elbo train --help";

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a model from a recipe or a data file.
    Train(Box<train::Args>),
    /// Show built-in recipes and the fields of a recipe.
    Recipe(recipe::Args),
    /// Bound the log-likelihood of held-out rows.
    Eval(eval::Args),
    /// Judge drawn images by a classifier of real ones.
    Judge(judge::Args),
    /// Compile a run to a blob and report what that cost.
    Compile(compile::Args),
    /// Describe a blob: costs and operations of its programs.
    Inspect(blob::Inspect),
    /// Draw samples from a blob, the very ones that a board draws.
    Sample(blob::Sample),
    /// Score rows of data with a blob.
    Score(blob::Score),
    /// Build the firmware around a blob and run it, emulated or through a debug probe.
    Flash(board::Flash),
    /// Run a blob on an emulated board and on the host and compare every value.
    Check(board::Check),
}

/// Runs the command line.
///
/// # Errors
/// What the command reports, for the user.
pub fn run() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Train(args) => train::run(*args),
        Command::Recipe(args) => recipe::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Judge(args) => judge::run(&args),
        Command::Compile(args) => compile::run(&args),
        Command::Inspect(args) => blob::inspect(&args),
        Command::Sample(args) => blob::sample(&args),
        Command::Score(args) => blob::score(&args),
        Command::Flash(args) => board::flash(&args),
        Command::Check(args) => board::check(&args),
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
