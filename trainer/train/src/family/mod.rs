//! The model families: for every paper a loss, beside it the lowering to the float graph, and the options of its recipes.

use crate::data::{Dataset, Split};
use crate::model::Model;
use crate::settings::{DataShape, RecipeError, Shared};

pub mod adgm;
pub mod avae;
pub mod dlgm;
pub mod flow;
pub mod mixture;
mod register;
pub mod sdgm;
pub mod vae;
pub mod wgan;

use register::families;
pub use register::{Entry, Flag, Register};

// The registry: a family is one line here. The first is the one of a recipe that names none.
families! {
    vae: Vae,
    dlgm: Dlgm,
    flow: Flow,
    adgm: Adgm,
    sdgm: Sdgm,
    avae: Avae,
    wgan: Wgan,
    mixture: Mixture,
}

/// A family by its name.
///
/// # Errors
/// `UnknownFamily`.
pub fn find(name: &str) -> Result<&'static Entry, RecipeError> {
    let known = || ALL.iter().map(|entry| format!("`{}`", entry.name)).collect::<Vec<_>>().join(", ");
    let found = ALL.iter().find(|entry| entry.name == name);
    found.ok_or_else(|| RecipeError::UnknownFamily { found: name.to_owned(), known: known() })
}

impl Family {
    /// The options, if they are of this type.
    #[must_use]
    pub fn of<T: 'static>(&self) -> Option<&T> {
        self.options().downcast_ref()
    }

    /// The options, if they are of this type.
    pub fn of_mut<T: 'static>(&mut self) -> Option<&mut T> {
        self.options_mut().downcast_mut()
    }

    /// Its entry in the registry.
    #[must_use]
    pub fn entry(&self) -> &'static Entry {
        // Every family is in the registry that it was made from.
        ALL.iter().find(|entry| entry.name == self.name()).unwrap_or(&ALL[0])
    }
}
