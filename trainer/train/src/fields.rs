//! The fields of a recipe: names, types, defaults and descriptions, derived from the types that hold the values.

use std::fmt;

use schemars::JsonSchema;
use serde_json::{Map, Value};

/// The type of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A whole number.
    Whole {
        /// Whether negative numbers are allowed.
        signed: bool,
    },
    /// Any number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// Any text.
    Text,
    /// One of these values.
    Choice(Vec<toml::Value>),
    /// A list of values of one type.
    List(Box<Self>),
}

impl Kind {
    /// Parses a text. `None` if the text is not a value of this type. The elements of a list are separated by commas;
    /// brackets around them are optional.
    #[must_use]
    pub fn parse(&self, text: &str) -> Option<toml::Value> {
        let text = text.trim();
        match self {
            Self::Whole { .. } => text.parse().ok().map(toml::Value::Integer).filter(|value| self.takes(value)),
            Self::Number => text.parse().ok().map(toml::Value::Float),
            Self::Boolean => text.parse().ok().map(toml::Value::Boolean),
            Self::Text => Some(toml::Value::String(text.to_owned())),
            Self::Choice(choices) => choices.iter().find(|choice| value_text(choice) == text).cloned(),
            Self::List(of) => {
                let inside = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
                let items = inside.split(',').filter(|item| !item.trim().is_empty());
                items.map(|item| of.parse(item)).collect::<Option<Vec<_>>>().map(toml::Value::Array)
            }
        }
    }

    /// Whether a value has this type.
    #[must_use]
    pub fn takes(&self, value: &toml::Value) -> bool {
        match self {
            Self::Whole { signed } => value.as_integer().is_some_and(|whole| *signed || whole >= 0),
            Self::Number => value.is_float() || value.is_integer(),
            Self::Boolean => value.is_bool(),
            Self::Text => value.is_str(),
            Self::Choice(choices) => choices.contains(value),
            Self::List(of) => value.as_array().is_some_and(|items| items.iter().all(|item| of.takes(item))),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole { signed: true } => f.write_str("a whole number"),
            Self::Whole { signed: false } => f.write_str("a whole number of at least 0"),
            Self::Number => f.write_str("a number"),
            Self::Boolean => f.write_str("true or false"),
            Self::Text => f.write_str("text"),
            Self::Choice(choices) => {
                for (i, choice) in choices.iter().enumerate() {
                    let before = if i == 0 {
                        ""
                    } else if i + 1 == choices.len() {
                        " or "
                    } else {
                        ", "
                    };
                    write!(f, "{before}`{}`", value_text(choice))?;
                }
                Ok(())
            }
            Self::List(of) => match &**of {
                Self::Whole { .. } => f.write_str("whole numbers of at least 0, separated by commas"),
                Self::Text => f.write_str("texts, separated by commas"),
                other => write!(f, "a list, separated by commas, of which each element is {other}"),
            },
        }
    }
}

/// A value as text, in the form in which the command line accepts it.
#[must_use]
pub fn value_text(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(items) => items.iter().map(value_text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// One field of a recipe.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// The names of the tables and of the field, separated by dots, for example `train.steps`.
    pub key: String,
    /// The type of the field.
    pub kind: Kind,
    /// What the field means.
    pub description: String,
    /// The default. `None` if the field is optional and absent by default.
    pub default: Option<toml::Value>,
}

/// The fields of a type in alphabetical order. If `prefix` is not empty, every key starts with `prefix` and a dot.
#[must_use]
pub fn of<T: JsonSchema>(prefix: &str) -> Vec<Field> {
    let schema = schemars::schema_for!(T);
    let mut fields = Vec::new();
    if let Some(root) = schema.as_object() {
        collect(root, root, prefix, &mut fields);
    }
    fields
}

fn collect(root: &Map<String, Value>, object: &Map<String, Value>, prefix: &str, fields: &mut Vec<Field>) {
    let properties = object.get("properties").and_then(Value::as_object);
    for (name, declared) in properties.into_iter().flatten().filter_map(|(name, p)| Some((name, p.as_object()?))) {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        let target = resolved(root, declared);
        if target.contains_key("properties") {
            collect(root, target, &key, fields);
        } else if let Some(kind) = kind(root, target) {
            let description = declared.get("description").and_then(Value::as_str).unwrap_or_default();
            let description =
                description.split_whitespace().collect::<Vec<_>>().join(" ").replace("[`", "`").replace("`]", "`");
            let default = declared.get("default").and_then(|value| toml::Value::try_from(value).ok());
            fields.push(Field { key, kind, description, default });
        }
    }
}

/// The schema that a reference, or an optional schema, stands for.
fn resolved<'s>(root: &'s Map<String, Value>, mut schema: &'s Map<String, Value>) -> &'s Map<String, Value> {
    loop {
        let named = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix("#/$defs/"));
        let named = named.and_then(|name| root.get("$defs")?.get(name)?.as_object());
        let some = schema.get("anyOf").and_then(Value::as_array).and_then(|any| {
            any.iter().filter_map(Value::as_object).find(|one| one.get("type").and_then(Value::as_str) != Some("null"))
        });
        match named.or(some) {
            Some(next) => schema = next,
            None => return schema,
        }
    }
}

