//! Recipes on the command line: what `--set` and files may say, what they must not, and what `elbo recipe` prints.

use std::path::{Path, PathBuf};

use crate::{fails, succeeds, text};

fn written(dir: &Path, name: &str, recipe: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, recipe).unwrap();
    path
}

/// A short run; what it wrote as its recipe.
fn trained(out: &Path, arguments: &[&str]) -> String {
    let run = ["train", "digits", "--steps", "2", "--out", text(out)];
    succeeds(&[&run[..], arguments].concat());
    std::fs::read_to_string(out.join("recipe.toml")).unwrap()
}

#[test]
fn set_reaches_every_field_and_the_last_one_counts() {
    let dir = tempfile::tempdir().unwrap();
    let arguments =
        ["--family", "dlgm", "--layers", "8,8", "--set", "dlgm.layers=5,3", "--set", "dlgm.covariance=diagonal"];
    let more = ["--set", "train.learning_rate=1e-3", "--set", "export.weight_bits=16", "--set", "export.sample=false"];
    let recipe = trained(&dir.path().join("run"), &[&arguments[..], &more].concat());
    for line in
        ["layers = [5, 3]", "covariance = \"diagonal\"", "learning_rate = 0.001", "weight_bits = 16", "sample = false"]
    {
        assert!(recipe.contains(line), "`{line}` is not in {recipe}");
    }
    let recipe = trained(&dir.path().join("conv"), &["--set", "vae.conv.channels=[2, 3]", "--set", "vae.latent=4"]);
    assert!(recipe.contains("[vae.conv]") && recipe.contains("channels = [2, 3]"), "{recipe}");
}

#[test]
fn set_says_what_a_field_takes_and_whose_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    for (set, parts) in [
        ("train.steps=many", &["`train.steps`", "a whole number of at least 0", "`many`"][..]),
        ("train.steps=-1", &["`train.steps`", "at least 0", "`-1`"]),
        ("train.learning_rate=fast", &["`train.learning_rate`", "a number", "`fast`"]),
        ("export.sample=maybe", &["`export.sample`", "true or false", "`maybe`"]),
        ("export.weight_bits=12", &["`export.weight_bits`", "`8` or `16`", "`12`"]),
        ("vae.activation=sigmoid", &["`vae.activation`", "`relu`", "`tanh`", "`sigmoid`"]),
        ("vae.hidden=8,wide", &["`vae.hidden`", "whole numbers", "`8,wide`"]),
        (
            "train.learningrate=1",
            &["unknown", "`train.learningrate`", "`train.learning_rate`", "elbo recipe --fields vae"],
        ),
        ("vae.laten=3", &["unknown", "`vae.laten`", "perhaps", "`vae.latent`"]),
        ("steps=3", &["unknown", "`steps`", "`train.steps`"]),
        ("dlgm.layers=8,4", &["`dlgm.layers`", "of family `dlgm`", "of family `vae`"]),
        ("vae.layers=8,4", &["`vae.layers`", "of family `dlgm`", "of family `vae`"]),
        ("family=gan", &["unknown family `gan`", "`vae`", "`wgan`"]),
    ] {
        fails(&["train", "digits", "--out", text(&out), "--set", set], parts);
    }
    let (output, said) = crate::run(&["train", "digits", "--set", "train.steps"]);
    assert!(!output.status.success() && said.contains("FIELD=VALUE"), "{said}");
    assert!(!out.exists(), "nothing is left of a run that could not start");
}

#[test]
fn files_name_near_fields_other_families_and_older_layouts() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let head = "name = 'x'\nfamily = 'vae'\n[data]\nspec = 'digits'\n";
    for (rest, parts) in [
        ("[train]\nbatchs = 3\n", &["`train.batchs`", "perhaps", "`train.batch`"][..]),
        ("[vae]\nlayers = [4]\n", &["`vae.layers`", "of family `dlgm`", "of family `vae`"]),
        ("[wgan]\nclip = 0.1\n", &["`wgan.clip`", "of family `wgan`", "of family `vae`"]),
        ("[flow]\n", &["`flow`", "of family `flow`", "of family `vae`"]),
        ("[train]\nsteps = 'many'\n", &["`train.steps`", "a whole number", "`many`"]),
        ("[model]\nlatent = 3\n", &["older layout", "[model]", "[vae]", "train again"]),
        ("[modell]\nlatent = 3\n", &["`modell.latent`", "unknown", "`vae.latent`"]),
    ] {
        let file = written(dir.path(), "x.toml", &format!("{head}{rest}"));
        fails(&["train", text(&file), "--out", text(&out)], &[&[text(&file), "not a recipe"][..], parts].concat());
    }
    assert!(!out.exists(), "nothing is left of a run that could not start");
    // A run folder of an earlier version.
    let old = written(dir.path(), "recipe.toml", &format!("{head}[model]\nlatent = 3\n"));
    for command in [&["eval"][..], &["compile", "-o", "never-written.elbo"], &["train", "--resume"]] {
        fails(&[command, &[text(dir.path())]].concat(), &[text(&old), "older layout", "train again"]);
    }
}

#[test]
fn recipes_are_listed_printed_and_documented() {
    let dir = tempfile::tempdir().unwrap();
    let said = succeeds(&["recipe"]);
    assert!(["vae: ", "digits ", "moons-sdgm ", "wgan-mnist "].iter().all(|part| said.contains(part)), "{said}");
    let said = succeeds(&["recipe", "--fields", "dlgm"]);
    for part in ["dlgm.layers", "Sizes of the stochastic layers", "`diagonal` or `rank1`; default rank1", "train.steps"]
    {
        assert!(said.contains(part), "`{part}` is not in {said}");
    }
    assert!(!said.contains("vae.conditional"), "{said}");
    let file = written(dir.path(), "mine.toml", &succeeds(&["recipe", "digits"]));
    let out = dir.path().join("run");
    succeeds(&["train", text(&file), "--steps", "2", "--out", text(&out)]);
    let deep = succeeds(&["recipe", "digits", "--set", "family=dlgm", "--set", "dlgm.layers=8,4"]);
    assert!(deep.contains("name = \"digits-dlgm\"") && deep.contains("layers = [8, 4]"), "{deep}");
    fails(&["recipe", "digits", "--set", "train.batch=0"], &["`train.batch`", "at least 1"]);
    fails(&["recipe", "digitz"], &["unknown recipe `digitz`", "`digits`"]);
    fails(&["recipe", "--fields", "gan"], &["unknown family `gan`", "`wgan`"]);
}
