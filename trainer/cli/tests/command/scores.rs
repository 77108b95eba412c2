//! `elbo score`: a line for each row of the file, in its order, under the right name, and thresholds that the held-out
//! rows support.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::{fails, run, succeeds, text};

/// A number in -1..1 that looks random.
fn hash(i: usize) -> f64 {
    let mixed = (i as u64).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (mixed >> 33) as f64 / f64::from(1u32 << 31) * 2.0 - 1.0
}

/// `count` rows of a line in three dimensions, each moved away from it by its offset.
fn rows(path: &Path, count: usize, offset: impl Fn(usize) -> f64) -> PathBuf {
    let mut table = "time,a,b,c\n".to_owned();
    for i in 0..count {
        let (t, off) = (hash(3 * i), offset(i));
        let (a, b, c) = (t + off, 2.0 * t + 0.1 * hash(3 * i + 1), -t + 0.1 * hash(3 * i + 2) + off);
        writeln!(table, "12:{i:03},{a},{b},{c}").unwrap();
    }
    std::fs::write(path, table).unwrap();
    path.to_owned()
}

/// A model of such rows.
fn model(dir: &Path, count: usize, more: &[&str]) -> PathBuf {
    let [data, out, blob] = ["train.csv", "run", "model.elbo"].map(|name| dir.join(name));
    let data = rows(&data, count, |_| 0.0);
    let train = ["train", "--data", text(&data), "--drop-columns", "time", "--out", text(&out)];
    succeeds(&[&train[..], more].concat());
    succeeds(&["compile", text(&out), "-o", text(&blob)]);
    blob
}

const QUICK: [&str; 6] = ["--steps", "300", "--hidden", "8", "--latent", "1"];

/// The lines of the scores of a file.
fn scored(blob: &Path, data: &Path, more: &[&str]) -> Vec<Vec<String>> {
    let out = data.with_extension("scores");
    let score = ["score", text(blob), "--data", text(data), "-o", text(&out)];
    succeeds(&[&score[..], more].concat());
    let table = std::fs::read_to_string(&out).unwrap();
    table.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

#[test]
fn line_i_is_row_i_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let blob = model(dir.path(), 400, &QUICK);
    // Row i is i steps away: over five rows the scores rise. The last row is still within the 16 deviations to which a board clamps.
    let data = rows(&dir.path().join("new.csv"), 30, |i| i as f64 / 4.0);
    let lines = scored(&blob, &data, &["--id", "time"]);
    assert_eq!(lines[0], ["row", "time", "negative_elbo_nats"]);
    assert_eq!(lines.len(), 31);
    let values: Vec<f64> = lines[1..].iter().map(|line| line[2].parse().unwrap()).collect();
    for (at, line) in lines[1..].iter().enumerate() {
        assert_eq!(
            (line[0].as_str(), line[1].as_str()),
            (format!("{}", at + 1).as_str(), format!("12:{at:03}").as_str())
        );
        assert!(at < 5 || values[at] > values[at - 5], "row {at}: {values:?}");
    }
    // A feature can name the rows, too.
    assert_eq!(scored(&blob, &data, &["--id", "b"])[1][2], lines[1][2]);
    fails(&["score", text(&blob), "--data", text(&data), "--id", "clock"], &["`clock`", "time, a, b, c"]);

    // Without -o the same lines stand on standard output alone.
    let (output, _) = run(&["score", text(&blob), "--data", text(&data), "--id", "time"]);
    let again: String = scored(&blob, &data, &["--id", "time"]).iter().map(|line| line.join(",") + "\n").collect();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), again);
}

#[test]
fn one_row_and_rows_of_one_split_are_enough() {
    let dir = tempfile::tempdir().unwrap();
    let blob = model(dir.path(), 400, &QUICK);
    let one = rows(&dir.path().join("one.csv"), 1, |_| 0.0);
    assert_eq!(scored(&blob, &one, &[]).len(), 2);
    let said = succeeds(&["score", text(&blob), "--data", text(&one)]);
    assert!(said.contains("1 row, -ELBO in nats") && !said.contains("NaN"), "{said}");

    let table = std::fs::read_to_string(rows(&dir.path().join("plain.csv"), 40, |_| 0.0)).unwrap();
    let with_split = |part: &dyn Fn(usize) -> &'static str| {
        let line = |(at, line): (usize, &str)| match at {
            0 => format!("{line},split\n"),
            at => format!("{line},{}\n", part(at)),
        };
        table.lines().enumerate().map(line).collect::<String>()
    };
    let data = dir.path().join("test-only.csv");
    std::fs::write(&data, with_split(&|_| "test")).unwrap();
    assert_eq!(scored(&blob, &data, &[]).len(), 41);
    fails(&["score", text(&blob), "--data", text(&data), "--split", "train"], &["no rows", "--split"]);

    let data = dir.path().join("mixed.csv");
    std::fs::write(&data, with_split(&|at| ["train", "test", "unused", "val"][at % 4])).unwrap();
    let all = scored(&blob, &data, &[]);
    assert_eq!(all.len(), 41, "unused rows are rows");
    let test = scored(&blob, &data, &["--split", "test"]);
    let kept = all.iter().enumerate().filter(|(at, _)| at % 4 == 1 || *at == 0);
    assert_eq!(test, kept.map(|(_, line)| line.clone()).collect::<Vec<_>>());
}

