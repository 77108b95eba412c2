//! Arrays, alone and with a companion.

use super::*;

#[test]
fn the_dimensions_say_what_an_array_holds() {
    let dir = Dir::new();
    let w = load(&dir.put("one.npy", whole("(20,)", 0..20)), &unsplit(), &of(4, 4)).unwrap();
    assert_eq!((w.channels.join(" "), w.len(), w.samples_of(4)), ("c0".to_owned(), 5, &[16, 17, 18, 19][..]));
    let w = load(&dir.put("two.npy.gz", gzip(&whole("(10, 2)", 0..20))), &unsplit(), &of(4, 3)).unwrap();
    assert_eq!((w.channels.join(" "), w.len()), ("c0 c1".to_owned(), 3));
    assert_eq!(w.samples_of(1), [6, 8, 10, 12, 7, 9, 11, 13]);
    let w = load(&dir.put("three.npy", whole("(3, 5, 2)", 0..30)), &unsplit(), &of(4, 1)).unwrap();
    assert_eq!((w.recordings.len(), w.len()), (3, 6));
    assert_eq!(w.recordings[2].name, "three:2");
    assert_eq!(w.samples_of(3), [12, 14, 16, 18, 13, 15, 17, 19]);
    // One of the channels is left out, or holds the labels.
    let drop = DataOptions { drop_columns: vec!["c0".into()], ..unsplit() };
    let w = load(&dir.put("drop.npy", whole("(10, 2)", 0..20)), &drop, &of(4, 3)).unwrap();
    assert_eq!((w.channels.join(" "), w.samples_of(0)), ("c1".to_owned(), &[1, 3, 5, 7][..]));
    assert_eq!((w.reading.dropped.join(" "), w.reading.channels), ("c0".to_owned(), 1));
    let marks = DataOptions { label_column: Some("c1".into()), ..unsplit() };
    let values = (0..20).map(|at| if at % 2 == 0 { at } else { i16::from(at == 15) });
    let w = load(&dir.put("marks.npy", whole("(10, 2)", values)), &marks, &of(4, 3)).unwrap();
    assert_eq!((w.channels.join(" "), w.labels.unwrap()), ("c0".to_owned(), vec![0, 0, 1]));
    for (shape, values) in [("(1, 2, 3, 4)", 24), ("(0, 3)", 0)] {
        let path = dir.put("bad.npy", whole(shape, 0..values));
        let e = load(&path, &unsplit(), &of(2, 1)).unwrap_err();
        assert!(matches!(e, DataError::Shape { .. } | DataError::Empty { .. }), "{e}");
    }
    let whole_file = whole("(10, 2)", 0..20);
    let e = fails(&dir.put("cut.npy", &whole_file[..whole_file.len() - 3]), &unsplit(), &of(2, 1), &["cut short"]);
    assert!(matches!(e, DataError::NpyLength { .. }));
}

#[test]
fn floats_that_are_missing_are_refused_or_gaps() {
    let dir = Dir::new();
    let value = |at: usize| if at == 11 { f32::NAN } else { at as f32 / 4.0 };
    let bytes: Vec<u8> = (0..24).flat_map(|at| value(at).to_le_bytes()).collect();
    let path = dir.put("a.npy", npy("<f4", "(12, 2)", &bytes));
    let e = fails(&path, &unsplit(), &of(3, 1), &["row 6", "`c1`", "--gaps"]);
    assert!(matches!(e, DataError::Recording(RecordingError::MissingSample { row: 6, .. })));
    let w = load(&path, &unsplit(), &WindowOptions { gaps: true, ..of(3, 1) }).unwrap();
    assert_eq!((starts(&w), w.frac), (vec![0, 1, 2, 6, 7, 8, 9], 11));
    let drop = DataOptions { drop_columns: vec!["c1".into()], ..unsplit() };
    assert_eq!(load(&path, &drop, &of(3, 1)).unwrap().len(), 10);
}

