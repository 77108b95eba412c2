//! Lean models: only the programs that are asked for, and the line of features that exactly they need.

use std::path::Path;

use crate::{fails, succeeds, text};

/// The names of the programs that `elbo inspect` lists with their costs.
fn programs(blob: &Path) -> Vec<String> {
    let said = succeeds(&["inspect", text(blob)]);
    let costs = said.split_once("~instr. M0\n").unwrap_or_else(|| panic!("{said}")).1;
    let name = |line: &str| line.split_whitespace().next().map(str::to_owned);
    costs.lines().map_while(name).collect()
}

/// The number before `after` in what `elbo inspect` says of a blob.
fn number(blob: &Path, before: &str) -> usize {
    let said = succeeds(&["inspect", text(blob)]);
    let rest = said.split_once(before).unwrap_or_else(|| panic!("no `{before}` in {said}")).1;
    rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

#[test]
fn a_blob_has_the_programs_that_are_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let [run, full, lean, none] = ["run", "full.elbo", "lean.elbo", "none.elbo"].map(|name| dir.path().join(name));
    succeeds(&["train", "digits", "--steps", "20", "--hidden", "16", "--out", text(&run)]);
    let compile = |blob: &Path, more: &[&str]| succeeds(&[&["compile", text(&run), "-o", text(blob)], more].concat());
    compile(&full, &[]);
    assert_eq!(programs(&full).len(), 7);
    compile(&lean, &["--programs", "score,reconstruct"]);
    assert_eq!(programs(&lean), ["reconstruct", "score"]);
    let size = |blob: &Path| std::fs::metadata(blob).unwrap().len();
    assert!(size(&lean) < size(&full) && number(&lean, "Arena::<") < number(&full, "Arena::<"));
    // The decoder's weights are not needed to encode.
    compile(&lean, &["--programs", "encode"]);
    assert!(size(&lean) * 3 < size(&full) * 2, "{} of {}", size(&lean), size(&full));

    compile(&none, &["--monte-carlo-samples", "0", "--importance-samples", "0"]);
    assert_eq!(programs(&none), ["sample", "decode", "encode", "reconstruct", "score"]);
    let inspected = succeeds(&["inspect", text(&none)]);
    assert!(!inspected.contains("draws"), "{inspected}");
    for (kind, option) in [("monte-carlo", "--monte-carlo-samples"), ("importance", "--importance-samples")] {
        fails(&["score", text(&none), "--data", "digits", "--kind", kind], &["no program", option]);
    }
    let refuse = |more: &[&str], parts: &[&str]| {
        fails(&[&["compile", text(&run), "-o", text(&none)], more].concat(), parts);
    };
    refuse(&["--programs", "score,classify"], &["no program `classify`", "sample, decode"]);
    let contradiction = ["--programs", "score_importance", "--importance-samples", "0"];
    refuse(&contradiction, &["`score_importance`", "--importance-samples"]);
}

#[test]
fn a_table_does_not_pay_for_importance_samples_unless_asked() {
    let dir = tempfile::tempdir().unwrap();
    let [data, run, blob, asked] = ["t.csv", "run", "t.elbo", "asked.elbo"].map(|name| dir.path().join(name));
    let rows: String = (0..200).map(|i| format!("{},{}\n", i * 37 % 101, i * 53 % 89)).collect();
    std::fs::write(&data, rows).unwrap();
    succeeds(&["train", "--data", text(&data), "--hidden", "8", "--latent", "1", "--steps", "20", "--out", text(&run)]);
    succeeds(&["compile", text(&run), "-o", text(&blob)]);
    assert!(!programs(&blob).contains(&"score_importance".to_owned()));
    succeeds(&["compile", text(&run), "-o", text(&asked), "--importance-samples", "64"]);
    assert!(programs(&asked).contains(&"score_importance".to_owned()));
    assert!(number(&asked, "Arena::<") > number(&blob, "Arena::<") + 128);
    let recipe = std::fs::read_to_string(run.join("recipe.toml")).unwrap();
    assert!(recipe.contains("importance_samples = 0"), "{recipe}");
}

