//! What of a recipe the types do not check.

use super::{Family, Recipe};
use crate::family::flow::FlowRecipe;
use crate::family::wgan::WganRecipe;
use crate::layers::conv::ConvRecipe;
use crate::settings::RecipeError;

impl Recipe {
    /// Checks every range that the types do not.
    ///
    /// # Errors
    /// `Invalid`, naming the field.
    pub fn check(&self) -> Result<(), RecipeError> {
        let at_least_1 = [
            ("model.latent", self.model.latent as u64),
            ("export.monte_carlo_samples", self.export.monte_carlo_samples as u64),
            ("export.importance_samples", self.export.importance_samples as u64),
        ];
        let invalid = |field, expected, found: &dyn std::fmt::Display| {
            Err(RecipeError::Invalid { field, expected, found: found.to_string() })
        };
        for (field, value) in at_least_1 {
            if value == 0 {
                return invalid(field, "a whole number of at least 1", &value);
            }
        }
        match (self.energy(), self.data.spec.as_str()) {
            (None, "") => {
                return invalid("data.spec", "a data set, or an energy to learn in `flow.energy`", &"neither");
            }
            (Some(_), spec) if !spec.is_empty() => {
                return invalid("data.spec", "no data beside `flow.energy`, which is learnt from its formula", &spec);
            }
            (Some(_), _) if self.family != Family::Flow => {
                return invalid("flow.energy", "family `flow`, which learns energies", &self.family.name());
            }
            _ => {}
        }
        if let Some((field, expected, found)) = self.flow.as_ref().and_then(FlowRecipe::invalid) {
            return invalid(field, expected, &found);
        }
        if self.model.hidden.contains(&0) {
            return invalid("model.hidden", "widths of at least 1", &format!("{:?}", self.model.hidden));
        }
        self.train.check()?;
        if let Some(adgm) = &self.adgm {
            adgm.check()?;
        }
        if self.structure().is_some() && self.model.hidden.is_empty() {
            return invalid("model.hidden", "at least one hidden layer for this family", &"none");
        }
        for (field, set) in
            [("model.conditional", self.model.conditional), ("train.free_bits", self.train.free_bits > 0.0)]
        {
            if set && self.family != Family::Vae {
                return invalid(field, "family = \"vae\" beside it", &self.family.name());
            }
        }
        if self.train.restarts > 0 && self.family == Family::Wgan {
            let expected = "0 for a WGAN, which has no validation ELBO to choose by";
            return invalid("train.restarts", expected, &self.train.restarts);
        }
        if !(0.0..1.0).contains(&self.data.validation_fraction) {
            let expected = "a number from 0 up to but not including 1";
            return invalid("data.validation_fraction", expected, &self.data.validation_fraction);
        }
        let mistakes =
            [self.conv.as_ref().and_then(ConvRecipe::mistake), self.wgan.as_ref().and_then(WganRecipe::mistake)];
        if let Some((field, expected, found)) = mistakes.into_iter().flatten().next() {
            return invalid(field, expected, &found);
        }
        if self.wgan.is_some() && self.family != Family::Wgan {
            return invalid("wgan", "no table [wgan] unless `family = \"wgan\"`", &self.family.name());
        }
        match &self.dlgm {
            Some(_) if self.family != Family::Dlgm => {
                invalid("dlgm", "family = \"dlgm\" beside it", &self.family.name())
            }
            Some(dlgm) => dlgm.check(),
            None => Ok(()),
        }
    }
}
