//! Splits by time, by recording and by marks, and the anomalies that are left out of them.

use super::*;

/// First samples of the windows of a part.
fn of_part(windows: &Windows, part: Part) -> Vec<usize> {
    windows.of(part).map(|at| windows.starts[at].start).collect()
}

#[test]
fn a_recording_is_split_by_time_with_a_window_between() {
    let dir = Dir::new();
    let path = dir.put("a.npy", whole("(1000,)", (0..1000).map(|at| at % 97)));
    let w = load(&path, &DataOptions::default(), &of(10, 5)).unwrap();
    let range = |from: usize, to: usize| (from..=to).step_by(5).collect::<Vec<_>>();
    assert_eq!(of_part(&w, Part::Train), range(0, 590));
    assert_eq!(of_part(&w, Part::Validation), range(610, 740));
    assert_eq!(of_part(&w, Part::Test), range(760, 990));
    assert!(noted(&w, "119 windows for training, 27 for validation, and 47 for test"), "{:?}", w.notes);
    let none = DataOptions { validation_fraction: 0.0, ..DataOptions::default() };
    let w = load(&path, &none, &of(10, 5)).unwrap();
    assert_eq!((of_part(&w, Part::Validation).len(), of_part(&w, Part::Test)[0]), (0, 610));
    // Each of several recordings has all parts.
    let path = dir.put("b.npy", whole("(3, 300)", (0..900).map(|at| at % 97)));
    // Without a companion, columns are channels.
    fails(&path, &DataOptions::default(), &of(10, 10), &["longest stretch without a gap has 3"]);
    let path = dir.put("c.npy", whole("(3, 300, 1)", (0..900).map(|at| at % 97)));
    let w = load(&path, &DataOptions::default(), &of(10, 10)).unwrap();
    for recording in 0..3 {
        let of = |part| w.of(part).filter(|at| w.starts[*at].recording == recording).count();
        assert_eq!((of(Part::Train), of(Part::Validation), of(Part::Test)), (18, 3, 6));
    }
}

#[test]
fn short_recordings_are_assigned_as_wholes_within_their_group() {
    let dir = Dir::new();
    let path = dir.put("x.npy", whole("(40, 8, 1)", (0..320).map(|at| at % 7)));
    let meta = |row: &dyn Fn(usize) -> String| "group,anomaly\n".to_owned() + &(0..40).map(row).collect::<String>();
    dir.put("meta.csv", meta(&|at| format!("{},{}\n", at / 20, u8::from(at % 20 == 3))));
    let w = load(&path, &normal_only(), &of(4, 4)).unwrap();
    let recordings = |part: Part| {
        let mut found: Vec<usize> = w.of(part).map(|at| w.starts[at].recording).collect();
        found.dedup();
        found
    };
    // In each group of 20, the anomaly does not count, so 11 of 19 are train recordings, 3 validation and 5 test.
    let train = recordings(Part::Train);
    assert_eq!(train, [(0..3).collect::<Vec<_>>(), (4..12).collect(), (20..23).collect(), (24..32).collect()].concat());
    assert_eq!(recordings(Part::Validation), [12, 13, 14, 32, 33, 34]);
    assert_eq!(recordings(Part::Test), [3, 15, 16, 17, 18, 19, 23, 35, 36, 37, 38, 39]);
    assert_eq!(w.len(), 80, "every window of a recording has its part");
    let kept = load(&path, &DataOptions::default(), &of(4, 4)).unwrap();
    assert!(kept.of(Part::Train).any(|at| kept.starts[at].recording == 3));
}

#[test]
fn labelled_anomalies_neither_train_nor_validate() {
    let dir = Dir::new();
    let row = |at: usize| format!("{},{}\n", at % 7, u8::from(at == 33 || at == 650 || at == 900));
    let path = dir.put("t.csv", "a,label\n".to_owned() + &(0..1000).map(row).collect::<String>());
    let w = load(&path, &normal_only(), &of(10, 10)).unwrap();
    let labels = w.labels.as_ref().unwrap();
    assert!(w.of(Part::Train).chain(w.of(Part::Validation)).all(|at| labels[at] == 0));
    assert_eq!(w.of(Part::Test).filter(|at| labels[*at] == 1).count(), 1);
    assert!(noted(&w, "2 windows that would train"), "{:?}", w.notes);
    assert!(!starts(&w).contains(&30) && !starts(&w).contains(&650));
    let kept = load(&path, &DataOptions::default(), &of(10, 10)).unwrap();
    assert_eq!(kept.of(Part::Train).count(), w.of(Part::Train).count() + 1);
    let all = dir.put("all.csv", "a,label\n".to_owned() + &(0..99).map(|at| format!("{at},1\n")).collect::<String>());
    let e = fails(&all, &normal_only(), &of(10, 10), &["train"]);
    assert!(matches!(e, DataError::Empty { .. }));
}

#[test]
fn windows_that_calibrate_are_marked_or_left_to_the_front_end() {
    let dir = Dir::new();
    let part = |at: usize| ["train", "val", "cal", "test"][at / 25];
    let row = |at: usize| format!("{},{},{}\n", at % 7, u8::from(at == 60), part(at));
    let path = dir.put("t.csv", "a,label,split\n".to_owned() + &(0..100).map(row).collect::<String>());
    let w = load(&path, &normal_only(), &of(5, 5)).unwrap();
    assert_eq!(of_part(&w, Part::Calibration), [50, 55, 65, 70]);
    assert!(noted(&w, "5 for validation, 4 for calibration, and 5 for test"), "{:?}", w.notes);
    assert!(noted(&w, "1 windows that would train, validate or calibrate"), "{:?}", w.notes);
}

#[test]
fn validation_comes_from_the_end_of_the_train_windows_where_nothing_is_marked_for_it() {
    let dir = Dir::new();
    let row = |at: usize| format!("{},{}\n", at % 7, if at < 100 { "train" } else { "test" });
    let path = dir.put("t.csv", "a,split\n".to_owned() + &(0..150).map(row).collect::<String>());
    let w = load(&path, &DataOptions::default(), &of(4, 2)).unwrap();
    // 49 train windows from 0 to 96: a fifth of them begins at 78, and a window before it is left out.
    assert_eq!(of_part(&w, Part::Train), (0..=74).step_by(2).collect::<Vec<_>>());
    assert_eq!(of_part(&w, Part::Validation), (82..=96).step_by(2).collect::<Vec<_>>());
    assert_eq!(of_part(&w, Part::Test), (100..=146).step_by(2).collect::<Vec<_>>());
    assert!(noted(&w, "no samples are marked for validation"), "{:?}", w.notes);
    let none = DataOptions { validation_fraction: 0.0, ..DataOptions::default() };
    assert_eq!(of_part(&load(&path, &none, &of(4, 2)).unwrap(), Part::Train).len(), 49);
    let path = dir.put("x.npy", whole("(20, 4, 1)", (0..80).map(|at| at % 7)));
    let text: String = (0..20).map(|at| if at % 2 == 0 { "train\n" } else { "test\n" }).collect();
    dir.put("meta.csv", "split\n".to_owned() + &text);
    let w = load(&path, &DataOptions::default(), &of(4, 4)).unwrap();
    let validation: Vec<usize> = w.of(Part::Validation).map(|at| w.starts[at].recording).collect();
    assert_eq!((validation, w.of(Part::Train).count()), (vec![16, 18], 8));
}
