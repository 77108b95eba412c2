//! The display of a run while it trains: a bar on a terminal, and lines of text elsewhere. It also ends the run after
//! Ctrl-C.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use elbo_trainer::data::Dataset;
use elbo_trainer::model::Objective;
use elbo_trainer::train::{Metric, Observer};
use indicatif::{ProgressBar, ProgressStyle};

use crate::columns::say;
use crate::output::noteln;

/// The display of a run on standard error.
pub(crate) struct Progress {
    stop: Arc<AtomicBool>,
    bar: Option<ProgressBar>,
    started: Instant,
    first: u64,
    steps: u64,
}

impl Progress {
    /// A display that ends the run after the step in which `stop` was set.
    pub fn new(stop: Arc<AtomicBool>) -> Self {
        Self { stop, bar: None, started: Instant::now(), first: 0, steps: 0 }
    }
}

impl Observer for Progress {
    fn data(&mut self, dataset: &Dataset) {
        say(dataset);
    }

    fn fold(&mut self, fold: usize, folds: usize) {
        noteln!("calibration: model {fold} of {folds}, trained without the rows that it then scores");
    }

    fn begin(&mut self, step: u64, steps: u64) {
        (self.started, self.first, self.steps) = (Instant::now(), step, steps);
        self.bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(steps).with_position(step);
            let template = "{wide_bar} {pos}/{len}  {per_sec}  {msg}  ETA {eta}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.reset_eta();
            bar
        });
    }

    fn stop(&mut self, _: u64) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn step(&mut self, step: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(step);
        }
    }

    fn metric(&mut self, metric: &Metric, objective: Objective) {
        let bound = metric.validation_elbo.map_or(String::new(), |v| format!("  validation ELBO {v:.3}"));
        let message = match objective.column {
            Some(_) => format!("{} {:.5}", objective.curve, -metric.train_loss),
            None => format!("loss {:.3}{bound}", metric.train_loss),
        };
        if let Some(bar) = &self.bar {
            bar.set_message(message);
            return;
        }
        let rate = (metric.step - self.first) as f64 / self.started.elapsed().as_secs_f64().max(1e-9);
        let left = (self.steps - metric.step) as f64 / rate;
        noteln!("step {}/{}  {message}  {rate:.0} steps/s  ETA {left:.0} s", metric.step, self.steps);
    }

    fn end(&mut self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}
