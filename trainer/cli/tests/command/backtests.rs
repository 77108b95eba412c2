//! `elbo backtest`: events, alarms and areas of labelled rows, by group and as JSON.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::{fails, succeeds, text};

/// A number in -1..1 that looks random.
fn hash(i: usize) -> f64 {
    let mixed = (i as u64).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (mixed >> 33) as f64 / f64::from(1u32 << 31) * 2.0 - 1.0
}

/// Rows of two machines in turn. Those of `anomalous` are far from the line on which the others lie.
pub(crate) fn rows(path: &Path, from: usize, count: usize, anomalous: impl Fn(usize) -> bool) -> PathBuf {
    let mut table = "time,machine,a,b,anomaly\n".to_owned();
    for i in 0..count {
        let (t, off) = (hash(2 * (from + i)), if anomalous(i) { 3.0 } else { 0.0 });
        let machine = ["north", "south"][i % 2];
        let b = 2.0 * t + 0.1 * hash(2 * (from + i) + 1) + off;
        writeln!(table, "12:{i:04},{machine},{t},{b},{}", u8::from(anomalous(i))).unwrap();
    }
    std::fs::write(path, table).unwrap();
    path.to_owned()
}

/// A detector of such rows.
pub(crate) fn detector(dir: &Path) -> PathBuf {
    let [data, out, blob] = ["train.csv", "run", "model.elbo"].map(|name| dir.join(name));
    let data = rows(&data, 10_000, 2000, |_| false);
    let train = ["train", "--family", "mixture", "--components", "2", "--data", text(&data)];
    succeeds(&[&train[..], &["--drop-columns", "time,machine", "--out", text(&out)]].concat());
    succeeds(&["compile", text(&out), "-o", text(&blob)]);
    blob
}

#[test]
fn events_are_found_on_each_machine() {
    let dir = tempfile::tempdir().unwrap();
    let blob = detector(dir.path());
    // One event of both machines, and a later one of the machine with odd rows.
    let event = |i: usize| (200..220).contains(&i) || ((600..640).contains(&i) && i % 2 == 1);
    let data = rows(&dir.path().join("new.csv"), 0, 1000, event);
    let json = dir.path().join("out.json");
    let backtest = ["backtest", text(&blob), "--data", text(&data), "--group", "machine", "--id", "time"];
    let more = ["--false-alarms", "1%", "--period", "1m", "--json", text(&json), "--bootstrap", "200"];
    let said = succeeds(&[&backtest[..], &more].concat());
    assert!(said.contains("all rows: 1000 rows, 40 anomalous in 3 events"), "{said}");
    assert!(said.contains("north: 500 rows, 10 anomalous in 1 event "), "{said}");
    assert!(said.contains("south: 500 rows, 30 anomalous in 2 events"), "{said}");
    assert!(said.contains("(3 of 3)") && said.contains("nominal 1 %") && said.contains(" a day"), "{said}");
    assert!(said.contains("first alarm") && said.contains("time 12:0"), "{said}");

    let value: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    let of = |part: &serde_json::Value, metric: &str| part["metrics"][metric]["value"].as_f64().unwrap();
    let all = &value["all"];
    assert!(of(all, "auc") > 0.99 && of(all, "average_precision") > 0.9, "{value:#}");
    assert!(of(all, "affiliation_recall") > 0.99 && of(all, "vus_pr") > 0.9, "{value:#}");
    assert_eq!((of(all, "events_found"), of(all, "delay")), (1.0, 0.0));
    assert_eq!(all["events"], serde_json::json!([[201, 219], [202, 220], [602, 640]]));
    assert_eq!((&value["seconds_of_a_row"], &value["groups"][1]["name"]), (&60.0.into(), &"south".into()));
    let [low, high] = [0, 1].map(|at| all["metrics"]["false_alarms"]["interval"][at].as_f64().unwrap());
    let share = of(all, "false_alarms");
    assert!(low <= share && share <= high && high < 0.05, "{low} {share} {high}");
    let normal = all["alarming_normal_rows"].as_f64().unwrap() / 960.0;
    assert!((share - normal).abs() < 1e-12, "{share} {normal}");

    // The same seed gives the same results, and another seed other intervals.
    let again = succeeds(&[&backtest[..], &more].concat());
    assert_eq!(said, again);
    assert_ne!(said, succeeds(&[&backtest[..], &more, &["--seed", "1"]].concat()));
}

#[test]
fn what_the_data_do_not_say_is_left_out_and_explained() {
    let dir = tempfile::tempdir().unwrap();
    let blob = detector(dir.path());
    let normal = rows(&dir.path().join("normal.csv"), 0, 300, |_| false);
    let said = succeeds(&["backtest", text(&blob), "--data", text(&normal)]);
    assert!(said.contains("no rows as anomalies") && said.contains("in 1000 rows") && !said.contains("AUC"), "{said}");
    let said = succeeds(&["backtest", text(&blob), "--data", text(&normal), "--label-column", "-"]);
    assert!(said.contains("no labels") && !said.contains("NaN"), "{said}");
    let backtest = ["backtest", text(&blob), "--data", text(&normal)];
    fails(&[&backtest[..], &["--block", "0"]].concat(), &["--block"]);
    fails(&[&backtest[..], &["--group", "plant"]].concat(), &["`plant`", "machine"]);
    fails(&[&backtest[..], &["--false-alarms", "1/day"]].concat(), &["--period"]);
}
