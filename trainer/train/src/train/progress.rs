//! What a run shows while it trains: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use super::Metric;
use crate::family::Objective;

/// The display of a run, on standard error.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
    started: Instant,
    first: u64,
    steps: u64,
}

impl Progress {
    pub fn new(first: u64, steps: u64, quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new(steps).with_position(first);
            let template = "{wide_bar} {pos}/{len}  {per_sec}  {msg}  ETA {eta}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.reset_eta();
            bar
        });
        Self { bar, quiet, started: Instant::now(), first, steps }
    }

    /// A step was taken.
    pub fn step(&self, step: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(step);
        }
    }

    /// A line of metrics is due.
    pub fn metric(&self, metric: &Metric, objective: Objective) {
        let bound = metric.validation_elbo.map_or(String::new(), |v| format!("  validation ELBO {v:.3}"));
        let message = match objective.column {
            Some(_) => format!("{} {:.5}", objective.curve, -metric.train_loss),
            None => format!("loss {:.3}{bound}", metric.train_loss),
        };
        if let Some(bar) = &self.bar {
            bar.set_message(message);
        } else if !self.quiet {
            let rate = (metric.step - self.first) as f64 / self.started.elapsed().as_secs_f64().max(1e-9);
            let left = (self.steps - metric.step) as f64 / rate;
            eprintln!("step {}/{}  {message}  {rate:.0} steps/s  ETA {left:.0} s", metric.step, self.steps);
        }
    }

    /// The run ends here.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}
