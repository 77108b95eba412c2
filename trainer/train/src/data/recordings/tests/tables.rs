//! Tables whose rows are samples.

use super::*;

#[test]
fn windows_are_cut_at_every_hop_and_lie_by_channel() {
    let dir = Dir::new();
    let text: String = (0..10).map(|at| format!("{at},{}\n", -100 * at)).collect();
    let path = dir.put("t.csv", "a,b\n".to_owned() + &text);
    let w = load(&path, &unsplit(), &of(4, 3)).unwrap();
    assert_eq!((w.channels.join(" "), w.frac, w.rate), ("a b".to_owned(), 0, None));
    assert_eq!(starts(&w), [0, 3, 6]);
    assert_eq!(w.samples_of(1), [3, 4, 5, 6, -300, -400, -500, -600]);
    assert_eq!(starts(&load(&path, &unsplit(), &of(10, 1)).unwrap()), [0]);
    assert_eq!(starts(&load(&path, &unsplit(), &of(9, 1)).unwrap()), [0, 1]);
    let e = fails(&path, &unsplit(), &of(11, 1), &["t.csv", "window of 11", "has 10"]);
    assert!(matches!(e, DataError::Recording(RecordingError::TooShort { longest: 10, .. })));
    let packed = load(&dir.put("p.csv.gz", gzip(&fs::read(&path).unwrap())), &unsplit(), &of(4, 3)).unwrap();
    assert_eq!((packed.samples, packed.crc32, packed.name.as_str()), (w.samples, w.crc32, "p"));
    for (window, hop, option) in [(1, 1, "window"), (0, 1, "window"), (4, 0, "hop")] {
        fails(&path, &unsplit(), &of(window, hop), &[option]);
    }
    let rate = WindowOptions { rate: Some(0.0), ..of(4, 3) };
    fails(&path, &unsplit(), &rate, &["rate"]);
}

#[test]
fn times_give_the_rate_and_end_the_windows_at_gaps() {
    let dir = Dir::new();
    // A gap of one missing sample behind the tenth.
    let seconds = |at: usize| 0.5 * (at + usize::from(at > 9)) as f64;
    let row = |at: usize, time: String| format!("{time},{at}\n");
    let table = |name: &str, time: &dyn Fn(usize) -> String| {
        let text: String = (0..20).map(|at| row(at, time(at))).collect();
        dir.put(&format!("{}.csv", name.replace(['[', ']', ' '], "")), format!("{name},a\n{text}"))
    };
    let date = |at: usize| {
        let s = seconds(at);
        format!("2004-02-12T10:32:{:04.1}", 30.0 + s)
    };
    let cases: Vec<(PathBuf, f64)> = vec![
        (table("timestamp", &date), 1_076_581_950.0),
        (table("DATE", &|at| date(at).replace(['-', 'T', ':'], ".")), 1_076_581_950.0),
        (table("t", &|at| seconds(at).to_string()), 0.0),
        (table("time [ms]", &|at| (1000.0 * seconds(at)).to_string()), 0.0),
        (table("ts", &|at| format!("{}", 1_700_000_000_000.0 + 1000.0 * seconds(at))), 1.7e9),
        (table("time", &|at| format!("10:00:{:04.1}", seconds(at))), 36_000.0),
    ];
    for (path, first) in cases {
        let w = load(&path, &unsplit(), &of(4, 2)).unwrap();
        assert_eq!((w.rate, w.channels.join(" ")), (Some(2.0), "a".to_owned()), "{path:?}: {:?}", w.notes);
        assert_eq!(starts(&w), [0, 2, 4, 6, 10, 12, 14, 16], "{path:?}");
        assert_eq!(w.starts[4].time, Some(first + 5.5), "{path:?}");
        assert_eq!((w.recordings[0].segments, w.recordings[0].samples), (2, 20));
        assert!(noted(&w, "2 samples a second, with 1 gaps"), "{:?}", w.notes);
        let stated = WindowOptions { rate: Some(50.0), ..of(4, 2) };
        assert_eq!(load(&path, &unsplit(), &stated).unwrap().rate, Some(50.0));
    }
    // Date and time of day in two columns.
    let text: String = (0..20).map(|at| format!("12.02.2004,10:32:{:04.1},{at}\n", 30.0 + seconds(at))).collect();
    let w = load(&dir.put("two.csv", "Date,Time,a\n".to_owned() + &text), &unsplit(), &of(4, 2)).unwrap();
    assert_eq!((w.rate, w.starts[0].time), (Some(2.0), Some(1_076_581_950.0)));
    assert!(w.reading.time.is_none() && noted(&w, "`Date` and `Time`"), "{:?}", w.notes);
    let reading = WindowOptions { reading: Some(w.reading), ..of(4, 2) };
    assert_eq!(load(&dir.0.path().join("two.csv"), &unsplit(), &reading).unwrap().rate, Some(2.0));
}

