//! Columns, labels and scaling of tables.

use super::*;

#[test]
fn a_model_matches_columns_by_name_and_unit() {
    let dir = Dir::new();
    let header = "time,temp,flow,press,anomaly\n";
    let rows: String = (0..40).map(|i| format!("t{i},{}.5,{},{},{}\n", i % 7, i % 3, i % 5, i % 2)).collect();
    let options = DataOptions { drop_columns: vec!["time".into()], ..DataOptions::default() };
    let trained = with_options(&dir.put("train.csv", header.to_owned() + &rows), &options).unwrap();
    assert_eq!(trained.reading.dropped, ["time"]);
    let options = DataOptions { reading: Some(trained.reading.clone()), ..DataOptions::default() };
    let read = |name: &str, text: &str| with_options(&dir.put(name, text), &options);
    // One row is enough for a model, and needs no train rows; a column that was left out may be there or not.
    let all = |d: &Dataset| [d.train.x.as_slice(), &d.validation.x, &d.test.x].concat();
    let one = all(&read("one.csv", "temp,flow,press\n1.5,2,3\n").unwrap());
    for (name, text) in [
        ("swapped.csv", "press,temp,flow\n3,1.5,2\n"),
        ("labelled.csv", "anomaly,press,temp,flow\n1,3,1.5,2\n"),
        ("timed.csv", "press,time,temp,flow\n3,t8,1.5,2\n"),
        ("indexed.csv", ",press,temp,flow\n0,3,1.5,2\n"),
        ("bare.csv", "1.5,2,3\n"),
        ("split.csv", "temp,flow,press,split\n1.5,2,3,test\n"),
    ] {
        let d = read(name, text);
        if name == "indexed.csv" {
            // One row does not count.
            assert!(matches!(d, Err(DataError::UnknownColumn { .. })), "{d:?}");
            continue;
        }
        let d = d.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(all(&d), one, "{name}");
        assert_eq!(d.reading, trained.reading, "{name}");
    }
    let e = read("missing.csv", "temp,press\n1,2\n").unwrap_err();
    assert!(matches!(&e, DataError::ColumnOfModel { column, .. } if column == "flow"), "{e}");
    let e = read("more.csv", "temp,flow,press,humidity\n1,2,3,4\n").unwrap_err();
    assert!(matches!(&e, DataError::UnknownColumn { column, .. } if column == "humidity"), "{e}");
    let e = read("few.csv", "1,2\n").unwrap_err();
    assert!(matches!(e, DataError::ColumnCount { expected: 3, found: 2, .. }), "{e}");
    let e = read("renamed.csv", "temp_K,flow,press\n1,2,3\n").unwrap_err();
    assert!(e.to_string().contains("temp") && e.to_string().contains("temp_K"), "{e}");

    let with_units =
        with_options(&dir.put("units.csv", "a,b\nC,bar\n1,2\n3,5\n4,4\n"), &DataOptions::default()).unwrap();
    let options = DataOptions { reading: Some(with_units.reading), ..DataOptions::default() };
    let e = with_options(&dir.put("kelvin.csv", "a,b\nK,bar\n1,2\n3,5\n"), &options).unwrap_err();
    assert!(matches!(e, DataError::UnitDiffers { .. }) && e.to_string().contains('K'), "{e}");
}

#[test]
fn rows_know_their_place_in_the_file() {
    let dir = Dir::new();
    let text: String = (0..50).map(|i| format!("{i}.5,{}\n", i % 4)).collect();
    let d = from_path(&dir.put("t.csv", text)).unwrap();
    let mut places = [d.train.rows.as_slice(), &d.validation.rows, &d.test.rows].concat();
    for split in [&d.train, &d.validation, &d.test] {
        for (at, place) in split.rows.iter().enumerate() {
            let value = d.standardise().unwrap().restored(0, split.row(at)[0]);
            assert!((value - (*place as f64 + 0.5)).abs() < 1e-3, "{value} at {place}");
        }
    }
    places.sort_unstable();
    assert_eq!(places, (0..50).collect::<Vec<_>>());
}

