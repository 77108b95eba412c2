//! SDGM: the skip deep generative model of Auxiliary Deep Generative Models (arXiv 1602.05473, section 2.4). Its model is an
//! [`Adgm`](super::adgm::Adgm) of another structure.

use super::adgm::{AdgmRecipe, Structure, labelled, make};
use super::{Flag, Register};
use crate::data::Split;
use crate::model::Model;
use crate::settings::{DataShape, RecipeError, Shared};

/// The family `sdgm`.
pub struct Entry;

impl Register for Entry {
    type Options = AdgmRecipe;

    const ABOUT: &'static str = "skip deep generative model, learns from few labels";

    const RECIPES: &'static [(&'static str, &'static str)] = &[
        ("moons-sdgm", include_str!("sdgm/recipes/moons-sdgm.toml")),
        ("demo-sdgm", include_str!("sdgm/recipes/demo-sdgm.toml")),
    ];

    const FLAGS: &'static [Flag] = super::adgm::Entry::FLAGS;

    fn check(options: &AdgmRecipe, _: Shared<'_>) -> Result<(), RecipeError> {
        options.check()
    }

    fn model(options: &AdgmRecipe, data: &DataShape, shared: Shared<'_>) -> Result<Box<dyn Model>, RecipeError> {
        make(Structure::Sdgm, options, data, shared)
    }

    fn complete(options: &mut AdgmRecipe, model: &dyn Model) {
        options.model.likelihood = Some(model.likelihood());
    }

    fn learns_labels(_: &AdgmRecipe) -> bool {
        true
    }

    fn labelled_rows(
        options: &AdgmRecipe,
        train: &Split,
        classes: usize,
        shared: Shared<'_>,
    ) -> Result<Option<Vec<usize>>, RecipeError> {
        labelled(options, train, classes, shared)
    }
}
