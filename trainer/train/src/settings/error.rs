use std::path::PathBuf;

/// Why a recipe is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// The name is not a built-in recipe, and there is no such file.
    #[error("unknown recipe `{name}`: expected {known} or the path of a TOML file")]
    Unknown {
        /// The name that was given.
        name: String,
        /// The names of the built-in recipes.
        known: String,
    },
    /// The file cannot be read.
    #[error("{}: the recipe cannot be read: {source}", path.display())]
    Io {
        /// The path of the recipe.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The text is not TOML, or not the TOML of a recipe.
    #[error("{origin}: not a recipe: {source}")]
    Parse {
        /// The file or the built-in name.
        origin: String,
        /// The position and the reason.
        source: Box<toml::de::Error>,
    },
    /// Another error of this type, with the origin of the recipe.
    #[error("{origin}: not a recipe: {source}")]
    In {
        /// The file or the built-in name.
        origin: String,
        /// The error.
        source: Box<Self>,
    },
    /// The recipe has the layout of an earlier version, in which families shared the tables `[model]` and `[conv]`.
    #[error(
        "the recipe has the table [{table}] of an older layout; each family now has a table of its own, \
         for example [vae], that contains the fields of [model], [conv] and others; \
         start from the recipe that `elbo recipe` prints, or train again"
    )]
    Older {
        /// A table of the earlier layout.
        table: String,
    },
    /// There is no such field.
    #[error("unknown recipe field `{field}`{}; `elbo recipe --fields {family}` lists them all", did_you_mean(near))]
    UnknownField {
        /// The name that was given.
        field: String,
        /// The family of the recipe.
        family: &'static str,
        /// Existing fields with similar names.
        near: Vec<String>,
    },
    /// There is no such family.
    #[error("unknown family `{found}`: expected {known}")]
    UnknownFamily {
        /// The name that was given.
        found: String,
        /// The names of all families.
        known: String,
    },
    /// The field exists only for other families.
    #[error("recipe field `{field}` is a field of family {owners}, but this recipe is of family `{family}`")]
    OtherFamily {
        /// The name of the field.
        field: String,
        /// The names of the families that have the field.
        owners: String,
        /// The family of the recipe.
        family: &'static str,
    },
    /// A value is outside its range, or does not suit the data.
    #[error("recipe field `{field}`: expected {expected}, found {found}")]
    Invalid {
        /// The name of the field.
        field: String,
        /// What is allowed.
        expected: String,
        /// The value that was given.
        found: String,
    },
    /// A table contains a value that its type does not allow.
    #[error("recipe table [{table}]: {reason}")]
    Table {
        /// The name of the table.
        table: String,
        /// The reason.
        reason: String,
    },
    /// The tensor library cannot create the model.
    #[error("the model cannot be created: {0}")]
    Tensor(#[from] candle_core::Error),
}

fn did_you_mean(near: &[String]) -> String {
    let names: Vec<String> = near.iter().map(|name| format!("`{name}`")).collect();
    if names.is_empty() { String::new() } else { format!(", perhaps meant as {}", names.join(" or ")) }
}

impl RecipeError {
    /// An error for a value that is not allowed.
    #[must_use]
    pub fn invalid(field: impl Into<String>, expected: impl Into<String>, found: impl std::fmt::Display) -> Self {
        Self::Invalid { field: field.into(), expected: expected.into(), found: found.to_string() }
    }

    /// Adds the family's table to the name of the field. Families name their own fields without it.
    #[must_use]
    pub fn of_table(self, family: &str) -> Self {
        match self {
            Self::Invalid { field, expected, found } => {
                let table = field.split('.').next().unwrap_or_default();
                let shared = ["family", "data", "train", "export"].contains(&table);
                let field = if shared { field } else { format!("{family}.{field}") };
                Self::Invalid { field, expected, found }
            }
            other => other,
        }
    }

    /// Adds the file or built-in name that the recipe came from.
    #[must_use]
    pub fn within(self, origin: &str) -> Self {
        Self::In { origin: origin.to_owned(), source: Box::new(self) }
    }
}