#[test]
fn columns_of_times_that_are_none_are_refused_with_the_place() {
    let dir = Dir::new();
    let back = dir.put("back.csv", "t,a\n0,1\n1,2\n\n3,3\n2,4\n4,5\n");
    let e = fails(&back, &unsplit(), &of(2, 1), &["line 6", "`t`", "`2` lies before `3`", "--time-column -"]);
    assert!(matches!(e, DataError::Recording(RecordingError::NotIncreasing { .. })));
    // Taken for a channel, as it is told.
    let none = WindowOptions { time_column: Some("-".into()), ..of(2, 1) };
    assert_eq!(load(&back, &unsplit(), &none).unwrap().channels, ["t", "a"]);
    let torn = dir.put("torn.csv", "timestamp,a\n2026-01-01,1\nsoon,2\n");
    let e = fails(&torn, &unsplit(), &of(2, 1), &["line 3", "`timestamp`", "`soon`"]);
    assert!(matches!(e, DataError::Recording(RecordingError::NotATime { .. })));
    let named = WindowOptions { time_column: Some("when".into()), ..of(2, 1) };
    fails(&torn, &unsplit(), &named, &["no column `when`", "timestamp"]);
    let other = dir.put("other.csv", "when,a\n5,1\n6,2\n7,3\n");
    let w = load(&other, &unsplit(), &named).unwrap();
    assert_eq!((w.channels.join(" "), w.rate), ("a".to_owned(), Some(1.0)));
    assert!(noted(&w, "taken for seconds"), "{:?}", w.notes);
}

#[test]
fn columns_of_times_and_groups_can_be_left_out_or_name_the_rows() {
    let dir = Dir::new();
    let text: String = (0..20).map(|at| format!("{},m,{at}\n", 20 - at)).collect();
    let path = dir.put("t.csv", "t,machine,a\n".to_owned() + &text);
    fails(&path, &unsplit(), &of(4, 4), &["line 3", "--drop-columns t"]);
    let drop = DataOptions { drop_columns: vec!["t,machine".into()], ..DataOptions::default() };
    let w = load(&path, &drop, &of(4, 4)).unwrap();
    assert_eq!((w.channels.join(" "), w.recordings[0].group.as_deref()), ("a".to_owned(), None));
    assert!(noted(&w, "not known"), "{:?}", w.notes);
    // The model leaves them out of other files, too.
    let reading = WindowOptions { reading: Some(w.reading), ..of(4, 4) };
    assert_eq!(load(&path, &unsplit(), &reading).unwrap().channels, ["a"]);
    let text: String = (0..20).map(|at| format!("{at},{at},m\n")).collect();
    let path = dir.put("s.csv", "t,a,group\n".to_owned() + &text);
    for id in ["t", "group"] {
        let options = DataOptions { id_column: Some(id.into()), ..unsplit() };
        let w = load(&path, &options, &of(4, 4)).unwrap();
        assert_eq!((w.channels.join(" "), w.rate), ("a".to_owned(), Some(1.0)));
    }
    let options = DataOptions { id_column: Some("b".into()), ..unsplit() };
    fails(&path, &options, &of(4, 4), &["no column `b`"]);
}

