use std::path::PathBuf;

/// What can be wrong with a recipe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// Neither a built-in name nor a file.
    #[error("unknown recipe `{name}`: expected {known} or the path of a TOML file")]
    Unknown {
        /// What was asked for.
        name: String,
        /// The built-in names.
        known: String,
    },
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Io {
        /// The recipe's file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// Not the TOML of a recipe.
    #[error("{origin}: not a recipe: {source}")]
    Parse {
        /// The file or the built-in name.
        origin: String,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A field of a recipe that is refused, with the recipe's origin.
    #[error("{origin}: not a recipe: {source}")]
    In {
        /// The file or the built-in name.
        origin: String,
        /// What is refused.
        source: Box<Self>,
    },
    /// A recipe as it was written before every family had a table of its own.
    #[error(
        "a recipe of an older layout, with a table [{table}]: each family now has a table of its own, [vae] for example, \
         which holds what were [model], [conv] and others; write it anew after `elbo recipe`, or train again"
    )]
    Older {
        /// A table that there no longer is.
        table: String,
    },
    /// No such field.
    #[error("unknown recipe field `{field}`{}; `elbo recipe --fields {family}` lists them all", did_you_mean(near))]
    UnknownField {
        /// As it was written.
        field: String,
        /// The recipe's family.
        family: &'static str,
        /// Fields that are written nearly so.
        near: Vec<String>,
    },
    /// No such family.
    #[error("unknown family `{found}`: expected {known}")]
    UnknownFamily {
        /// As it was written.
        found: String,
        /// Those that there are.
        known: String,
    },
    /// A field that only other families have.
    #[error("recipe field `{field}` is of family {owners}, and this recipe is of family `{family}`")]
    OtherFamily {
        /// The field's name.
        field: String,
        /// Whose it is.
        owners: String,
        /// The recipe's family.
        family: &'static str,
    },
    /// A value outside its range.
    #[error("recipe field `{field}`: expected {expected}, found {found}")]
    Invalid {
        /// The field's name.
        field: String,
        /// The range.
        expected: String,
        /// The value.
        found: String,
    },
    /// A table that its types refuse.
    #[error("recipe table [{table}]: {reason}")]
    Table {
        /// The table's name.
        table: String,
        /// Why.
        reason: String,
    },
    /// The tensor library cannot make the model.
    #[error("the model cannot be made: {0}")]
    Tensor(#[from] candle_core::Error),
}

fn did_you_mean(near: &[String]) -> String {
    let names: Vec<String> = near.iter().map(|name| format!("`{name}`")).collect();
    if names.is_empty() { String::new() } else { format!(", perhaps meant as {}", names.join(" or ")) }
}

impl RecipeError {
    /// A value outside its range.
    #[must_use]
    pub fn invalid(field: impl Into<String>, expected: impl Into<String>, found: impl std::fmt::Display) -> Self {
        Self::Invalid { field: field.into(), expected: expected.into(), found: found.to_string() }
    }

    /// Completes the name of a field of a family's own table, which the family gives without the table.
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

    /// The same in a recipe that came from somewhere.
    #[must_use]
    pub fn within(self, origin: &str) -> Self {
        Self::In { origin: origin.to_owned(), source: Box::new(self) }
    }
}
