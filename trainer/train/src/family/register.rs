//! The trait by which a family describes itself, and the registry of all families.

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Family;
use crate::data::{Dataset, Split};
use crate::fields::{self, Field};
use crate::model::Model;
use crate::settings::{DataShape, ExportRecipe, RecipeError, Shared, TrainRecipe};

/// A family: its options with their defaults and checks, and the model that they describe.
///
/// Errors of a family name the fields of its own table without the table, for example `layers`.
pub trait Register {
    /// The options, which form the family's own table in a recipe. The documentation of the fields is shown on the
    /// command line.
    type Options: Clone + Default + PartialEq + std::fmt::Debug + Serialize + DeserializeOwned + JsonSchema + 'static;

    /// A description in a few words.
    const DESCRIPTION: &'static str;

    /// Name and TOML text of the built-in recipes. `cargo xtask demo` uses the recipe called `demo-NAME`.
    const RECIPES: &'static [(&'static str, &'static str)];

    /// The options of `elbo train` that set fields of the family's table.
    const FLAGS: &'static [Flag];

    /// Whether the score is a bound on the log-likelihood in nats, or its exact value.
    const BOUNDED: bool = true;

    /// The default settings of the optimisation.
    #[must_use]
    fn train() -> TrainRecipe {
        TrainRecipe::default()
    }

    /// The default settings of the export.
    #[must_use]
    fn export() -> ExportRecipe {
        ExportRecipe::default()
    }

    /// The name of the default recipe for a data set of this name.
    #[must_use]
    fn recipe_name(data: &str) -> String {
        data.to_owned()
    }

    /// Checks the ranges that do not depend on the data.
    ///
    /// # Errors
    /// `Invalid`, which names the field.
    fn check(options: &Self::Options, shared: Shared<'_>) -> Result<(), RecipeError>;

    /// The data set without rows for a family that learns from an energy. `None` if it learns from data.
    #[must_use]
    fn without_data(_options: &Self::Options) -> Option<Dataset> {
        None
    }

    /// The untrained model for data of this shape. The seed of the optimisation determines its initial weights.
    ///
    /// # Errors
    /// `Invalid` if an option does not suit the data, or any error of candle.
    fn model(options: &Self::Options, data: &DataShape, shared: Shared<'_>) -> Result<Box<dyn Model>, RecipeError>;

    /// Fills in the options whose defaults depend on the data or on other options, so that the saved recipe contains
    /// all values.
    fn complete(_options: &mut Self::Options, _model: &dyn Model) {}

    /// Indices of the train rows whose labels the family uses. `None` if it does not use labels.
    ///
    /// # Errors
    /// `Invalid` if labels are missing, if a label is not below `classes`, or if there are fewer labelled rows than
    /// required.
    fn labelled_rows(
        _options: &Self::Options,
        _train: &Split,
        _classes: usize,
        _shared: Shared<'_>,
    ) -> Result<Option<Vec<usize>>, RecipeError> {
        Ok(None)
    }
}

/// An option of `elbo train` that sets one field of a family's table. The documentation of the field is its help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag {
    /// The name of the option, without dashes.
    pub name: &'static str,
    /// The field of the family's table.
    pub field: &'static str,
    /// The name of the value in the help. If it is empty, the option has no value and sets the field to `true`.
    pub value: &'static str,
    /// Whether the option implies the family.
    pub selects: bool,
    /// If neither a recipe nor data are given, the option stands for the built-in recipe whose name is this prefix
    /// followed by the value.
    pub recipe: Option<&'static str>,
    /// What the error message proposes for another family.
    pub instead: &'static str,
}

impl Flag {
    /// An option that sets a field in the table of any family that has the field.
    #[must_use]
    pub const fn new(name: &'static str, field: &'static str, value: &'static str) -> Self {
        Self { name, field, value, selects: false, recipe: None, instead: "" }
    }

    /// Widths of the hidden layers.
    pub const HIDDEN: Self = Self::new("hidden", "hidden", "WIDTHS");
    /// Number of latent dimensions.
    pub const LATENT: Self = Self::new("latent", "latent", "N");
    /// The likelihood.
    pub const LIKELIHOOD: Self = Self::new("likelihood", "likelihood", "LIKELIHOOD");
    /// Channels of the convolutions.
    pub const CONV: Self = Self::new("conv", "conv.channels", "CHANNELS");
}

/// An entry of the registry.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Name of the family and of its table in recipes.
    pub name: &'static str,
    /// A description in a few words.
    pub description: &'static str,
    /// Name and TOML text of the built-in recipes.
    pub recipes: &'static [(&'static str, &'static str)],
    /// The options of `elbo train` that set fields of the family's table.
    pub flags: &'static [Flag],
    /// See [`Register::BOUNDED`].
    pub bounded: bool,
    /// See [`Register::train`].
    pub train: fn() -> TrainRecipe,
    /// See [`Register::export`].
    pub export: fn() -> ExportRecipe,
    /// Creates the family with the defaults of its options.
    pub default: fn() -> Family,
    /// See [`Register::recipe_name`].
    pub recipe_name: fn(&str) -> String,
    /// Lists the fields of the family's table.
    fields: fn(&str) -> Vec<Field>,
}

