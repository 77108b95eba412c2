//! The features that make rows unlikely, by name.

use anyhow::{Context, Result};
use elbo::program::ProgramKind;
use elbo::{Model, VectorInfo};
use elbo_compiler::Explanation;
use elbo_compiler::host::{Runner, quantize};
use elbo_trainer::data::Reading;
use rayon::prelude::*;

/// Names the features that contribute most to a score.
pub struct Causes<'b> {
    model: Model<'b>,
    info: VectorInfo,
    names: Vec<String>,
    /// Features that are named of each row.
    count: usize,
}

impl<'b> Causes<'b> {
    /// The causes of the scores of this model.
    ///
    /// # Errors
    /// The model has no score without noise, or its description cannot be decoded.
    pub fn of(model: &Model<'b>, count: usize) -> Result<Self> {
        let info = model.program(ProgramKind::Score).and_then(|program| program.inputs[0]);
        let info =
            info.context("causes need the program `score`. Compile the model with it, or leave --causes out.")?;
        Ok(Self { model: *model, info, names: Reading::of_model(model)?.columns, count })
    }

    /// The causes of each row's score as a text, for example `x 12-20 Hz 5.2, x crest 1.3`, with contributions in nats. The
    /// text is empty for a row that is as likely as the one it is compared with, and for one that `wanted` leaves out.
    ///
    /// # Errors
    /// The runtime's reason to refuse a row.
    pub fn texts(&self, rows: &[Vec<f32>], wanted: impl Fn(usize) -> bool + Sync) -> Result<Vec<String>> {
        let text = |runner: &mut Runner<'b>, (at, row): (usize, &Vec<f32>)| -> Result<String> {
            if !wanted(at) {
                return Ok(String::new());
            }
            let explanation = Explanation::of(runner, &quantize(row, &self.info))?;
            let named = explanation.largest(self.count).into_iter().map(|(feature, nats)| {
                let name = self.names.get(feature).cloned().unwrap_or_else(|| format!("value {feature}"));
                format!("{name} {:.1}", nats.to_f64())
            });
            Ok(named.collect::<Vec<_>>().join(", "))
        };
        rows.par_iter().enumerate().map_init(|| Runner::new(&self.model), text).collect()
    }
}
