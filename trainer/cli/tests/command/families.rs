//! Families other than the default one, from the command line.

use std::path::Path;

use crate::{fails, succeeds, text};

#[test]
fn a_wgan_trains_with_the_familys_defaults_and_its_critic_scores() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let arguments = ["train", "--family", "wgan", "--data", "digits", "--hidden", "16", "--steps", "2", "--out"];
    let said = succeeds(&[&arguments[..], &[text(&out)]].concat());
    assert!(said.contains("Wasserstein estimate") && !said.contains("ELBO"), "{said}");
    let recipe = std::fs::read_to_string(out.join("recipe.toml")).unwrap();
    for line in ["family = \"wgan\"", "learning_rate = 0.00005", "constraint = \"clip\"", "critic_steps = 5"] {
        assert!(recipe.contains(line), "`{line}` is not in {recipe}");
    }
    let said = succeeds(&["eval", text(&out)]);
    assert!(said.contains("more unusual have higher scores") && said.contains("no bound"), "{said}");
    let said = succeeds(&["compile", text(&out), "-o", text(&dir.path().join("w.elbo"))]);
    assert!(said.contains("sample") && said.contains("score"), "{said}");
}

#[test]
fn families_and_tables_that_do_not_fit_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let table = dir.path().join("t.csv");
    let rows: String = (0..20).map(|i| format!("{i},{}\n", i * i)).collect();
    std::fs::write(&table, rows).unwrap();
    let train = |rest: &[&str], parts: &[&str]| fails(&[&["train", "--out", text(&out)], rest].concat(), parts);
    train(&["--data", "digits", "--constraint", "clip"], &["--constraint", "--family wgan", "vae"]);
    train(
        &["--data", "digits", "--family", "wgan", "--likelihood", "bernoulli"],
        &["--likelihood", "--family vae or", "of family wgan"],
    );
    train(&["--data", text(&table), "--conv", "8"], &["[conv]", "2 features"]);
    train(&["--data", "digits", "--conv", "8,8,8,8"], &["conv.channels", "too small"]);
    train(&["--data", "digits", "--conv", "0"], &["conv.channels", "at least 1"]);
    assert!(!out.exists(), "nothing is left of a run that could not start");
}

#[test]
fn what_cannot_be_judged_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/digits.elbo");
    let judges = dir.path().join("judges");
    let judge = |rest: &[&str], parts: &[&str]| fails(&[&["judge", "--judge", text(&judges)], rest].concat(), parts);
    judge(&[text(&golden)], &["--data"]);
    judge(&[text(&golden), "--data", "digits", "--count", "1"], &["--count 1", "at least 2"]);
    judge(&[text(&dir.path().join("absent")), "--data", "digits"], &["cannot be read"]);
    judge(&[text(dir.path())], &["run folder"]);
    let table = dir.path().join("t.csv");
    let row = "1,".repeat(63) + "1\n";
    std::fs::write(&table, row.repeat(20)).unwrap();
    judge(&[text(&golden), "--data", text(&table)], &["images with labels"]);
}
