//! The options of `elbo train` that set fields of a recipe. The options that every family has are listed here. Those of
//! single families come from the registry of families. The help of an option is the description of its field.

use clap::builder::ArgAction;
use clap::error::Error;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use elbo_trainer::family::{self, Entry, Flag};
use elbo_trainer::recipe::{Recipe, table};
use elbo_trainer::settings::RecipeError;

use super::columns::Moved;

/// The options that every family has: name, field of the recipe, and name of the value in the help.
const OF_EVERY: [(&str, &str, &str); 28] = [
    ("data", "data.spec", "DATA"),
    ("data-dir", "data.data_dir", "DIR"),
    ("kind", "data.kind", "KIND"),
    ("shape", "data.shape", "SHAPE"),
    ("white", "data.white", "VALUE"),
    ("colour", "data.colour", "COLOUR"),
    ("scaling", "data.scaling", "SCALING"),
    ("label-column", "data.label_column", "NAME"),
    ("split-column", "data.split_column", "NAME"),
    ("delimiter", "data.delimiter", "CHARACTER"),
    ("decimal", "data.decimal", "MARK"),
    ("validation-fraction", "data.validation_fraction", "SHARE"),
    ("split-seed", "data.split_seed", "SEED"),
    ("front", "front.features", "FEATURES"),
    ("window", "front.window", "SAMPLES"),
    ("hop", "front.hop", "SAMPLES"),
    ("rate", "front.rate", "HERTZ"),
    ("bands", "front.bands", "COUNT"),
    ("normal", "front.normal", "LABELS"),
    ("time-column", "front.time_column", "NAME"),
    ("group-column", "front.group_column", "NAME"),
    ("steps", "train.steps", "STEPS"),
    ("batch", "train.batch", "ROWS"),
    ("learning-rate", "train.learning_rate", "RATE"),
    ("seed", "train.seed", "SEED"),
    ("restarts", "train.restarts", "TIMES"),
    ("calibration-fraction", "calibration.fraction", "SHARE"),
    ("calibration-folds", "calibration.folds", "K"),
];

/// Switches of every recipe: name, field, what it sets.
const SWITCHES: [(&str, &str, &str); 5] = [
    ("header", "data.header", "true"),
    ("no-header", "data.header", "false"),
    ("clamp", "data.clamp", "true"),
    ("keep-anomalies", "data.keep_anomalies", "true"),
    ("gaps", "front.gaps", "true"),
];

/// The option of columns that are left out.
const DROP: (&str, &str) = ("drop-columns", "data.drop_columns");