impl Entry {
    /// The entry of the family `F`.
    pub(super) const fn of<F: Register>(name: &'static str, default: fn() -> Family) -> Self {
        Self {
            name,
            description: F::DESCRIPTION,
            recipes: F::RECIPES,
            flags: F::FLAGS,
            bounded: F::BOUNDED,
            train: F::train,
            export: F::export,
            default,
            recipe_name: F::recipe_name,
            fields: fields::of::<F::Options>,
        }
    }

    /// The fields of the family's table. Their keys begin with the name of the table.
    #[must_use]
    pub fn fields(&self) -> Vec<Field> {
        (self.fields)(self.name)
    }
}

/// Creates the registry: an enumeration of the families with their options, and the calls to each family.
macro_rules! families {
    ($($name:ident: $variant:ident),* $(,)?) => {
        /// A family with the options of its own table.
        #[derive(Clone, Debug, PartialEq, serde::Serialize)]
        #[serde(rename_all = "lowercase")]
        #[non_exhaustive]
        pub enum Family {
            $(
                #[doc = concat!("The table `[", stringify!($name), "]`.")]
                $variant(<$name::Entry as Register>::Options)
            ),*
        }

        /// The entries of all families.
        pub const ALL: &[Entry] = &[$(
            Entry::of::<$name::Entry>(stringify!($name), || Family::$variant(Default::default()))
        ),*];

        impl Family {
            /// Name of the family and of its table in recipes.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => stringify!($name)),* }
            }

            /// A family given the contents of its table. Fields that the table lacks have their defaults. `None` if
            /// there is no family of this name.
            ///
            /// # Errors
            /// A value that its type does not allow.
            pub fn from_table(name: &str, table: toml::Table) -> Option<Result<Self, toml::de::Error>> {
                match name {
                    $(stringify!($name) => Some(table.try_into().map(Self::$variant)),)*
                    _ => None,
                }
            }

            fn options(&self) -> &dyn std::any::Any {
                match self { $(Self::$variant(options) => options),* }
            }

            fn options_mut(&mut self) -> &mut dyn std::any::Any {
                match self { $(Self::$variant(options) => options),* }
            }

            /// See [`Register::check`].
            ///
            /// # Errors
            /// `Invalid`, which names the field.
            pub fn check(&self, shared: Shared<'_>) -> Result<(), RecipeError> {
                match self { $(Self::$variant(options) => $name::Entry::check(options, shared)),* }
                    .map_err(|e| e.of_table(self.name()))
            }

            /// See [`Register::without_data`].
            #[must_use]
            pub fn without_data(&self) -> Option<Dataset> {
                match self { $(Self::$variant(options) => $name::Entry::without_data(options)),* }
            }

            /// See [`Register::model`].
            ///
            /// # Errors
            /// `Invalid` if an option does not suit the data, or any error of candle.
            pub fn model(&self, data: &DataShape, shared: Shared<'_>) -> Result<Box<dyn Model>, RecipeError> {
                match self { $(Self::$variant(options) => $name::Entry::model(options, data, shared)),* }
                    .map_err(|e| e.of_table(self.name()))
            }

            /// See [`Register::complete`].
            pub(crate) fn complete(&mut self, model: &dyn Model) {
                match self { $(Self::$variant(options) => $name::Entry::complete(options, model)),* }
            }

            /// See [`Register::labelled_rows`].
            ///
            /// # Errors
            /// `Invalid` if labels are missing, if a label is not below `classes`, or if there are fewer labelled rows
            /// than required.
            pub fn labelled_rows(
                &self,
                train: &Split,
                classes: usize,
                shared: Shared<'_>,
            ) -> Result<Option<Vec<usize>>, RecipeError> {
                match self {
                    $(Self::$variant(options) => $name::Entry::labelled_rows(options, train, classes, shared)),*
                }
                .map_err(|e| e.of_table(self.name()))
            }
        }
    };
}

pub(super) use families;
