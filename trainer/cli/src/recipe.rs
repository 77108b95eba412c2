//! `elbo recipe` lists the built-in recipes, prints one of them, or lists the fields of a family's recipes.

use std::fmt::Write as _;
use std::io::Write as _;

use elbo_trainer::family;
use elbo_trainer::fields::value_text;
use elbo_trainer::recipe::{Recipe, built_in, table};

use super::options::assignment;

const EXAMPLES: &str = "Examples:
  elbo recipe                        lists the families and their built-in recipes
  elbo recipe digits > my.toml       writes a recipe to edit; train it with elbo train my.toml
  elbo recipe digits --set family=dlgm --set dlgm.layers=8,4 > deep.toml
  elbo recipe --fields vae           lists every field of a VAE's recipe: type, default and meaning

`elbo train --set FIELD=VALUE` sets a field without a file.";

/// Shows the built-in recipes, or the fields of a recipe.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// A built-in recipe or a TOML file. It is printed as TOML, with all defaults.
    #[arg(conflicts_with = "fields")]
    name: Option<String>,
    /// Lists the fields of this family's recipes.
    #[arg(long, value_name = "FAMILY")]
    fields: Option<String>,
    /// Sets a field of the recipe that is printed. The option may be given several times.
    #[arg(long, value_name = "FIELD=VALUE", value_parser = assignment, requires = "name")]
    set: Vec<(String, String)>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text(args)?.as_bytes()) {
        // A reader such as `head` may close the pipe early.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// The text that the command prints.
fn text(args: &Args) -> anyhow::Result<String> {
    let mut out = String::new();
    if let Some(name) = &args.fields {
        let entry = family::find(name)?;
        writeln!(out, "Fields of a recipe of family `{}`: {}\n", entry.name, entry.description)?;
        for field in table::fields(entry) {
            let default = field.default.as_ref().map_or("none".to_owned(), |value| match value_text(value) {
                empty if empty.is_empty() => "empty".to_owned(),
                text => text,
            });
            writeln!(out, "{}\n    {}; default {default}\n    {}\n", field.key, field.kind, field.description)?;
        }
        return Ok(out);
    }
    let Some(name) = &args.name else {
        for entry in family::ALL {
            writeln!(out, "{}: {}", entry.name, entry.description)?;
            for (name, text) in entry.recipes {
                let about = text.lines().next().unwrap_or_default().trim_start_matches("# ");
                writeln!(out, "    {name:<18} {about}")?;
            }
        }
        writeln!(out, "\n`elbo recipe NAME` prints a recipe. `elbo recipe --fields FAMILY` lists the fields.")?;
        return Ok(out);
    };
    let about = built_in().find(|(known, _)| known == name).and_then(|(_, text)| text.lines().next());
    if let Some(first) = about.filter(|_| args.set.is_empty()) {
        writeln!(out, "{first}")?;
    }
    let mut recipe = Recipe::find(name)?;
    for (field, value) in &args.set {
        recipe.set(field, value)?;
    }
    recipe.check()?;
    out.push_str(&recipe.to_toml()?);
    Ok(out)
}