#[test]
fn groups_are_recordings_of_their_own() {
    let dir = Dir::new();
    let text: String = (0..24).map(|at| format!("m{},{at}\n", at % 2)).collect();
    let path = dir.put("t.csv", "machine,a\n".to_owned() + &text);
    let w = load(&path, &unsplit(), &of(4, 4)).unwrap();
    let names: Vec<_> = w.recordings.iter().map(|r| (r.name.as_str(), r.group.as_deref(), r.samples)).collect();
    assert_eq!(names, [("t:m0", Some("m0"), 12), ("t:m1", Some("m1"), 12)]);
    assert_eq!(w.samples_of(0), [0, 2, 4, 6]);
    assert_eq!(w.samples_of(5), [17, 19, 21, 23]);
    assert_eq!(w.starts[5], WindowPlace { recording: 1, start: 8, time: None });
    // Without times, a group that goes on later has a gap between.
    let text: String = (0..24).map(|at| format!("{},{at}\n", at / 6 % 2)).collect();
    let later = dir.put("later.csv", "place,a\n".to_owned() + &text);
    let named = WindowOptions { group_column: Some("place".into()), ..of(4, 1) };
    let w = load(&later, &unsplit(), &named).unwrap();
    assert_eq!(starts(&w), [0, 1, 2, 6, 7, 8, 0, 1, 2, 6, 7, 8]);
    assert_eq!(load(&later, &unsplit(), &of(4, 1)).unwrap().channels, ["place", "a"]);
    let none = WindowOptions { group_column: Some("-".into()), ..of(4, 4) };
    fails(&path, &unsplit(), &none, &["`machine`"]);
}

