//! The model families. Each has a loss from a paper, a lowering to the float graph, and options in recipes.

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

// The registry has one line for each family. A recipe that names no family is of the first one.
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

/// The family with this name.
///
/// # Errors
/// `UnknownFamily` if there is none.
pub fn find(name: &str) -> Result<&'static Entry, RecipeError> {
    let known = || ALL.iter().map(|entry| format!("`{}`", entry.name)).collect::<Vec<_>>().join(", ");
    let found = ALL.iter().find(|entry| entry.name == name);
    found.ok_or_else(|| RecipeError::UnknownFamily { found: name.to_owned(), known: known() })
}

impl Family {
    /// The options, if the type `T` is that of this family's options. Otherwise `None`.
    #[must_use]
    pub fn options_as<T: 'static>(&self) -> Option<&T> {
        self.options().downcast_ref()
    }

    /// The options for changing, if the type `T` is that of this family's options. Otherwise `None`.
    pub fn options_as_mut<T: 'static>(&mut self) -> Option<&mut T> {
        self.options_mut().downcast_mut()
    }

    /// The family's entry in the registry.
    #[must_use]
    pub fn entry(&self) -> &'static Entry {
        // The registry contains every variant, because one macro creates both.
        ALL.iter().find(|entry| entry.name == self.name()).unwrap_or(&ALL[0])
    }
}