#[test]
fn the_score_has_the_name_of_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    for (family, more, name, column) in [
        ("flow", &["--steps", "20", "--hidden", "8"][..], "-log p in nats", "negative_log_p_nats"),
        ("mixture", &[], "-log p in nats", "negative_log_p_nats"),
        ("dlgm", &["--steps", "20"], "-ELBO in nats", "negative_elbo_nats"),
    ] {
        let folder = dir.path().join(family);
        std::fs::create_dir(&folder).unwrap();
        let blob = model(&folder, 200, &[&["--family", family][..], more].concat());
        let data = folder.join("train.csv");
        let said = succeeds(&["score", text(&blob), "--data", text(&data)]);
        assert!(said.contains(&format!("200 rows, {name}: mean")), "{family}: {said}");
        assert_eq!(scored(&blob, &data, &[])[0], ["row", column]);
    }
    let [out, blob] = ["wgan", "wgan.elbo"].map(|name| dir.path().join(name));
    let train = ["train", "--family", "wgan", "--data", "digits", "--hidden", "16", "--steps", "2"];
    succeeds(&[&train[..], &["--out", text(&out)]].concat());
    succeeds(&["compile", text(&out), "-o", text(&blob)]);
    let said = succeeds(&["score", text(&blob), "--data", "digits", "--split", "test"]);
    assert!(said.contains("negated critic") && said.contains("negative_critic") && !said.contains("ELBO"), "{said}");
}

#[test]
fn thresholds_that_the_rows_do_not_support_are_absent() {
    let dir = tempfile::tempdir().unwrap();
    let inspected = |name: &str, count: usize, more: &[&str]| {
        let folder = dir.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        let blob = model(&folder, count, &[&QUICK[..], more].concat());
        succeeds(&["inspect", text(&blob)])
    };
    let said = inspected("none", 200, &["--calibration-fraction", "0"]);
    assert!(said.contains("no calibration") && !said.contains("0.000"), "{said}");
    let said = inspected("two", 2, &[]);
    assert!(said.contains("no calibration"), "{said}");
    // A tenth of 600 rows is test rows, another tenth is validation rows, and a third tenth is held out.
    let said = inspected("sixty", 600, &["--calibration-folds", "0"]);
    assert!(said.contains("score: calibrated with 60 held-out rows, p at least 1/61 (1.64 %)"), "{said}");
    assert!(said.contains("score_monte_carlo: calibrated with 60 held-out rows"), "{said}");
    assert!(said.contains("10 % from ") && said.contains("1 % needs 99 rows; 0.1 % needs 999 rows"), "{said}");
    // In folds, all train and validation rows calibrate.
    let said = inspected("folds", 600, &[]);
    assert!(said.contains("score: calibrated with 540 held-out rows") && said.contains("1 % from "), "{said}");
}