fn kind(root: &Map<String, Value>, schema: &Map<String, Value>) -> Option<Kind> {
    let choices = choices(schema);
    if !choices.is_empty() {
        return Some(Kind::Choice(choices));
    }
    let name = match schema.get("type")? {
        Value::String(name) => name.as_str(),
        Value::Array(names) => names.iter().filter_map(Value::as_str).find(|name| *name != "null")?,
        _ => return None,
    };
    match name {
        "integer" => {
            let least = schema.get("minimum").and_then(Value::as_i64).unwrap_or(i64::MIN);
            Some(Kind::Whole { signed: least < 0 })
        }
        "number" => Some(Kind::Number),
        "boolean" => Some(Kind::Boolean),
        "string" => Some(Kind::Text),
        "array" => Some(Kind::List(Box::new(kind(root, resolved(root, schema.get("items")?.as_object()?))?))),
        _ => None,
    }
}

fn choices(schema: &Map<String, Value>) -> Vec<toml::Value> {
    let value = |value: &Value| toml::Value::try_from(value).ok().filter(|_| !value.is_null());
    let mut found: Vec<toml::Value> = schema.get("const").and_then(value).into_iter().collect();
    found.extend(schema.get("enum").and_then(Value::as_array).into_iter().flatten().filter_map(value));
    let one_of = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object);
    found.extend(one_of.flat_map(choices));
    found
}

/// The names in `all` that are similar to `name`, the most similar first; at most three.
#[must_use]
pub fn similar_names<'n>(name: &str, all: impl IntoIterator<Item = &'n str>) -> Vec<&'n str> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let below = format!("{name}.");
    // If `name` is a table, all of its fields are similar to it. Of fields with the same name, the one in the same
    // table comes first.
    let likeness = |other: &str| match other.starts_with(&below) {
        true => 1.0,
        false => strsim::jaro_winkler(&last(name), &last(other)) + 0.01 * strsim::jaro_winkler(name, other),
    };
    let mut likely: Vec<(f64, &str)> = all.into_iter().map(|other| (likeness(other), other)).collect();
    likely.retain(|(likeness, _)| *likeness > 0.85);
    likely.sort_by(|a, b| b.0.total_cmp(&a.0));
    likely.into_iter().take(3).map(|(_, other)| other).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_the_field_takes_them() {
        let whole = Kind::Whole { signed: false };
        assert_eq!(whole.parse(" 12 "), Some(toml::Value::Integer(12)));
        assert_eq!((whole.parse("-1"), whole.parse("1.5"), whole.parse("")), (None, None, None));
        assert_eq!(Kind::Whole { signed: true }.parse("-1"), Some(toml::Value::Integer(-1)));
        assert_eq!(Kind::Number.parse("1e-3"), Some(toml::Value::Float(1e-3)));
        let list = Kind::List(Box::new(whole));
        let two = toml::Value::Array(vec![toml::Value::Integer(8), toml::Value::Integer(4)]);
        for text in ["8,4", "[8, 4]", "8, 4,"] {
            assert_eq!(list.parse(text), Some(two.clone()), "{text}");
        }
        assert_eq!((list.parse("8,x"), list.parse("")), (None, Some(toml::Value::Array(Vec::new()))));
        assert!(list.takes(&two) && !Kind::Boolean.takes(&two));
    }

    #[test]
    fn near_names_come_nearest_first() {
        let all =
            ["train.steps", "train.learning_rate", "flow.steps", "vae.latent", "vae.conv.channels", "vae.conv.kernel"];
        assert_eq!(similar_names("train.learningrate", all), ["train.learning_rate"]);
        assert_eq!(similar_names("train.step", all), ["train.steps", "flow.steps"]);
        assert_eq!(similar_names("vae.conv", all), ["vae.conv.channels", "vae.conv.kernel"]);
        assert!(similar_names("zebra", all).is_empty());
    }
}
