//! A recipe as a table of fields: parsing it, setting one field, and changing the family. The names, types, defaults
//! and descriptions of the fields come from the types that hold the values.

use toml::{Table, Value};

use super::Recipe;
use crate::data::FrontRecipe;
use crate::family::{self, Entry, Family};
use crate::fields::{self, Field, similar_names};
use crate::settings::{CalibrationRecipe, DataRecipe, ExportRecipe, RecipeError, TrainRecipe};

/// Every field of the recipes of this family, with its default.
#[must_use]
pub fn fields(entry: &Entry) -> Vec<Field> {
    let families = family::ALL.iter().map(|entry| Value::String(entry.name.to_owned())).collect();
    let top = |key: &str, kind, description: &str| Field {
        key: key.to_owned(),
        kind,
        description: description.to_owned(),
        default: None,
    };
    let mut all = vec![
        top("name", fields::Kind::Text, "The name of the run folder, unless the command line gives another one."),
        top("family", fields::Kind::Choice(families), "The model family. Its options are in the table with its name."),
    ];
    all.extend(fields::of::<DataRecipe>("data"));
    all.extend(fields::of::<FrontRecipe>("front"));
    all.extend(entry.fields());
    all.extend(fields::of::<TrainRecipe>("train"));
    all.extend(fields::of::<CalibrationRecipe>("calibration"));
    all.extend(fields::of::<ExportRecipe>("export"));
    let defaults = Recipe::of_entry(entry, "").table().unwrap_or_default();
    for field in &mut all {
        field.default = get(&defaults, &field.key).cloned().or(field.default.take());
    }
    all
}

/// The value at a key, or `None`.
pub(super) fn get<'t>(table: &'t Table, key: &str) -> Option<&'t Value> {
    let mut parts = key.split('.');
    let first = table.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.as_table()?.get(part))
}

/// Sets the value at a key, and creates the tables that contain it.
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

/// All values of a table that are not tables themselves, with their keys.
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

/// The error for a key that recipes of this family do not have.
fn unknown_field(entry: &Entry, all: &[Field], key: &str) -> RecipeError {
    // The key may name another family's table, or this family's table with a field that only another family has.
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
    let near = similar_names(key, known).into_iter().map(str::to_owned).collect();
    RecipeError::UnknownField { field: key.to_owned(), family: entry.name, near }
}

impl Recipe {
    /// The recipe as a TOML table.
    ///
    /// # Errors
    /// `Table` if TOML cannot represent a number of the recipe.
    pub fn table(&self) -> Result<Table, RecipeError> {
        // The conversion goes through text, because an `f32` must be written with as few digits as possible.
        toml::from_str(&self.to_toml()?).map_err(|e| unreadable(&self.name, &e))
    }

    /// Builds a recipe from a TOML table. Fields that the table lacks get the defaults of the family.
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
            let field = all.iter().find(|field| field.key == key).ok_or_else(|| unknown_field(entry, &all, &key))?;
            if !field.kind.takes(&value) {
                return Err(RecipeError::invalid(
                    key,
                    field.kind.to_string(),
                    format!("`{}`", fields::value_text(&value)),
                ));
            }
            put(&mut whole, &key, value);
        }
        // An empty table stands for the defaults of its fields.
        if let Some(Value::Table(own)) = table.get(entry.name) {
            for (name, below) in own.iter().filter(|(_, value)| value.as_table().is_some_and(Table::is_empty)) {
                put(&mut whole, &format!("{}.{name}", entry.name), below.clone());
            }
        }
        if let Some((empty, _)) = table.iter().find(|(name, value)| value.is_table() && !whole.contains_key(*name)) {
            return Err(unknown_field(entry, &all, empty));
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
            front: part(whole, "front")?,
            family: family.map_err(|e| unreadable(entry.name, &e))?,
            train: part(whole, "train")?,
            calibration: part(whole, "calibration")?,
            export: part(whole, "export")?,
        })
    }

    /// Sets one field, given its key (for example `train.steps`) and its value as text. Ranges are not checked here,
    /// see [`Recipe::check`].
    ///
    /// # Errors
    /// `UnknownField`, `OtherFamily` and `UnknownFamily`; `Invalid` if the text is not a value of the field's type.
    pub fn set(&mut self, key: &str, text: &str) -> Result<(), RecipeError> {
        if key == "family" {
            return self.switch(text);
        }
        let entry = self.family.entry();
        let all = fields(entry);
        let field = all.iter().find(|field| field.key == key).ok_or_else(|| unknown_field(entry, &all, key))?;
        let value = field.kind.parse(text);
        let value = value.ok_or_else(|| RecipeError::invalid(key, field.kind.to_string(), format!("`{text}`")))?;
        let mut table = self.table()?;
        put(&mut table, key, value);
        *self = Self::build(entry, &table)?;
        Ok(())
    }

    /// Changes the family. Fields that both families have keep their values.
    ///
    /// # Errors
    /// `UnknownFamily` if there is no family of this name.
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