#[test]
fn a_companion_says_what_each_recording_is() {
    let dir = Dir::new();
    let row = |at: usize| {
        let part = ["train", "train", "val", "test"][at / 3];
        format!("p{},{},{part}\n", at % 2, ["N", "V", "F"][(at == 10) as usize + 2 * usize::from(at == 11)])
    };
    let meta = "record,aami,split\n".to_owned() + &(0..12).map(row).collect::<String>();
    dir.put("beats_meta.csv.gz", gzip(meta.as_bytes()));
    // A row as long as a window is a recording, and a shorter one has a channel in each column.
    let path = dir.put("beats_x.npy", whole("(12, 6)", 0..72));
    let aami = DataOptions { label_column: Some("aami".into()), ..normal_only() };
    let windows = WindowOptions { normal: vec!["N".into()], ..of(6, 6) };
    let w = load(&path, &aami, &windows).unwrap();
    assert_eq!((w.channels.join(" "), w.recordings.len(), w.len()), ("c0".to_owned(), 12, 12));
    assert_eq!(w.samples_of(2), [12, 13, 14, 15, 16, 17]);
    assert_eq!(w.labels.as_ref().unwrap()[9..], [0, 1, 1]);
    let (train, validation, test) = (Part::Train, Part::Validation, Part::Test);
    assert_eq!(w.parts, [[train; 3], [train; 3], [validation; 3], [test; 3]].concat());
    assert_eq!(w.recordings[3].group.as_deref(), Some("p1"));
    assert_eq!(w.reading.normal, ["N"]);
    // Without the option there are no labels, and the other columns stay where they are.
    assert!(load(&path, &normal_only(), &of(6, 6)).unwrap().labels.is_none());
    fails(&path, &aami, &of(6, 6), &["`aami`", "`N`, `V`, `F`", "--normal N"]);
    fails(&path, &normal_only(), &windows, &["`normal`", "--label-column"]);
    let wrong = WindowOptions { normal: vec!["Q".into()], ..of(6, 6) };
    fails(&path, &aami, &wrong, &["`Q`"]);
    // A model knows which labels are normal.
    let reading = WindowOptions { reading: Some(w.reading.clone()), ..of(6, 6) };
    let again = load(&path, &unsplit(), &reading).unwrap();
    assert_eq!(again.labels, w.labels);
    let w = load(&path, &unsplit(), &of(8, 8)).unwrap();
    assert_eq!((w.channels.len(), w.recordings.len(), w.len()), (6, 1, 1));
    let e = fails(&dir.put("beats_x.npy", whole("(11, 6)", 0..66)), &aami, &windows, &["11 rows", "found 12"]);
    assert!(matches!(e, DataError::Recording(RecordingError::Companion { .. })));
}

#[test]
fn a_companion_of_any_array_must_fit_to_be_used() {
    let dir = Dir::new();
    dir.put("meta.csv", "anomaly,condition\n0,off\n1,low\n0,med\n");
    let w = load(&dir.put("x.npy", whole("(3, 4, 2)", 0..24)), &unsplit(), &of(4, 4)).unwrap();
    assert_eq!((w.labels.unwrap(), w.recordings[1].group.as_deref()), (vec![0, 1, 0], None));
    let w = load(&dir.put("stream.npy", whole("(12, 2)", 0..24)), &unsplit(), &of(4, 4)).unwrap();
    assert!(w.labels.is_none() && noted(&w, "it is not used"), "{:?}", w.notes);
    let conditions = WindowOptions { group_column: Some("condition".into()), ..of(4, 4) };
    let w = load(&dir.0.path().join("x.npy"), &unsplit(), &conditions).unwrap();
    assert_eq!(w.recordings[1].group.as_deref(), Some("low"));
    // Marks of every sample.
    let marks: String = (0..12).map(|at| format!("{}\n", u8::from(at == 5))).collect();
    dir.put("stream_meta.csv", "anomaly\n".to_owned() + &marks);
    let w = load(&dir.0.path().join("stream.npy"), &unsplit(), &of(4, 4)).unwrap();
    assert_eq!((w.labels.unwrap(), w.channels.len()), (vec![0, 1, 0], 2));
}

#[test]
fn archives_have_their_own_labels_and_split() {
    use super::super::super::npz::archive;
    let dir = Dir::new();
    let members = [("x.npy", whole("(3, 4, 2)", 0..24)), ("y.npy", whole("(3,)", [0, 0, 1].into_iter()))];
    let w = load(&dir.put("a.npz", archive(&members)), &unsplit(), &of(4, 4)).unwrap();
    assert_eq!((w.labels.unwrap(), w.channels.len(), w.reading.label.as_deref()), (vec![0, 0, 1], 2, Some("y")));
    let parts = [("x_train.npy", whole("(6, 4)", 0..24)), ("x_test.npy", whole("(2, 4)", 0..8))];
    let path = dir.put("b.npz", archive(&parts));
    let whole = DataOptions { validation_fraction: 0.0, ..DataOptions::default() };
    let w = load(&path, &whole, &of(4, 4)).unwrap();
    assert_eq!((w.of(Part::Train).count(), w.of(Part::Test).count(), w.channels.len()), (6, 2, 1));
}
