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
            let named = explanation
                .largest(self.count)
                .into_iter()
                .map(|(feature, nats)| format!("{} {:.1}", self.name(feature), nats.to_f64()));
            Ok(named.collect::<Vec<_>>().join(", "))
        };
        rows.par_iter().enumerate().map_init(|| Runner::new(&self.model), text).collect()
    }

    /// The features with the largest mean contributions to the scores of these rows, in nats, the largest first.
    ///
    /// # Errors
    /// The runtime's reason to refuse a row.
    pub fn means(&self, rows: &[&[f32]]) -> Result<Vec<(String, f64)>> {
        let contributions = |runner: &mut Runner<'b>, row: &&[f32]| -> Result<Vec<f64>> {
            let explanation = Explanation::of(runner, &quantize(row, &self.info))?;
            Ok(explanation.contributions.iter().map(|nats| nats.to_f64()).collect())
        };
        let of_rows: Vec<Vec<f64>> =
            rows.par_iter().map_init(|| Runner::new(&self.model), contributions).collect::<Result<_>>()?;
        let features = of_rows.first().map_or(0, Vec::len);
        let mean = |feature: usize| of_rows.iter().map(|row| row[feature]).sum::<f64>() / of_rows.len() as f64;
        let mut means: Vec<(String, f64)> = (0..features).map(|feature| (self.name(feature), mean(feature))).collect();
        means.sort_by(|a, b| b.1.total_cmp(&a.1));
        means.truncate(self.count);
        Ok(means)
    }

    fn name(&self, feature: usize) -> String {
        self.names.get(feature).cloned().unwrap_or_else(|| format!("value {feature}"))
    }
}
