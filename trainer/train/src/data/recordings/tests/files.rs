//! WAV and columnar files, folders, damaged input.

use super::*;

#[test]
fn wav_files_have_rate_and_channels() {
    let dir = Dir::new();
    let data: Vec<u8> = (0..40_i16).flat_map(|at| (at * 100).to_le_bytes()).collect();
    let path = dir.put("a.wav", wav::file(1, 16, 2, 8000, &data));
    let w = load(&path, &unsplit(), &of(8, 6)).unwrap();
    assert_eq!((w.rate, w.channels.join(" "), w.frac), (Some(8000.0), "c0 c1".to_owned(), 0));
    assert_eq!(starts(&w), [0, 6, 12]);
    assert_eq!(w.samples_of(0)[..2], [0, 200]);
    let drop = DataOptions { drop_columns: vec!["c1".into()], ..unsplit() };
    assert_eq!(load(&path, &drop, &of(8, 6)).unwrap().samples_of(0).len(), 8);
    let quiet: Vec<u8> = (0..40_i32).flat_map(|at| (at * 16).to_le_bytes()[..3].to_vec()).collect();
    let w = load(&dir.put("q.wav", wav::file(1, 24, 1, 8000, &quiet)), &unsplit(), &of(8, 6)).unwrap();
    // 24 bits in counts of 16: steps of 1/16 are kept.
    assert_eq!((w.frac, f64::from(w.samples[1]) / f64::from(1 << w.frac)), (12, 1.0 / 16.0));
    let e =
        fails(&dir.put("c.wav", &fs::read(&path).unwrap()[..60]), &unsplit(), &of(8, 6), &["80 bytes", "16 follow"]);
    assert!(matches!(e, DataError::Recording(RecordingError::Wav { .. })));
    let nan = wav::file(3, 32, 1, 8000, &[1.0, f32::NAN].map(f32::to_le_bytes).concat());
    fails(&dir.put("n.wav", nan), &unsplit(), &of(2, 1), &["row 2", "NaN"]);
    let e = fails(&dir.put("e.wav", wav::file(1, 16, 1, 8000, &[])), &unsplit(), &of(2, 1), &["no samples"]);
    assert!(matches!(e, DataError::Empty { .. }));
    fails(&dir.put("z.dat", b"\x89HDF\r\n\x1a\n\0"), &unsplit(), &of(2, 1), &["HDF5"]);
    fails(&dir.put("empty.csv", b""), &unsplit(), &of(2, 1), &["empty"]);
    fails(&dir.0.path().join("none.wav"), &unsplit(), &of(2, 1), &["not found"]);
}

#[test]
fn each_file_of_a_folder_is_a_recording() {
    let dir = Dir::new();
    let table = |head: &str, from: i32| {
        head.to_owned() + &(0..10).map(|at| format!("{},{}\n", from + at, -at)).collect::<String>()
    };
    dir.put("run/b.csv", table("x,y\n", 100));
    dir.put("run/a.csv.gz", gzip(table("x,y\n", 0).as_bytes()));
    dir.put("run/pump/c.csv", table("y,x\n", 200));
    dir.put("run/README.txt", "what this is");
    dir.put("run/.hidden.csv", "?");
    let path = dir.0.path().join("run");
    let w = load(&path, &unsplit(), &of(5, 5)).unwrap();
    let names: Vec<_> = w.recordings.iter().map(|r| (r.name.as_str(), r.group.as_deref().unwrap())).collect();
    assert_eq!(names, [("a", "a"), ("b", "b"), ("c", "pump")]);
    assert_eq!((w.name.as_str(), w.channels.join(" "), w.len()), ("run", "x y".to_owned(), 6));
    assert_eq!(w.samples_of(2)[..5], [100, 101, 102, 103, 104]);
    assert_eq!(w.samples_of(4), [0, -1, -2, -3, -4, 200, 201, 202, 203, 204], "channels are matched by name");
    assert!(noted(&w, "README.txt") && noted(&w, "another order"), "{:?}", w.notes);
    let all: Vec<u8> = [table("x,y\n", 0), table("x,y\n", 100), table("y,x\n", 200)].concat().into_bytes();
    assert_eq!(w.crc32, crc32fast::hash(&all));
    dir.put("run/d.csv", table("x,z\n", 0));
    let e = fails(&path, &unsplit(), &of(5, 5), &["a.csv.gz", "d.csv", "x, y", "x, z"]);
    assert!(matches!(e, DataError::Recording(RecordingError::Differ { .. })));
    dir.put("rates/a.wav", wav::file(1, 16, 1, 8000, &[1; 40]));
    dir.put("rates/b.wav", wav::file(1, 16, 1, 16_000, &[1; 40]));
    fails(&dir.0.path().join("rates"), &unsplit(), &of(5, 5), &["a has 8000 samples a second", "b has 16000"]);
    dir.put("nothing/a.pdf", "?");
    let e = fails(&dir.0.path().join("nothing"), &unsplit(), &of(5, 5), &["no recordings", ".wav"]);
    assert!(matches!(e, DataError::Empty { .. }));
}