#[test]
fn rows_alarm_at_the_rate_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let blob = model(dir.path(), 600, &QUICK);
    // Half of the rows are normal, the others are far away.
    let data = rows(&dir.path().join("new.csv"), 200, |i| if i % 2 == 0 { 0.0 } else { 3.0 });
    let plain = scored(&blob, &data, &[]);
    let with_p = scored(&blob, &data, &["--p-values"]);
    let judged = scored(&blob, &data, &["--false-alarms", "1%"]);
    assert_eq!(with_p[0], ["row", "negative_elbo_nats", "p"]);
    assert_eq!(judged[0], ["row", "negative_elbo_nats", "p", "alarm"]);
    for ((plain, with_p), judged) in plain.iter().zip(&with_p).zip(&judged).skip(1) {
        assert_eq!((&plain[..], &with_p[..]), (&judged[..2], &judged[..3]));
        assert_eq!(judged[3] == "1", judged[2].parse::<f64>().unwrap() <= 0.01, "{judged:?}");
    }
    let alarms =
        |part: usize| judged.iter().skip(1).enumerate().filter(|(at, row)| at % 2 == part && row[3] == "1").count();
    assert!(alarms(0) <= 6 && alarms(1) == 100, "{} and {}", alarms(0), alarms(1));
    // A rate in a time, for a row every five minutes: 1 in 288.
    let said = succeeds(&["score", text(&blob), "--data", text(&data), "--false-alarms", "1/day", "--period", "5m"]);
    assert!(said.contains("at a false-alarm rate of 0.347 %"), "{said}");
    let score = ["score", text(&blob), "--data", text(&data), "--false-alarms"];
    fails(&[&score[..], &["1/day"]].concat(), &["1/day", "--period"]);
    fails(&[&score[..], &["0.1%"]].concat(), &["needs 999 calibration rows", "there are 540", "1/541"]);
    fails(&[&score[..], &["often"]].concat(), &["often", "0.1%"]);
    // A sum or a count alarms from soon after the change on, and ends its alarm soon after it is over.
    let changed = rows(&dir.path().join("changed.csv"), 300, |i| if (100..200).contains(&i) { 3.0 } else { 0.0 });
    for rule in ["sum", "average", "2-of-3"] {
        let judged = scored(&blob, &changed, &["--false-alarms", "1/1000", "--rule", rule]);
        let alarms: Vec<bool> = judged.iter().skip(1).map(|row| row[3] == "1").collect();
        let among = |range: std::ops::Range<usize>| alarms[range].iter().filter(|alarm| **alarm).count();
        assert!(among(0..100) <= 10 && among(105..200) == 95 && among(220..300) <= 10, "{rule}: {alarms:?}");
    }
    fails(&[&score[..], &["1%", "--rule", "often"]].concat(), &["often", "2-of-3"]);
    let said = succeeds(&["inspect", text(&blob), "--false-alarms", "1/week", "--period", "5m"]);
    assert!(said.contains("a false alarm in 2016 windows") && said.contains("Rule::Cusum { reference"), "{said}");
    assert!(said.contains("threshold: this false-alarm rate needs 2015 calibration rows"), "{said}");
    let none = dir.path().join("none");
    std::fs::create_dir(&none).unwrap();
    let blob = model(&none, 200, &[&QUICK[..], &["--calibration-fraction", "0"]].concat());
    fails(&["score", text(&blob), "--data", text(&data), "--p-values"], &["no calibration", "--calibration-folds"]);
}

/// 0 and too large numbers are told in one line by every option that counts.
#[test]
fn counts_out_of_range_are_told_their_limits() {
    let dir = tempfile::tempdir().unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/digits.elbo");
    let [run, out] = ["run", "out"].map(|name| dir.path().join(name));
    succeeds(&["train", "digits", "--steps", "1", "--out", text(&run)]);
    let draws = |command: &[&str], option: &str, zero: bool| {
        for count in ["65536", "4294967297"] {
            fails(&[command, &[option, count]].concat(), &[option, count, "at most 65535"]);
        }
        if zero {
            fails(&[command, &[option, "0"]].concat(), &[option, "at least 1"]);
        }
    };
    let compile = ["compile", text(&run), "-o", text(&out)];
    draws(&compile, "--monte-carlo-samples", false);
    draws(&compile, "--importance-samples", false);
    fails(&[&compile[..], &["--calibration-rows", "0"]].concat(), &["--calibration-rows", "at least 1"]);
    fails(&[&compile[..], &["--calibration-rows", "4294967297"]].concat(), &["--calibration-rows", "at most"]);
    fails(&[&compile[..], &["--test-rows", "0"]].concat(), &["--test-rows", "at least 1"]);
    for option in ["--binarisations", "--importance", "--importance-binarisations", "--samples"] {
        draws(&["eval", text(&run)], option, true);
    }
    for option in ["--samples", "--rows"] {
        draws(&["check", text(&golden), "--board", "microbit"], option, true);
    }
    for count in ["0", "4294967297"] {
        fails(&["sample", text(&golden), "-o", text(&out), "--count", count], &["--count", "at "]);
        fails(&["judge", text(&golden), "--data", "digits", "--count", count], &["--count", "at "]);
    }
    assert!(!out.exists());
    let train = |more: &[&str], parts: &[&str]| {
        fails(&[&["train", "digits", "--out", text(&out)], more].concat(), parts);
    };
    for (option, field) in [("--latent", "`vae.latent`"), ("--hidden", "`vae.hidden`")] {
        train(&[option, "0"], &[field, "at least 1"]);
        train(&[option, "65536"], &[field, "at most 65535"]);
        train(&[option, "4294967297"], &[field, "at most 65535"]);
    }
    for field in ["export.monte_carlo_samples", "export.importance_samples"] {
        train(&["--set", &format!("{field}=65536")], &[field, "at most 65535"]);
    }
    train(&["--batch", "4294967297"], &["train.batch", "at most"]);
    assert!(!out.exists(), "nothing is left of a run that could not start");
}
