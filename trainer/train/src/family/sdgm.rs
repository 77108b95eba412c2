//! SDGM, the skip deep generative model of Auxiliary Deep Generative Models (arXiv 1602.05473, section 2.4). Its model
//! is an [`Adgm`](super::adgm::Adgm) with the structure [`Structure::Sdgm`].

use super::Flag;
use super::adgm::{self, AdgmRecipe, AuxiliaryFamily, Structure};
use crate::settings::ModelRecipe;

/// The family `sdgm`.
pub struct Entry;

impl AuxiliaryFamily for Entry {
    type Options = AdgmRecipe;

    const STRUCTURE: Structure = Structure::Sdgm;

    const DESCRIPTION: &'static str = "skip deep generative model, learns from few labels";

    const RECIPES: &'static [(&'static str, &'static str)] = &[
        ("moons-sdgm", include_str!("sdgm/recipes/moons-sdgm.toml")),
        ("demo-sdgm", include_str!("sdgm/recipes/demo-sdgm.toml")),
    ];

    const FLAGS: &'static [Flag] = <adgm::Entry as AuxiliaryFamily>::FLAGS;

    fn model_options(options: &AdgmRecipe) -> AdgmRecipe {
        options.clone()
    }

    fn shared_options(options: &mut AdgmRecipe) -> &mut ModelRecipe {
        &mut options.model
    }
}