#[test]
fn a_window_has_the_labels_and_the_part_of_its_samples() {
    let dir = Dir::new();
    let part = |at: usize| ["train", "val", "test", "unused"][at / 10];
    let row = |at: usize| format!("{at},{},{}\n", u8::from(at == 21), part(at));
    let path = dir.put("t.csv", "a,anomaly,split\n".to_owned() + &(0..40).map(row).collect::<String>());
    let w = load(&path, &normal_only(), &of(4, 2)).unwrap();
    assert_eq!(starts(&w), [0, 2, 4, 6, 10, 12, 14, 16, 20, 22, 24, 26]);
    let (train, validation, test) = (Part::Train, Part::Validation, Part::Test);
    assert_eq!(w.parts, [[train; 4], [validation; 4], [test; 4]].concat());
    assert_eq!(w.labels.as_ref().unwrap()[..], [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    assert!(
        noted(&w, "4 windows are left out as unused") && noted(&w, "3 windows are left out because"),
        "{:?}",
        w.notes
    );
    assert_eq!((w.of(Part::Test).count(), w.len(), w.is_empty()), (4, 12, false));
    assert_eq!((w.reading.label.as_deref(), w.reading.split.as_deref()), (Some("anomaly"), Some("split")));
    let all = load(&path, &unsplit(), &of(4, 2)).unwrap();
    assert_eq!((all.len(), all.parts.iter().all(|part| *part == test)), (19, true));
    let none = DataOptions { label_column: Some("-".into()), drop_columns: vec!["anomaly".into()], ..unsplit() };
    assert!(load(&path, &none, &of(4, 2)).unwrap().labels.is_none());
}

#[test]
fn missing_samples_are_refused_or_gaps() {
    let dir = Dir::new();
    for hole in ["", "NaN", "n/a", "inf"] {
        let row = |at: usize| if at == 5 { format!("{hole},7\n") } else { format!("{at},7\n") };
        let text = "a,b\n".to_owned() + &(0..12).map(row).collect::<String>();
        let path = dir.put("t.csv", text);
        let e = fails(&path, &unsplit(), &of(3, 1), &["row 7", "`a`", "--gaps"]);
        assert!(matches!(e, DataError::Recording(RecordingError::MissingSample { row: 7, .. })), "{e}");
        let gaps = WindowOptions { gaps: true, ..of(3, 1) };
        let w = load(&path, &unsplit(), &gaps).unwrap();
        assert_eq!(starts(&w), [0, 1, 2, 6, 7, 8, 9], "{hole}");
        assert!(noted(&w, "1 rows with missing samples"), "{:?}", w.notes);
    }
    let words = dir.put("words.csv", "a,b\n1,2\n3,off\n4,5\n");
    let gaps = WindowOptions { gaps: true, ..of(2, 1) };
    let e = fails(&words, &unsplit(), &gaps, &["line 3", "`off`", "--drop-columns b"]);
    assert!(matches!(e, DataError::NotNumeric { .. }));
}

#[test]
fn other_recordings_are_read_as_those_of_the_model() {
    let dir = Dir::new();
    let table = |head: &str, row: &dyn Fn(usize) -> String| head.to_owned() + &(0..40).map(row).collect::<String>();
    let path = dir.put("t.csv", table("t,a,b\n", &|at| format!("{at},{},{}\n", at as f64 / 8.0, at % 5)));
    let model = load(&path, &DataOptions::default(), &of(4, 4)).unwrap();
    assert_eq!((model.rate, model.reading.names.join(" ")), (Some(1.0), "a b".to_owned()));
    assert!(model.frac > 3 && model.reading.frac == model.frac);
    let reading = WindowOptions { reading: Some(model.reading.clone()), ..of(4, 4) };
    let swapped = dir.put("s.csv", table("b,t,a\n", &|at| format!("{},{at},{}\n", at % 5, 1e6 * at as f64 / 8.0)));
    let w = load(&swapped, &unsplit(), &reading).unwrap();
    assert_eq!((w.channels.join(" "), w.frac, w.len()), ("a b".to_owned(), model.frac, 10));
    assert_eq!(w.samples_of(1)[..4], [32767; 4], "large samples are limited");
    assert_eq!(w.samples_of(1)[4..], model.samples_of(1)[4..]);
    assert!(noted(&w, "are limited to it") && w.reading == model.reading, "{:?}", w.notes);
    let text = serde_json::to_string(&w.reading).unwrap();
    assert_eq!(serde_json::from_str::<WindowReading>(&text).unwrap(), w.reading);
    let lacking = dir.put("l.csv", table("t,a\n", &|at| format!("{at},{at}\n")));
    fails(&lacking, &unsplit(), &reading, &["`b`"]);
    let fast = dir.put("f.csv", table("t,a,b\n", &|at| format!("{},{at},{at}\n", at as f64 / 2.0)));
    let e = fails(&fast, &unsplit(), &reading, &["2 samples a second", "--rate 1"]);
    assert!(matches!(e, DataError::Recording(RecordingError::RateOfModel { .. })));
    let stated = WindowOptions { rate: Some(1.0), ..reading.clone() };
    assert_eq!(load(&fast, &unsplit(), &stated).unwrap().rate, Some(1.0));
    let two = dir.put("x.npy", whole("(40, 2)", (0..80).map(|at| at % 7)));
    assert_eq!(load(&two, &unsplit(), &reading).unwrap().len(), 10);
    let three = dir.put("y.npy", whole("(40, 3)", (0..120).map(|at| at % 7)));
    assert!(matches!(fails(&three, &unsplit(), &reading, &["3 values"]), DataError::ColumnCount { .. }));
}

#[test]
fn fractional_bits_leave_room_for_twice_what_is_normal() {
    let dir = Dir::new();
    let frac = |largest: f64, step: f64| {
        let row = |at: usize| format!("{}\n", if at == 3 { largest } else { (at % 7) as f64 * step });
        let text: String = (0..100).map(row).collect();
        load(&dir.put("t.csv", "a\n".to_owned() + &text), &DataOptions::default(), &of(4, 4))
    };
    for (largest, step, want) in [
        (1000.0, 1.0, 0),
        (0.9, 0.1, 14),
        (0.49, 0.07, 15),
        (3.0, 0.5, 12),
        (16_383.5, 0.5, 0),
        (30_000.5, 0.5, 0),
        (-32_768.0, 1.0, 0),
    ] {
        let w = frac(largest, step).unwrap();
        assert_eq!(w.frac, want, "{largest}: {:?}", w.notes);
        assert_eq!(f64::from(w.samples[3]), (largest * f64::from(1 << want)).round(), "{largest}");
        assert_eq!(noted(&w, "leaves no room"), largest == 30_000.5, "{:?}", w.notes);
        assert_eq!(noted(&w, "whole numbers"), step == 1.0, "{:?}", w.notes);
    }
    for largest in [40_000.0, -32_770.0, 1e9] {
        let e = frac(largest, 1.0).unwrap_err();
        assert!(
            matches!(e, DataError::Recording(RecordingError::Range { .. })) && e.to_string().contains("divide"),
            "{e}"
        );
    }
    let e = frac(1e-6, 1e-7).unwrap_err();
    assert!(e.to_string().contains("multiply"), "{e}");
    assert!(noted(&frac(0.001, 0.0001).unwrap(), "few steps"));
}
