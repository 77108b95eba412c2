//! What a family says of itself, and the registry that follows from it.

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Family;
use crate::data::{Dataset, Split};
use crate::fields::{self, Field};
use crate::model::Model;
use crate::settings::{DataShape, ExportRecipe, RecipeError, Shared, TrainRecipe};

/// A family: the options of its own table in a recipe, their defaults and checks, and the model that they describe.
///
/// An error of the family names a field of its own table without the table, `layers` for example.
pub trait Register {
    /// The family's own table; the documentation of its fields is that of recipes and of the command line.
    type Options: Clone + Default + PartialEq + std::fmt::Debug + Serialize + DeserializeOwned + JsonSchema + 'static;

    /// What the family is, in a few words.
    const ABOUT: &'static str;

    /// Its built-in recipes: name and TOML text. The one called `demo-NAME` is what `cargo xtask demo` shows.
    const RECIPES: &'static [(&'static str, &'static str)];

    /// The fields of its table that have an option of their own in `elbo train`.
    const FLAGS: &'static [Flag];

    /// Whether its score is a bound on the log-likelihood in nats, or its exact value.
    const BOUNDED: bool = true;

    /// The optimisation's settings where a recipe does not say.
    #[must_use]
    fn train() -> TrainRecipe {
        TrainRecipe::default()
    }

    /// What is exported where a recipe does not say.
    #[must_use]
    fn export() -> ExportRecipe {
        ExportRecipe::default()
    }

    /// The name of the default recipe for data of this name.
    #[must_use]
    fn recipe_name(data: &str) -> String {
        data.to_owned()
    }

    /// Checks every range that the types do not and that does not depend on the data.
    ///
    /// # Errors
    /// `Invalid`, naming the field.
    fn check(options: &Self::Options, shared: Shared<'_>) -> Result<(), RecipeError>;

    /// What stands in for a data set where the family learns from something else.
    #[must_use]
    fn without_data(_options: &Self::Options) -> Option<Dataset> {
        None
    }

    /// The untrained model for data of this shape, its variables drawn from the seed of the optimisation.
    ///
    /// # Errors
    /// `Invalid` for what does not fit the data; what the tensor library reports.
    fn model(options: &Self::Options, data: &DataShape, shared: Shared<'_>) -> Result<Box<dyn Model>, RecipeError>;

    /// Writes out what only the untrained model or the rest of the options say.
    fn complete(_options: &mut Self::Options, _model: &dyn Model) {}

    /// Whether the model learns the labels of its rows as classes. To one that does not, a label of 1 beside 0 is an anomaly.
    #[must_use]
    fn learns_labels(_options: &Self::Options) -> bool {
        false
    }

    /// Indices of the train rows whose labels the family learns from; `None` for one that learns from none.
    ///
    /// # Errors
    /// `Invalid`: labels that are missing, outside the classes, or fewer than asked for.
    fn labelled_rows(
        _options: &Self::Options,
        _train: &Split,
        _classes: usize,
        _shared: Shared<'_>,
    ) -> Result<Option<Vec<usize>>, RecipeError> {
        Ok(None)
    }
}

/// A field with an option of its own in `elbo train`. What the option is for, the field says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag {
    /// The option without its dashes.
    pub name: &'static str,
    /// The field of the family's table that it sets.
    pub field: &'static str,
    /// What its value is called; empty for a switch that sets `true`.
    pub value: &'static str,
    /// Whether the option alone chooses the family.
    pub selects: bool,
    /// What precedes the value in the name of the built-in recipe that the option stands for where neither recipe nor data
    /// are named.
    pub recipe: Option<&'static str>,
    /// What to give instead for another family.
    pub instead: &'static str,
}

impl Flag {
    /// An option that sets a field of any family that has it.
    #[must_use]
    pub const fn new(name: &'static str, field: &'static str, value: &'static str) -> Self {
        Self { name, field, value, selects: false, recipe: None, instead: "" }
    }

    /// Widths of hidden layers.
    pub const HIDDEN: Self = Self::new("hidden", "hidden", "WIDTHS");
    /// Latent dimensions.
    pub const LATENT: Self = Self::new("latent", "latent", "N");
    /// The likelihood.
    pub const LIKELIHOOD: Self = Self::new("likelihood", "likelihood", "LIKELIHOOD");
    /// Channels of convolutions.
    pub const CONV: Self = Self::new("conv", "conv.channels", "CHANNELS");
}

/// A family in the registry.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its name in recipes, and that of its table.
    pub name: &'static str,
    /// What it is, in a few words.
    pub about: &'static str,
    /// Its built-in recipes.
    pub recipes: &'static [(&'static str, &'static str)],
    /// Its options in `elbo train`.
    pub flags: &'static [Flag],
    /// See [`Register::BOUNDED`].
    pub bounded: bool,
    /// See [`Register::train`].
    pub train: fn() -> TrainRecipe,
    /// See [`Register::export`].
    pub export: fn() -> ExportRecipe,
    /// The family with the defaults of its options.
    pub default: fn() -> Family,
    /// See [`Register::recipe_name`].
    pub recipe_name: fn(&str) -> String,
    /// The fields of its table.
    fields: fn(&str) -> Vec<Field>,
}

impl Entry {
    /// The entry of a family.
    pub(super) const fn of<F: Register>(name: &'static str, default: fn() -> Family) -> Self {
        Self {
            name,
            about: F::ABOUT,
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

    /// The fields of its table, their keys with the table.
    #[must_use]
    pub fn fields(&self) -> Vec<Field> {
        (self.fields)(self.name)
    }
}

/// Makes the registry: the options of every family, and the dispatch to it.
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

        /// Every family.
        pub const ALL: &[Entry] = &[$(
            Entry::of::<$name::Entry>(stringify!($name), || Family::$variant(Default::default()))
        ),*];

        impl Family {
            /// Its name in recipes, and that of its table.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => stringify!($name)),* }
            }

            /// A family from its table; its defaults from an empty one. `None` where there is no such family.
            ///
            /// # Errors
            /// What the table's type refuses.
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
            /// `Invalid`, naming the field.
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
            /// `Invalid` for what does not fit the data; what the tensor library reports.
            pub fn model(&self, data: &DataShape, shared: Shared<'_>) -> Result<Box<dyn Model>, RecipeError> {
                match self { $(Self::$variant(options) => $name::Entry::model(options, data, shared)),* }
                    .map_err(|e| e.of_table(self.name()))
            }

            /// See [`Register::complete`].
            pub(crate) fn complete(&mut self, model: &dyn Model) {
                match self { $(Self::$variant(options) => $name::Entry::complete(options, model)),* }
            }

            /// See [`Register::learns_labels`].
            #[must_use]
            pub fn learns_labels(&self) -> bool {
                match self { $(Self::$variant(options) => $name::Entry::learns_labels(options)),* }
            }

            /// See [`Register::labelled_rows`].
            ///
            /// # Errors
            /// `Invalid`: labels that are missing, outside the classes, or fewer than asked for.
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
