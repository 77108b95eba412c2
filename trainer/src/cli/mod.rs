//! The command `elbo`.

mod eval;
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

Every command explains itself: elbo train --help";

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a model from a recipe or a data file.
    Train(Box<train::Args>),
    /// Bound the log-likelihood of held-out rows.
    Eval(eval::Args),
}

/// Runs the command line.
///
/// # Errors
/// What the command reports, for the user.
pub fn run() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Train(args) => train::run(*args),
        Command::Eval(args) => eval::run(&args),
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
