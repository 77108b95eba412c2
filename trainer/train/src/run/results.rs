//! The results of a training that a run folder contains: metrics and pictures.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use crate::data::{Dataset, Kind};
use crate::model::{Bounded, Model, Objective, Sampler};
use crate::noise::{Purpose, generator};
use crate::recipe::Recipe;
use crate::train::Metric;
use crate::{plane, plot};

/// The text of `metrics.csv`.
pub(crate) fn metrics_csv(metrics: &[Metric], objective: Objective) -> String {
    let column = objective.column.unwrap_or("validation_elbo");
    let mut text = format!("step,train_loss,{column},learning_rate,seconds\n");
    for m in metrics {
        let (loss, value) = match objective.column {
            Some(_) => (format!("{:.6}", m.train_loss), format!("{:.6}", -m.train_loss)),
            None => (format!("{:.4}", m.train_loss), m.validation_elbo.map_or(String::new(), |v| format!("{v:.4}"))),
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "{},{loss},{value},{:.3e},{:.1}", m.step, m.learning_rate, m.seconds);
    }
    text
}

/// Writes the pictures. An error names the file.
pub(crate) fn draw(
    out: &Path,
    recipe: &Recipe,
    dataset: &Dataset,
    metrics: &[Metric],
    model: &dyn Model,
) -> Result<(), (PathBuf, io::Error)> {
    if !metrics.is_empty() {
        let objective = model.objective();
        let train: Vec<f64> = metrics.iter().map(|m| -m.train_loss).collect();
        let at_steps = |values: Vec<f64>| metrics.iter().map(|m| m.step as f64).zip(values).collect::<Vec<_>>();
        let median = format!("median of {}", objective.median);
        let mut series = vec![(objective.curve, at_steps(train.clone()))];
        if objective.median > 1 {
            series.push((&median, at_steps(plot::median_filter(&train, objective.median))));
        }
        let validation: Vec<_> = metrics.iter().filter_map(|m| Some((m.step as f64, m.validation_elbo?))).collect();
        if !validation.is_empty() {
            series.push(("validation ELBO", validation));
        }
        let path = out.join("curve.svg");
        plot::training_curve(&path, &recipe.name, &series, "step", objective.unit).map_err(|e| (path, e))?;
    }
    let able = model.capabilities();
    if let Some(sampler) = able.sampler.filter(|_| dataset.kind == Kind::Image) {
        let path = out.join("samples.png");
        let scale = (56 / dataset.shape[0].max(1)).max(1);
        pictures(sampler, recipe.train.seed)
            .map_err(io::Error::other)
            .and_then(|images| plot::sample_grid(&path, &images, dataset.shape, 8, scale))
            .map_err(|e| (path, e))?;
    }
    if able.bounds.is_some_and(Bounded::exact) && dataset.dim == 2 {
        let path = out.join("density.png");
        let panels = || -> candle_core::Result<Vec<plane::Panel>> {
            let mut rng = generator(recipe.train.seed, Purpose::Pictures, 0);
            let target = plane::target(model, dataset)?;
            Ok(vec![target, plane::density(model)?, plane::histogram(&plane::draws(model, &mut rng)?)])
        };
        panels().map_err(io::Error::other).and_then(|panels| plane::write(&path, panels)).map_err(|e| (path, e))?;
    }
    Ok(())
}

/// 64 samples of the model.
fn pictures(sampler: &dyn Sampler, seed: u64) -> candle_core::Result<Vec<Vec<f32>>> {
    sampler.sample(64, &mut generator(seed, Purpose::Pictures, 0))?.to_vec2()
}
