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
    /// A value outside its range.
    #[error("recipe field `{field}`: expected {expected}, found {found}")]
    Invalid {
        /// The field's name.
        field: &'static str,
        /// The range.
        expected: &'static str,
        /// The value.
        found: String,
    },
    /// The tensor library cannot make the model.
    #[error("the model cannot be made: {0}")]
    Tensor(#[from] candle_core::Error),
}