#[test]
fn labels_are_found_numbered_and_not_learnt() {
    let dir = Dir::new();
    let put = |name: &str, column: &str, label: &dyn Fn(u32) -> String| {
        let rows: String = (0..200).map(|i| format!("{}.25,{},{}\n", i % 11, i % 7, label(i))).collect();
        dir.put(name, format!("a,b,{column}\n{rows}"))
    };
    let tenth = |i: u32| (if i % 10 == 3 { "1" } else { "0" }).to_owned();
    let options = DataOptions { leave_out_anomalies: true, ..DataOptions::default() };
    for column in ["label", "Label", "anomaly", "ANOMALY", "Class", "target", "is_anomaly"] {
        let path = put("t.csv", column, &tenth);
        let d = with_options(&path, &options).unwrap();
        assert_eq!((d.dim, d.reading.label.as_deref()), (2, Some(column)));
        let held = |split: &Split| split.labels.as_ref().unwrap().iter().filter(|label| **label == 1).count();
        assert_eq!((held(&d.train), held(&d.validation)), (0, 0));
        assert!(d.test.n == 20 && d.train.n + d.validation.n + d.test.n < 200);
        let note = d.notes.iter().find(|note| note.contains("labelled 1")).unwrap();
        assert!(note.contains("--keep-anomalies") && note.contains(column), "{note}");
        let kept = from_path(&path).unwrap();
        assert_eq!(kept.train.n + kept.validation.n + kept.test.n, 200);
        let none = DataOptions { label_column: Some("-".into()), ..options.clone() };
        assert_eq!(with_options(&path, &none).unwrap().train.labels, None);
    }
    let words = put("w.csv", "state", &|i| (if i % 10 == 3 { "broken" } else { "OK" }).to_owned());
    let e = from_path(&words).unwrap_err();
    assert!(matches!(e, DataError::NotNumeric { .. }), "{e}");
    let named = DataOptions { label_column: Some("state".into()), ..options.clone() };
    let d = with_options(&words, &named).unwrap();
    assert_eq!(d.reading.class_names, ["OK", "broken"]);
    assert!(d.train.labels.as_ref().unwrap().iter().all(|label| *label == 0));
    // Two classes of which none is called normal are classes.
    let kinds = put("k.csv", "label", &|i| (if i % 2 == 0 { "walk" } else { "run" }).to_owned());
    let d = with_options(&kinds, &options).unwrap();
    assert_eq!((d.train.n, d.classes()), (160, 2));
    // A column of this name with measurements is a feature.
    let d = from_path(&put("y.csv", "y", &|i| format!("{i}.5"))).unwrap();
    assert_eq!((d.dim, d.train.labels), (3, None));
    let all = put("all.csv", "anomaly", &|_| "1".to_owned());
    let e = with_options(&all, &options).unwrap_err();
    assert!(matches!(e, DataError::Empty { .. }) && e.to_string().contains("--keep-anomalies"), "{e}");
    let ids = from_path(&put("ids.csv", "label", &|i| (4_000_000_000 + i).to_string())).unwrap();
    assert_eq!(ids.classes(), 4_000_000_200);
}

#[test]
fn names_with_commas_quotes_and_twins_can_be_dropped() {
    let dir = Dir::new();
    let path = dir.put("t.csv", "\"temp, C\",a,b,a,\"x \"\"y\"\"\"\n1,2,3,s,5\n2,3,4,t,6\n");
    let dim = |drop: &[&str]| {
        let drop_columns = drop.iter().map(ToString::to_string).collect();
        with_options(&path, &DataOptions { drop_columns, ..DataOptions::default() })
            .map(|d| d.reading.columns.join("/"))
    };
    assert_eq!(dim(&["a"]).unwrap(), "temp, C/b/x \"y\"");
    assert_eq!(dim(&["a", "temp, C"]).unwrap(), "b/x \"y\"");
    assert_eq!(dim(&["a,\"temp, C\""]).unwrap(), "b/x \"y\"");
    assert_eq!(dim(&["\"x \"\"y\"\"\",a"]).unwrap(), "temp, C/b");
    let e = dim(&["temp"]).unwrap_err().to_string();
    assert!(e.contains("\"temp, C\", a, b"), "{e}");
    let twice = DataOptions { label_column: Some("a".into()), ..DataOptions::default() };
    assert!(matches!(with_options(&path, &twice), Err(DataError::NamedTwice { .. })));
    let index = "id,a\n".to_owned() + &(0..20).map(|i| format!("{i},{}\n", i * i)).collect::<String>();
    let unnamed = index.replace("id,", ",");
    assert_eq!(from_path(&dir.put("named.csv", index)).unwrap().dim, 2);
    let d = from_path(&dir.put("unnamed.csv", unnamed)).unwrap();
    assert!(d.dim == 1 && d.notes.iter().any(|note| note.contains("only counts the rows")), "{:?}", d.notes);
}

#[test]
fn glitches_get_a_word_and_a_robust_scale() {
    let dir = Dir::new();
    let row = |i: u32| format!("{},{}\n", i % 13, if i % 100 == 7 { 65535.0 } else { f64::from(i % 9) });
    let path = dir.put("t.csv", "a,flow\n".to_owned() + &(0..400).map(row).collect::<String>());
    let d = from_path(&path).unwrap();
    let note = d.notes.iter().find(|note| note.contains("--scaling robust")).unwrap();
    assert!(note.contains("`flow`") && note.contains("65535") && !note.contains("`a`"), "{note}");
    let robust = DataOptions { scaling: Scaling::Robust, ..DataOptions::default() };
    let d = with_options(&path, &robust).unwrap();
    assert!(d.standardise().unwrap().std[1] < 10.0 && d.train.x.iter().all(|v| v.abs() <= 16.0));
    assert!(!d.notes.iter().any(|note| note.contains("far out")));
}
