//! A recipe as a table of fields: reading it, setting one field, changing the family. Each field has a type, a default and a
//! documentation, all from the types that hold the values.

use toml::{Table, Value};

use super::Recipe;
use crate::family::{self, Entry, Family};
use crate::fields::{self, Field, near};
use crate::settings::{DataRecipe, ExportRecipe, RecipeError, TrainRecipe};

/// Every field of a recipe of this family, with its default.
#[must_use]
pub fn fields(entry: &Entry) -> Vec<Field> {
    let families = family::ALL.iter().map(|entry| Value::String(entry.name.to_owned())).collect();
    let top =
        |key: &str, kind, about: &str| Field { key: key.to_owned(), kind, about: about.to_owned(), default: None };
    let mut all = vec![
        top("name", fields::Kind::Text, "Names the run folder."),
        top("family", fields::Kind::Choice(families), "The model family, whose options are in the table of its name."),
    ];
    all.extend(fields::of::<DataRecipe>("data"));
    all.extend(entry.fields());
    all.extend(fields::of::<TrainRecipe>("train"));
    all.extend(fields::of::<ExportRecipe>("export"));
    let defaults = Recipe::of_entry(entry, "").table().unwrap_or_default();
    for field in &mut all {
        field.default = get(&defaults, &field.key).cloned().or(field.default.take());
    }
    all
}

/// The value at a key.
pub(super) fn get<'t>(table: &'t Table, key: &str) -> Option<&'t Value> {
    let mut parts = key.split('.');
    let first = table.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.as_table()?.get(part))
}

/// Puts a value at a key; tables on the way to it are made.
fn put(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => drop(table.insert(key.to_owned(), value)),
        Some((first, rest)) => {
            let below = table.entry(first).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(below) = below {
                put(below, rest, value);
            }
        }
    }
}

/// The values of a table that are no tables, with their keys.
fn leaves(table: &Table, prefix: &str) -> Vec<(String, Value)> {
    let of = |(name, value): (&String, &Value)| {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(below) => leaves(below, &key),
            leaf => vec![(key, leaf.clone())],
        }
    };
    table.iter().flat_map(of).collect()
}

/// Why a key is none of this family's recipes.
fn stranger(entry: &Entry, all: &[Field], key: &str) -> RecipeError {
    // A family may be named by its own table or by that of another family that lacks the field.
    let tables = || family::ALL.iter().filter(|other| other.name != entry.name);
    let (table, rest) = key.split_once('.').unwrap_or((key, ""));
    let named = family::ALL.iter().any(|family| family.name == table);
    let has = |other: &&Entry| {
        let own = other.fields();
        own.iter().any(|field| field.key == format!("{}.{rest}", other.name))
            && (table == entry.name || other.name == table)
    };
    let owners: Vec<String> = tables().filter(|other| named && has(other)).map(|e| format!("`{}`", e.name)).collect();
    if !owners.is_empty() || (named && table != entry.name && rest.is_empty()) {
        let owners = if owners.is_empty() { format!("`{table}`") } else { owners.join(", ") };
        return RecipeError::OtherFamily { field: key.to_owned(), owners, family: entry.name };
    }
    let others: Vec<Field> =
        tables().filter(|other| other.name == table || rest.is_empty()).flat_map(Entry::fields).collect();
    let known = all.iter().chain(&others).map(|field| field.key.as_str());
    let near = near(key, known).into_iter().map(str::to_owned).collect();
    RecipeError::UnknownField { field: key.to_owned(), family: entry.name, near }
}

impl Recipe {
    /// The recipe as a table.
    ///
    /// # Errors
    /// `Table` for a number that TOML cannot hold.
    pub fn table(&self) -> Result<Table, RecipeError> {
        // Through text: a number of 32 bits shall be as short as a person would write it.
        toml::from_str(&self.to_toml()?).map_err(|e| unreadable(&self.name, &e))
    }