#[test]
fn weights_have_the_bits_that_suit_the_rows_unless_told_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let [data, table, image, blob] = ["t.csv", "table", "image", "t.elbo"].map(|name| dir.path().join(name));
    let rows: String = (0..200).map(|i| format!("{},{}\n", i * 37 % 101, i * 53 % 89)).collect();
    std::fs::write(&data, rows).unwrap();
    let short = ["--hidden", "8", "--latent", "1", "--steps", "20"];
    succeeds(&[&["train", "--data", text(&data), "--out", text(&table)][..], &short].concat());
    succeeds(&[&["train", "digits", "--out", text(&image)][..], &short].concat());
    let compile = |run: &Path, more: &[&str], bits: &str| {
        let said = succeeds(&[&["compile", text(run), "-o", text(&blob)], more].concat());
        assert!(said.contains(&format!("weights of {bits} bits")), "{said}");
        std::fs::metadata(&blob).unwrap().len()
    };
    let sixteen = compile(&table, &[], "16");
    assert!(compile(&table, &["--weight-bits", "8"], "8") < sixteen);
    compile(&image, &[], "8");
    compile(&image, &["--weight-bits", "16"], "16");
    // A recipe may say it too.
    let recipe = table.join("recipe.toml");
    let said = std::fs::read_to_string(&recipe).unwrap();
    std::fs::write(&recipe, said.replace("[export]\n", "[export]\nweight_bits = 8\n")).unwrap();
    compile(&table, &[], "8");
    compile(&table, &["--weight-bits", "16"], "16");
}

#[test]
fn the_features_and_the_work_of_a_model_are_printed() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data");
    for (file, features) in [
        ("digits.elbo", "bernoulli elementwise loops sampling tanh"),
        ("families/adgm.elbo", "adgm bernoulli elementwise gaussian loops sampling tanh"),
        ("families/dlgm.elbo", "bernoulli dlgm elementwise loops sampling tanh"),
        ("families/planar.elbo", "flow sampling"),
        ("families/mixture.elbo", "elementwise loops mixture sampling"),
    ] {
        let said = succeeds(&["inspect", text(&golden.join(file))]);
        let features: Vec<&str> = features.split(' ').collect();
        assert!(said.contains(&format!("default-features = false, features = {features:?} }}")), "{file}: {said}");
    }
    // The images whose size is limited have the features of these blobs.
    let dir = tempfile::tempdir().unwrap();
    let [data, run, blob] = ["t.csv", "run", "t.elbo"].map(|name| dir.path().join(name));
    std::fs::write(&data, (0..200).map(|i| format!("{},{}\n", i * 37 % 101, i * 53 % 89)).collect::<String>()).unwrap();
    let minimal = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../firmware/minimal/Cargo.toml");
    let minimal = std::fs::read_to_string(minimal).unwrap();
    for (data, name) in [("digits", "pixels"), (text(&data), "table")] {
        let _ = std::fs::remove_dir_all(&run);
        succeeds(&["train", "--data", data, "--hidden", "8", "--latent", "1", "--steps", "20", "--out", text(&run)]);
        for (name, programs) in [(name.to_owned(), &[][..]), (format!("{name}-score"), &["--programs", "score"])] {
            let said = succeeds(&[&["compile", text(&run), "-o", text(&blob)], programs].concat());
            let features = said.split_once("features = [").unwrap().1.split_once(']').unwrap().0;
            let line = format!("\n{name} = [{}]\n", features.replace(" \"", " \"elbo/").replacen('"', "\"elbo/", 1));
            assert!(minimal.contains(&line), "{line}");
        }
    }
    // The limit is the work of the dearest program.
    let digits = golden.join("digits.elbo");
    let said = succeeds(&["inspect", text(&digits)]);
    let costs = said.split_once("~instr. M0\n").unwrap().1;
    let steps = costs.lines().map_while(|line| line.split_whitespace().nth(2)?.parse::<usize>().ok());
    assert_eq!(number(&digits, "Limits { max_work: "), steps.max().unwrap());
}
