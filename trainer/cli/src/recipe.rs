//! `elbo recipe`: what recipes there are, what one says, and which fields a family's have.

use std::fmt::Write as _;
use std::io::Write as _;

use elbo_trainer::family;
use elbo_trainer::fields::value_text;
use elbo_trainer::recipe::{Recipe, built_in, table};

use super::options::assignment;

const EXAMPLES: &str = "Examples:
  elbo recipe                        the families and their built-in recipes
  elbo recipe digits > my.toml       a recipe to start from; elbo train my.toml
  elbo recipe digits --set family=dlgm --set dlgm.layers=8,4 > deep.toml
  elbo recipe --fields vae           every field of a VAE's recipe: type, default and what it is for

Each field can be set by `elbo train --set FIELD=VALUE` too.";

/// Show built-in recipes and the fields of a recipe.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// A built-in recipe or a file, to be printed as TOML with every default.
    #[arg(conflicts_with = "fields")]
    name: Option<String>,
    /// List the fields of this family's recipes.
    #[arg(long, value_name = "FAMILY")]
    fields: Option<String>,
    /// Set any field of the recipe that is printed; may be given several times.
    #[arg(long, value_name = "FIELD=VALUE", value_parser = assignment, requires = "name")]
    set: Vec<(String, String)>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text(args)?.as_bytes()) {
        // Whoever reads no further has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// What the command prints.
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
        writeln!(out, "\nelbo recipe NAME prints one, elbo recipe --fields FAMILY lists the fields.")?;
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
