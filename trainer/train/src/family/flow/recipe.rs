//! The table `[flow]` of a recipe.

use candle_core::{DType, Device};
use elbo::coupling::CouplingStack;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Energy, Flow, FlowKind, annealing_weight};
use crate::data::{Dataset, Kind};
use crate::family::{Flag, Register};
use crate::model::Model;
use crate::nn::Activation;
use crate::settings::{DataShape, RecipeError, Shared, check_hidden};

/// The table `[flow]` of a recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct FlowRecipe {
    /// Kind of the steps: `planar`, `radial`, `nice` or `realnvp`.
    pub kind: FlowKind,
    /// Number of steps, or of couplings. The default is 32 steps or 8 couplings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// Widths of the hidden layers in the networks of the couplings.
    pub hidden: Vec<usize>,
    /// Activation function of these hidden layers.
    pub activation: Activation,
    /// Energy of the plane to learn from instead of data: `u1`, `u2`, `u3` or `u4`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub energy: Option<Energy>,
    /// Number of steps of annealing, if the flow learns from an energy. At step `t`, `log p` has the weight `min(1,
    /// 0.01 + t / anneal_steps)` (arXiv 1505.05770, section 6.2). With 0 the weight is always 1.
    pub anneal_steps: u64,
    /// Binary logarithm of the bound on a log-scale of `realnvp`: the log-scale is `2^scale_log2 tanh(raw)`.
    pub scale_log2: i32,
    /// Standard deviation of the Gaussian noise that is added to standardised rows during training. Without noise, a
    /// column with few distinct values has no density. The model is that of the noisy rows.
    pub noise: f64,
    /// Largest magnitude of a standardised value that the flow itself reads. Values beyond it are clamped, and half the
    /// square of the excess is added to the score in nats.
    pub limit: f64,
}

impl Default for FlowRecipe {
    fn default() -> Self {
        Self {
            kind: FlowKind::default(),
            steps: None,
            hidden: vec![64],
            activation: Activation::Relu,
            energy: None,
            anneal_steps: 0,
            scale_log2: 0,
            noise: 0.3,
            limit: 8.0,
        }
    }
}

impl FlowRecipe {
    /// The number of steps or couplings.
    #[must_use]
    pub fn count(&self) -> usize {
        self.steps.unwrap_or_else(|| self.kind.default_steps())
    }

    /// The first field that is out of its range: its name, the expectation and the value.
    pub(crate) fn out_of_range(&self) -> Option<(&'static str, String, String)> {
        let refuse = |field, expected: &str, found: &dyn std::fmt::Display| {
            Some((field, expected.to_owned(), found.to_string()))
        };
        if self.count() == 0 {
            return refuse("steps", "at least one step", &self.count());
        }
        if self.kind == FlowKind::RealNvp && self.count() > usize::from(u8::MAX) {
            return refuse("steps", &format!("at most {} couplings", u8::MAX), &self.count());
        }
        let scales = CouplingStack::SCALE_LOG2;
        if !i8::try_from(self.scale_log2).is_ok_and(|scale_log2| scales.contains(&scale_log2)) {
            let expected = format!("a whole number from {} to {}", scales.start(), scales.end());
            return refuse("scale_log2", &expected, &self.scale_log2);
        }
        if !(self.noise >= 0.0 && self.noise.is_finite()) {
            return refuse("noise", "a number of at least 0", &self.noise);
        }
        if !(self.limit >= 1.0 && self.limit.is_finite()) {
            return refuse("limit", "a number of at least 1", &self.limit);
        }
        None
    }

    /// The weight of `log p` in step `step`, counted from 0.
    #[must_use]
    pub fn annealing_weight(&self, step: u64) -> f64 {
        annealing_weight(self.anneal_steps, step)
    }
}

/// The family `flow`.
pub struct Entry;

impl Register for Entry {
    type Options = FlowRecipe;

    const DESCRIPTION: &'static str = "normalizing flow";

    const RECIPES: &'static [(&'static str, &'static str)] = &[
        ("energy-u1", include_str!("recipes/energy-u1.toml")),
        ("energy-u2", include_str!("recipes/energy-u2.toml")),
        ("energy-u3", include_str!("recipes/energy-u3.toml")),
        ("energy-u4", include_str!("recipes/energy-u4.toml")),
        ("demo-flow", include_str!("recipes/demo-flow.toml")),
    ];

    const FLAGS: &'static [Flag] = &[
        Flag::HIDDEN,
        Flag {
            selects: true,
            instead: "for the posterior of a VAE use --posterior",
            ..Flag::new("flow", "kind", "KIND")
        },
        Flag { selects: true, recipe: Some("energy-"), ..Flag::new("energy", "energy", "ENERGY") },
    ];

    fn check(options: &FlowRecipe, shared: Shared<'_>) -> Result<(), RecipeError> {
        check_hidden(&options.hidden)?;
        if options.energy.is_some() && !shared.data.spec.is_empty() {
            let expected = "no data, because `flow.energy` gives the formula to learn from";
            return Err(RecipeError::invalid("data.spec", expected, &shared.data.spec));
        }
        let refuse =
            |(field, expected, found): (&str, String, String)| Err(RecipeError::invalid(field, &expected, found));
        options.out_of_range().map_or(Ok(()), refuse)
    }

    fn without_data(options: &FlowRecipe) -> Option<Dataset> {
        options.energy.map(|energy| Dataset::without_rows(energy.name(), 2))
    }

    fn model(options: &FlowRecipe, data: &DataShape, shared: Shared<'_>) -> Result<Box<dyn Model>, RecipeError> {
        if data.kind == Kind::Image {
            let expected = "a table, because pixels are discrete and have no density; use the family `vae` for images";
            let found = format!("images of {} x {}", data.shape[0], data.shape[1]);
            return Err(RecipeError::invalid("data.spec", expected, found));
        }
        if options.kind.step().is_none() && data.dim() < 2 {
            let expected = "`planar` or `radial` for a table of one column, because a coupling needs two";
            return Err(RecipeError::invalid("kind", expected, "couplings"));
        }
        Ok(Box::new(Flow::new(options.clone(), data.dim(), shared.train.seed, &Device::Cpu, DType::F32)?))
    }

    fn complete(options: &mut FlowRecipe, _: &dyn Model) {
        options.steps = Some(options.count());
    }
}
