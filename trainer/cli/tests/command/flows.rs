//! Flows from the command line: an energy without data, a table whose density is exact, a posterior.

use std::fmt::Write as _;

use crate::{fails, succeeds, text};

/// The number after `name`.
fn number(text: &str, name: &str) -> f64 {
    let after = text.split_once(name).unwrap_or_else(|| panic!("no {name} in: {text}")).1;
    after.split_whitespace().next().unwrap().parse().unwrap_or_else(|e| panic!("{name}: {e} in: {text}"))
}

#[test]
fn an_energy_is_learnt_without_data_and_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("u2");
    let train = ["train", "--energy", "u2", "--set", "flow.steps=8", "--set", "flow.anneal_steps=100", "--batch", "64"];
    succeeds(&[&train[..], &["--steps", "600", "--out", text(&run)]].concat());
    let evaluated = succeeds(&["eval", text(&run), "--binarisations", "20"]);
    let (free, kl) = (number(&evaluated, "free energy"), number(&evaluated, "KL(q || p)"));
    assert!((free + 2.1498 - kl).abs() < 2e-4 && (0.0..1.7).contains(&kl), "{evaluated}");
    assert!(run.join("density.png").exists());
    assert!(std::fs::read_to_string(run.join("recipe.toml")).unwrap().contains("energy = \"u2\""));
    let (blob, picture) = (dir.path().join("u2.elbo"), dir.path().join("u2.png"));
    succeeds(&["compile", text(&run), "-o", text(&blob), "--density", text(&picture)]);
    // Four panels of 100 cells, with gaps between them, three pixels each; a PNG's width is its fifth word.
    let width = std::fs::read(&picture).unwrap()[16..20].iter().fold(0, |width, byte| width << 8 | u32::from(*byte));
    assert_eq!(width, 3 * (4 * 100 + 3));
    succeeds(&["train", "--resume", text(&run)]);
    fails(&["eval", text(&run), "--importance", "5"], &["--importance", "energy"]);
}

/// `b = a^2` up to a little noise: what a Gaussian cannot tell from `b = 1`, a flow can.
#[test]
fn the_density_of_a_curve_is_exact_and_better_than_a_gaussians() {
    let dir = tempfile::tempdir().unwrap();
    let (data, run) = (dir.path().join("curve.csv"), dir.path().join("run"));
    let mut rows = "a,b,anomaly,split\n".to_owned();
    for i in 0..900 {
        let (a, wobble) = (f64::from(i % 300) / 75.0 - 2.0, f64::from(i * 37 % 100) / 500.0);
        let split = if i % 3 == 0 { "test" } else { "train" };
        writeln!(rows, "{a},{},0,{split}", a * a + wobble).unwrap();
        if i % 30 == 0 {
            writeln!(rows, "{a},{},1,test", 4.0 - a * a).unwrap();
        }
    }
    std::fs::write(&data, rows).unwrap();
    let train = ["train", "--family", "flow", "--data", text(&data), "--hidden", "16", "--steps", "1500"];
    succeeds(&[&train[..], &["--batch", "64", "--learning-rate", "5e-3", "--out", text(&run)]].concat());
    let evaluated = succeeds(&["eval", text(&run)]);
    // A Gaussian of these columns, which are uncorrelated, reaches an AUC of about a half and -2.84 nats.
    assert!(evaluated.contains("exact") && number(&evaluated, "AUC") > 0.85, "{evaluated}");
    let normal = succeeds(&["eval", text(&run), "--split", "validation"]);
    assert!(number(&normal, "log p") > -2.6, "{normal}");
    assert!(run.join("density.png").exists());
}

#[test]
fn a_posterior_flows() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let train = ["train", "digits", "--posterior", "planar", "--set", "vae.posterior.steps=3", "--steps", "300"];
    succeeds(&[&train[..], &["--set", "vae.posterior.anneal_steps=100", "--out", text(&run)]].concat());
    let evaluated = succeeds(&["eval", text(&run), "--binarisations", "2", "--importance", "10"]);
    let blob = dir.path().join("digits.elbo");
    let density = ["--density", "never-written.png"];
    fails(&[&["compile", text(&run), "-o", text(&blob)], &density[..]].concat(), &["--density", "two dimensions"]);
    assert!(!blob.exists());
    assert!(number(&evaluated, "ELBO") > -40.0 && number(&evaluated, "IW-10") > number(&evaluated, "ELBO"));
}