/// The options that were given, in the order of [`OF_EVERY`] and of the registry.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Fields that every recipe has, with the values given.
    of_every: Vec<(&'static str, String)>,
    /// Columns to leave out, an entry for each time the option was given.
    drop_columns: Vec<String>,
    /// Options of single families, with the values given.
    of_family: Vec<(&'static str, String)>,
}

/// The options of all families, each with the families that have it.
fn flags() -> Vec<(Flag, Vec<&'static Entry>)> {
    let mut all: Vec<(Flag, Vec<&'static Entry>)> = Vec::new();
    for (entry, flag) in family::ALL.iter().flat_map(|entry| entry.flags.iter().map(move |flag| (entry, flag))) {
        match all.iter_mut().find(|(known, _)| known.name == flag.name) {
            Some((_, entries)) => entries.push(entry),
            None => all.push((*flag, vec![entry])),
        }
    }
    all
}

/// The names of families, joined by "or".
fn names(entries: &[&Entry]) -> String {
    entries.iter().map(|entry| entry.name).collect::<Vec<_>>().join(" or ")
}

fn about(entry: &Entry, key: &str) -> String {
    table::fields(entry)
        .into_iter()
        .find(|field| field.key == key)
        .map_or_else(String::new, |field| field.description.trim_end_matches('.').to_owned())
}

impl Args for Options {
    fn augment_args(command: Command) -> Command {
        let every = OF_EVERY.map(|(name, key, value)| {
            let arg = Arg::new(name).long(name).value_name(value).help(about(&family::ALL[0], key));
            arg.help_heading("Options of every family").allow_hyphen_values(name.ends_with("-column"))
        });
        let switches = SWITCHES.map(|(name, key, _)| {
            let text = match name {
                "no-header" => "The first line of a text table is a row, and no header".to_owned(),
                "header" => "The first line of a text table is a header; by default recognised".to_owned(),
                _ => about(&family::ALL[0], key),
            };
            let arg =
                Arg::new(name).long(name).help(text).help_heading("Options of every family").action(ArgAction::SetTrue);
            if name == "header" { arg.conflicts_with("no-header") } else { arg }
        });
        let (name, key) = DROP;
        let drop = Arg::new(name).long(name).value_name("NAMES").help(about(&family::ALL[0], key));
        let drop = drop.help_heading("Options of every family").action(ArgAction::Append);
        let of_family = flags().into_iter().map(|(flag, entries)| {
            let text = about(entries[0], &format!("{}.{}", entries[0].name, flag.field));
            let whose = match entries.len() == family::ALL.len() {
                true => String::new(),
                false => format!(" ({})", names(&entries).replace(" or ", ", ")),
            };
            let arg = Arg::new(flag.name)
                .long(flag.name)
                .help(format!("{text}{whose}"))
                .help_heading("Options of some families");
            if flag.value.is_empty() { arg.action(ArgAction::SetTrue) } else { arg.value_name(flag.value) }
        });
        command.args(every).args(switches).arg(drop).args(of_family)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Options {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut options = Self::default();
        options.update_from_arg_matches(matches)?;
        Ok(options)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        let text = |name: &str| matches.get_one::<String>(name).cloned();
        self.of_every = OF_EVERY.iter().filter_map(|(name, key, _)| Some((*key, text(name)?))).collect();
        let switched = SWITCHES.iter().filter(|(name, _, _)| matches.get_flag(name));
        self.of_every.extend(switched.map(|(_, key, value)| (*key, (*value).to_owned())));
        self.drop_columns = matches.get_many::<String>(DROP.0).into_iter().flatten().cloned().collect();
        let said = |(flag, _): (Flag, _)| match flag.value.is_empty() {
            true => matches.get_flag(flag.name).then(|| (flag.name, "true".to_owned())),
            false => text(flag.name).map(|value| (flag.name, value)),
        };
        self.of_family = flags().into_iter().filter_map(said).collect();
        Ok(())
    }
}

impl Options {
    /// The value of `--data`, if it was given.
    pub fn data(&self) -> Option<&str> {
        self.of_every.iter().find(|(key, _)| *key == "data.spec").map(|(_, value)| value.as_str())
    }

    /// Where the data of a run are now.
    ///
    /// # Errors
    /// Another option, which the run has settled.
    pub fn moved(&self) -> anyhow::Result<Moved> {
        let said = |key: &str| self.of_every.iter().find(|(known, _)| *known == key).map(|(_, value)| value.clone());
        let other = self.of_every.iter().map(|(key, _)| *key).find(|key| !["data.spec", "data.data_dir"].contains(key));
        let other =
            other.or(self.drop_columns.first().map(|_| DROP.1)).or(self.of_family.first().map(|(name, _)| *name));
        if let Some(other) = other {
            anyhow::bail!(
                "--resume goes on as the run began; only --data and --data-dir can be given with it, not {other}"
            );
        }
        Ok(Moved { data: said("data.spec"), data_dir: said("data.data_dir").map(Into::into) })
    }

    /// The family that an option chooses, such as `flow` for `--energy`.
    pub fn family(&self) -> Option<&'static str> {
        let chooses = |(flag, entries): (Flag, Vec<&'static Entry>)| {
            (flag.selects && self.of_family.iter().any(|(name, _)| *name == flag.name)).then(|| entries[0].name)
        };
        flags().into_iter().find_map(chooses)
    }

    /// The built-in recipe that an option chooses if neither a recipe nor data are given.
    ///
    /// # Errors
    /// The value of the option is not valid for its field.
    pub fn recipe(&self) -> Result<Option<Recipe>, RecipeError> {
        for (flag, entries) in flags() {
            let said = self.of_family.iter().find(|(name, _)| *name == flag.name);
            if let (Some(prefix), Some((_, value))) = (flag.recipe, said) {
                let key = format!("{}.{}", entries[0].name, flag.field);
                Recipe::for_family(entries[0].name, "")?.set(&key, value)?;
                return Recipe::find(&format!("{prefix}{value}")).map(Some);
            }
        }
        Ok(None)
    }

    /// Sets the fields of a recipe. Its family must be final.
    ///
    /// # Errors
    /// An option belongs to another family, or a value is not valid for its field.
    pub fn apply(&self, recipe: &mut Recipe) -> anyhow::Result<()> {
        for (key, value) in &self.of_every {
            recipe.set(key, value)?;
        }
        if !self.drop_columns.is_empty() {
            recipe.data.drop_columns.clone_from(&self.drop_columns);
        }
        for (name, value) in &self.of_family {
            let family = recipe.family.entry();
            match family.flags.iter().find(|flag| flag.name == *name) {
                Some(flag) => recipe.set(&format!("{}.{}", family.name, flag.field), value)?,
                None => {
                    let Some((flag, entries)) = flags().into_iter().find(|(flag, _)| flag.name == *name) else {
                        continue;
                    };
                    let instead = if flag.instead.is_empty() { String::new() } else { format!("; {}", flag.instead) };
                    anyhow::bail!(
                        "--{name} belongs to --family {}, but this recipe is of family {}{instead}",
                        names(&entries),
                        family.name
                    );
                }
            }
        }
        Ok(())
    }
}

/// Splits `FIELD=VALUE` into the field and the value.
///
/// # Errors
/// The text has no `=`.
pub fn assignment(text: &str) -> Result<(String, String), String> {
    let split = text.split_once('=').map(|(field, value)| (field.trim().to_owned(), value.to_owned()));
    split.ok_or_else(|| format!("expected FIELD=VALUE, found `{text}`"))
}