    /// A recipe from a table; what the table does not say is as the family's default.
    ///
    /// # Errors
    /// `Older`, `UnknownFamily`, `UnknownField`, `OtherFamily` and `Invalid`.
    pub(super) fn from_table(table: &Table) -> Result<Self, RecipeError> {
        if let Some(old) = ["model", "conv"].into_iter().find(|old| table.get(*old).is_some_and(Value::is_table)) {
            return Err(RecipeError::Older { table: old.to_owned() });
        }
        let entry = match table.get("family") {
            None => &family::ALL[0],
            Some(Value::String(name)) => family::find(name)?,
            Some(other) => family::find(&other.to_string())?,
        };
        let all = fields(entry);
        let mut whole = Self::of_entry(entry, "").table()?;
        for (key, value) in leaves(table, "") {
            let field = all.iter().find(|field| field.key == key).ok_or_else(|| stranger(entry, &all, &key))?;
            if !field.kind.takes(&value) {
                return Err(RecipeError::invalid(key, field.kind.to_string(), format!("`{}`", fields::plain(&value))));
            }
            put(&mut whole, &key, value);
        }
        // A table without fields is one with its defaults.
        if let Some(Value::Table(own)) = table.get(entry.name) {
            for (name, below) in own.iter().filter(|(_, value)| value.as_table().is_some_and(Table::is_empty)) {
                put(&mut whole, &format!("{}.{name}", entry.name), below.clone());
            }
        }
        if let Some((empty, _)) = table.iter().find(|(name, value)| value.is_table() && !whole.contains_key(*name)) {
            return Err(stranger(entry, &all, empty));
        }
        Self::build(entry, &whole)
    }

    fn build(entry: &Entry, whole: &Table) -> Result<Self, RecipeError> {
        fn part<T: serde::de::DeserializeOwned>(whole: &Table, name: &str) -> Result<T, RecipeError> {
            let table = whole.get(name).cloned().unwrap_or_else(|| Value::Table(Table::new()));
            table.try_into().map_err(|e| unreadable(name, &e))
        }
        let own = whole.get(entry.name).and_then(Value::as_table).cloned().unwrap_or_default();
        let family = Family::from_table(entry.name, own).unwrap_or_else(|| Ok((entry.default)()));
        Ok(Self {
            name: whole.get("name").and_then(Value::as_str).unwrap_or("run").to_owned(),
            data: part(whole, "data")?,
            family: family.map_err(|e| unreadable(entry.name, &e))?,
            train: part(whole, "train")?,
            export: part(whole, "export")?,
        })
    }

    /// Sets one field by its key, `train.steps` for example, from text as a person writes it. Ranges are not checked.
    ///
    /// # Errors
    /// `UnknownField`, `OtherFamily`, `UnknownFamily`, and `Invalid` for a value of another type.
    pub fn set(&mut self, key: &str, text: &str) -> Result<(), RecipeError> {
        if key == "family" {
            return self.switch(text);
        }
        let entry = self.family.entry();
        let all = fields(entry);
        let field = all.iter().find(|field| field.key == key).ok_or_else(|| stranger(entry, &all, key))?;
        let value = field.kind.parse(text);
        let value = value.ok_or_else(|| RecipeError::invalid(key, field.kind.to_string(), format!("`{text}`")))?;
        let mut table = self.table()?;
        put(&mut table, key, value);
        *self = Self::build(entry, &table)?;
        Ok(())
    }

    /// Changes the family: its table keeps the fields that both families have.
    ///
    /// # Errors
    /// `UnknownFamily`.
    pub fn switch(&mut self, family: &str) -> Result<(), RecipeError> {
        let entry = family::find(family)?;
        if entry.name == self.family.name() {
            return Ok(());
        }
        let mut table = self.table()?;
        let old = table.remove(self.family.name());
        let fields = entry.fields();
        for (key, value) in old.as_ref().and_then(Value::as_table).map(|old| leaves(old, "")).unwrap_or_default() {
            let key = format!("{}.{key}", entry.name);
            if fields.iter().any(|field| field.key == key && field.kind.takes(&value)) {
                put(&mut table, &key, value);
            }
        }
        let name = format!("{}-{}", self.name, entry.name);
        *self = Self { name, ..Self::build(entry, &table)? };
        Ok(())
    }
}

fn unreadable(table: &str, error: &toml::de::Error) -> RecipeError {
    RecipeError::Table { table: table.to_owned(), reason: error.message().to_owned() }
}