#[test]
fn a_folder_of_an_array_and_its_companion_is_that_array() {
    let dir = Dir::new();
    dir.put("set/x.npy.gz", gzip(&whole("(3, 4, 2)", 0..24)));
    dir.put("set/meta.csv.gz", gzip(b"anomaly\n0\n1\n0\n"));
    let w = load(&dir.0.path().join("set"), &unsplit(), &of(4, 4)).unwrap();
    assert_eq!((w.labels.unwrap(), w.recordings.len()), (vec![0, 1, 0], 3));
}

#[test]
fn labels_are_compared_over_all_files_of_a_folder() {
    let dir = Dir::new();
    let table = |label: &str| "x,label\n".to_owned() + &(0..8).map(|at| format!("{at},{label}\n")).collect::<String>();
    dir.put("run/a.csv", table("wear"));
    dir.put("run/b.csv", table("ok"));
    dir.put("run/c.csv", table("crack"));
    let path = dir.0.path().join("run");
    let w = load(&path, &unsplit(), &of(4, 4)).unwrap();
    assert_eq!(w.labels.unwrap(), [1, 1, 0, 0, 1, 1]);
    dir.put("run/d.csv", "x\n1\n2\n3\n4\n");
    fails(&path, &unsplit(), &of(4, 4), &["d.csv has no labels", "a.csv has labels"]);
}

#[test]
fn the_table_of_a_folder_marks_its_files() {
    let dir = Dir::new();
    let sound = |at: i16| wav::file(1, 16, 1, 8000, &(0..8).flat_map(|i| (at + i).to_le_bytes()).collect::<Vec<_>>());
    dir.put("run/a.wav", sound(0));
    dir.put("run/b.wav", sound(10));
    dir.put("run/late/c.wav.gz", gzip(&sound(20)));
    let table = "machine,file,state,split\nm1,a.wav,ok,train\nm2,late/c.wav,crack,test\nm1,b,ok,test\n";
    dir.put("run/meta.csv", table);
    let path = dir.0.path().join("run");
    let options = DataOptions { label_column: Some("state".into()), ..normal_only() };
    let w = load(&path, &options, &of(4, 4)).unwrap();
    let (train, test) = (Part::Train, Part::Test);
    let names: Vec<_> = w.recordings.iter().map(|r| (r.name.as_str(), r.group.as_deref().unwrap())).collect();
    assert_eq!(names, [("a", "m1"), ("b", "m1"), ("c", "m2")]);
    assert_eq!((w.labels.clone().unwrap(), w.rate), (vec![0, 0, 0, 0, 1, 1], Some(8000.0)));
    assert_eq!(w.parts[..2], [train; 2]);
    assert_eq!(w.parts[2..], [test; 4]);
    assert_eq!((w.reading.label.as_deref(), w.reading.group.as_deref()), (Some("state"), Some("machine")));
    let bytes = [table.as_bytes(), &sound(0), &sound(10), &sound(20)].concat();
    assert_eq!(w.crc32, crc32fast::hash(&bytes));
    let reading = WindowOptions { reading: Some(w.reading), ..of(4, 4) };
    assert_eq!(load(&path, &unsplit(), &reading).unwrap().labels, w.labels);
    dir.put("run/d.wav", sound(30));
    let e = fails(&path, &options, &of(4, 4), &["meta.csv", "no row for", "d.wav"]);
    assert!(matches!(e, DataError::Recording(RecordingError::NotListed { .. })));
}

#[cfg(feature = "parquet")]
#[test]
fn columnar_files_are_tables_with_times() {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float64Array, RecordBatch, TimestampMillisecondArray};

    let dir = Dir::new();
    let times = TimestampMillisecondArray::from_iter_values((0..20).map(|at| 1_700_000_000_000 + 10 * at));
    let columns: [(&str, ArrayRef); 2] = [
        ("time", Arc::new(times)),
        ("a", Arc::new(Float64Array::from_iter_values((0..20).map(|at| f64::from(at) / 4.0)))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ::parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let w = load(&dir.put("t.parquet", bytes), &unsplit(), &of(4, 4)).unwrap();
    assert_eq!((w.rate, w.channels.join(" "), w.len()), (Some(100.0), "a".to_owned(), 5), "{:?}", w.notes);
    assert_eq!(w.starts[1].time, Some(1_700_000_000.04));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_are_windows_or_an_error(
        head in 0_usize..5,
        bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
    ) {
        let heads: [&[u8]; 5] = [b"", b"RIFF\0\0\0\0WAVE", b"\x93NUMPY\x01\0", b"t,a\n1,2\n", b"PAR1"];
        let dir = Dir::new();
        let path = dir.put("file", [heads[head], &bytes].concat());
        if let Ok(found) = load(&path, &unsplit(), &of(2, 1)) {
            proptest::prop_assert!(!found.is_empty());
        }
    }
}
