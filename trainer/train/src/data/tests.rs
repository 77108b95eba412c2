mod any_bytes;
mod columns;
mod files;

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use super::*;

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    e.write_all(bytes).unwrap();
    e.finish().unwrap()
}

fn from_path(path: &Path) -> Result<Dataset, DataError> {
    load(path.to_str().unwrap(), None, &DataOptions::default())
}

/// Loads `bytes` and returns the error, whose message must hold each of `parts`.
fn fails(name: &str, bytes: impl AsRef<[u8]>, parts: &[&str]) -> DataError {
    let dir = Dir::new();
    let error = from_path(&dir.put(name, bytes)).unwrap_err();
    let text = error.to_string();
    for part in parts.iter().chain(&[name]) {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    error
}

fn idx(dtype: u8, dims: &[u32], body: &[u8]) -> Vec<u8> {
    let mut out = vec![0, 0, dtype, dims.len() as u8];
    out.extend(dims.iter().flat_map(|d| d.to_be_bytes()));
    out.extend(body);
    out
}

fn npy(descr: &str, fortran: &str, shape: &str, body: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
    let mut out = npy::MAGIC.to_vec();
    out.extend([1, 0]);
    out.extend((header.len() as u16).to_le_bytes());
    out.extend(header.as_bytes());
    out.extend(body);
    out
}

#[test]
fn digits_have_their_published_split() {
    let d = load("digits", None, &DataOptions::default()).unwrap();
    assert_eq!((d.kind, d.shape, d.dim), (Kind::Image, [8, 8], 64));
    assert_eq!(d.train.n + d.validation.n, 1437);
    assert_eq!((d.validation.n, d.test.n), (144, 360));
    assert!(d.train.x.iter().all(|v| (0.0..=1.0).contains(v)));
    assert_eq!(d.test.labels.as_ref().unwrap().len(), 360);
    assert_eq!(d.train.row(3).len(), 64);
    assert!(d.standardise().is_none());
    let whole = DataOptions { validation_fraction: 0.0, ..DataOptions::default() };
    let d = load("digits", None, &whole).unwrap();
    assert_eq!((d.train.n, d.validation.n), (1437, 0));
    assert_eq!(d.train.row(0)[..5], [0.0, 0.0, 5.0 / 16.0, 13.0 / 16.0, 9.0 / 16.0]);
}

#[test]
fn the_seed_decides_the_split() {
    let with = |seed| {
        let options = DataOptions { seed, ..DataOptions::default() };
        load("digits", None, &options).unwrap().validation
    };
    assert_eq!(with(1), with(1));
    assert_ne!(with(1), with(2));
}

#[test]
fn mnist_loads_where_it_is_present() {
    if std::env::var_os("ELBO_DATA").is_none() {
        eprintln!("skipped: ELBO_DATA is not set");
        return;
    }
    let d = load("mnist", None, &DataOptions::default()).unwrap();
    assert_eq!((d.shape, d.dim), ([28, 28], 784));
    assert_eq!((d.train.n, d.validation.n, d.test.n), (54_000, 6_000, 10_000));
    assert_eq!(d.test.labels.as_ref().unwrap()[..3], [7, 2, 1]);
    assert!(d.test.x.iter().all(|v| (0.0..=1.0).contains(v)));
}

#[test]
fn folders_like_mnist() {
    let dir = Dir::new();
    for (prefix, n) in [("train", 4_u32), ("t10k", 2)] {
        let images = idx(8, &[n, 2, 3], &vec![255; 6 * n as usize]);
        dir.put(&format!("{prefix}-images-idx3-ubyte.gz"), gzip(&images));
        dir.put(&format!("{prefix}-labels-idx1-ubyte"), idx(8, &[n], &vec![7; n as usize]));
    }
    let options = DataOptions::default();
    let d = load("mnist", Some(dir.0.path()), &options).unwrap();
    assert_eq!((d.train.n, d.validation.n, d.test.n, d.shape), (3, 1, 2, [2, 3]));
    assert_eq!(d.train.row(2), [1.0; 6]);
    dir.put("t10k-labels-idx1-ubyte", idx(8, &[3], &[0; 3]));
    let e = load("mnist", Some(dir.0.path()), &options).unwrap_err();
    assert!(e.to_string().contains("expected 2 labels"), "{e}");
    dir.put("t10k-labels-idx1-ubyte", idx(0x0d, &[2], &[0; 8]));
    let e = load("mnist", Some(dir.0.path()), &options).unwrap_err();
    assert!(matches!(e, DataError::IdxDtype { found: 0x0d, .. }), "{e}");
    fs::remove_file(dir.0.path().join("t10k-labels-idx1-ubyte")).unwrap();
    let e = load("mnist", Some(dir.0.path()), &options).unwrap_err();
    assert!(matches!(e, DataError::NotFound { .. }), "{e}");
    assert!(e.to_string().contains("t10k-labels-idx1-ubyte"), "{e}");
}

#[test]
fn idx_images_with_and_without_labels() {
    let dir = Dir::new();
    let body: Vec<u8> = (0..120).collect();
    let path = dir.put("some-images-idx3-ubyte", idx(8, &[10, 3, 4], &body));
    let d = from_path(&path).unwrap();
    assert_eq!((d.train.n, d.validation.n, d.test.n), (8, 1, 1));
    assert_eq!((d.kind, d.shape, d.train.labels.is_none()), (Kind::Image, [3, 4], true));
    let labels: Vec<u8> = (0..10).collect();
    dir.put("some-labels-idx1-ubyte.gz", gzip(&idx(8, &[10], &labels)));
    let d = from_path(&path).unwrap();
    for (i, &l) in d.train.labels.as_ref().unwrap().iter().enumerate() {
        assert_eq!(d.train.row(i)[0], (12 * l) as f32 / 255.0);
    }
}

#[test]
fn idx_errors() {
    let e = fails("a.idx", [1, 2, 8, 3, 0, 0], &["01 02 08 03"]);
    assert!(matches!(e, DataError::IdxMagic { .. }));
    let e = fails("a.bin", idx(0x42, &[1, 1], &[0]), &["0x42", "0x08"]);
    assert!(matches!(e, DataError::IdxDtype { .. }));
    let e = fails("a.bin", &idx(8, &[1, 2, 2], &[])[..9], &["expected 16", "found 9"]);
    assert!(matches!(e, DataError::IdxTruncated { .. }));
    let e = fails("a.bin", [0, 0], &["expected 4", "found 2"]);
    assert!(matches!(e, DataError::IdxTruncated { .. }));
    let e = fails("a.bin", idx(8, &[2, 2, 2], &[0; 5]), &["8 bytes", "5 follow"]);
    assert!(matches!(e, DataError::IdxLength { .. }));
    let e = fails("a.bin", idx(8, &[1, 2, 2], &[0; 5]), &["4 bytes", "5 follow"]);
    assert!(matches!(e, DataError::IdxLength { .. }));
    let e = fails("a.bin", idx(8, &[u32::MAX; 200], &[0; 5]), &["5 follow"]);
    assert!(matches!(e, DataError::IdxLength { .. }));
    let e = fails("a.bin", idx(8, &[3], &[0; 3]), &["[3]"]);
    assert!(matches!(e, DataError::Shape { .. }));
    let e = fails("a.bin", idx(8, &[0, 2, 2], &[]), &["dimension of 0"]);
    assert!(matches!(e, DataError::Empty { .. }));
    let e = fails("a.bin", idx(0x0d, &[1, 1], &f32::NAN.to_be_bytes()), &["row 1", "NaN"]);
    assert!(matches!(e, DataError::NonFinite { .. }));
}

#[test]
fn tables_are_split_and_standardised() {
    let text = "a,b,anomaly,split\n1,5,0,train\n3,5,0,train\n7,5,1,test\n9,9,1,unused\n4,5,0,val\n";
    let dir = Dir::new();
    let plain = from_path(&dir.put("t.csv", text)).unwrap();
    let packed = from_path(&dir.put("odd-name", gzip(text.as_bytes()))).unwrap();
    for d in [&plain, &packed] {
        assert_eq!((d.kind, d.shape, d.dim), (Kind::Table, [1, 2], 2));
        assert_eq!((d.train.n, d.validation.n, d.test.n), (2, 1, 1));
        let s = d.standardise().unwrap();
        assert_eq!((&s.mean[..], &s.std[..]), (&[2.0, 5.0][..], &[1.0, 1.0][..]));
        assert_eq!(d.train.x, [-1.0, 0.0, 1.0, 0.0]);
        assert_eq!((d.test.row(0), d.validation.row(0)), (&[5.0, 0.0][..], &[2.0, 0.0][..]));
        assert_eq!(d.test.labels.as_deref(), Some(&[1][..]));
    }
    assert_eq!((plain.name.as_str(), packed.name.as_str()), ("t", "odd-name"));
    assert_eq!(plain.crc32, packed.crc32);
}

#[test]
fn tables_without_header_and_with_named_columns() {
    let text: String = (0..20).map(|i| format!("{i};{};{}\n", i * i, i % 3)).collect();
    let dir = Dir::new();
    let path = dir.put("t.csv", &text);
    let d = from_path(&path).unwrap();
    assert_eq!((d.train.n, d.validation.n, d.test.n, d.dim), (16, 2, 2, 3));
    let mut options = DataOptions { label_column: Some("c2".to_owned()), ..DataOptions::default() };
    let spec = path.to_str().unwrap();
    let d = load(spec, None, &options).unwrap();
    assert_eq!((d.dim, d.train.labels.as_ref().unwrap().len()), (2, 16));
    let relative = load("t.csv", Some(dir.0.path()), &options).unwrap();
    assert_eq!(relative.train, d.train);
    options.label_column = Some("kind".to_owned());
    let e = load(spec, None, &options).unwrap_err();
    assert!(e.to_string().contains("no column `kind`; the columns are c0, c1, c2"), "{e}");
    options.label_column = None;
    options.validation_fraction = f32::NAN;
    let e = load(spec, None, &options).unwrap_err();
    assert!(matches!(e, DataError::InvalidOption { .. }));
}

#[test]
fn columns_can_be_dropped() {
    let dir = Dir::new();
    let path = dir.put("t.csv", "time,a,state,label\n10:00,1,on,x\n10:01,3,off,y\n");
    let with = |drop: &[&str], label: Option<&str>| {
        let drop_columns = drop.iter().map(ToString::to_string).collect();
        let label_column = label.map(str::to_owned);
        let options = DataOptions { drop_columns, label_column, validation_fraction: 0.0, ..DataOptions::default() };
        load(path.to_str().unwrap(), None, &options)
    };
    let message = |result: Result<Dataset, DataError>| result.unwrap_err().to_string();
    assert!(message(with(&[], None)).contains("--drop-columns time,"));
    // A column that is dropped is not taken for labels either.
    let d = with(&["time", "state", "label"], None).unwrap();
    assert_eq!((d.dim, d.train.n + d.test.n, d.train.labels), (1, 2, None));
    let d = with(&["time", "state"], None).unwrap();
    assert_eq!((d.reading.class_names.join(" "), d.classes()), ("x y".to_owned(), 2));
    let e = message(with(&["time", "state", "label"], Some("label")));
    assert!(e.contains("`drop_columns`") && e.contains("label"), "{e}");
    assert!(message(with(&["tme"], None)).contains("no column `tme`; the columns are time, a, state, label"));
    assert!(message(with(&["time", "a", "state", "label"], None)).contains("no feature columns"));
}

#[test]
fn rows_for_a_model_are_standardised_as_its_own_were() {
    let dir = Dir::new();
    let path = dir.put("t.csv", "a,b,split\n1,5,train\n3,5,test\n");
    let mut options = DataOptions { validation_fraction: 0.0, ..DataOptions::default() };
    let reading = |mean: &[f64], std: &[f64]| {
        let standardise = Some(Standardise { mean: mean.to_vec(), std: std.to_vec(), limited: false });
        Some(Reading { shape: [1, mean.len()], standardise, ..Reading::default() })
    };
    options.reading = reading(&[-1.0, 1.0], &[2.0, 4.0]);
    let d = load(path.to_str().unwrap(), None, &options).unwrap();
    assert_eq!((d.train.x, d.test.x), (vec![1.0, 1.0], vec![2.0, 1.0]));
    options.reading = reading(&[0.0], &[1.0]);
    let e = load(path.to_str().unwrap(), None, &options).unwrap_err();
    assert!(matches!(e, DataError::ColumnCount { expected: 1, found: 2, .. }), "{e}");
}

#[test]
fn table_errors() {
    let e = fails("a.csv", "a,b\n1,2\n\n3,x\n", &["line 4", "`b`", "`x`"]);
    assert!(matches!(e, DataError::NotNumeric { .. }));
    fails("a.csv", "a,b\r\n1,2\r\n\r\n3,x\r\n", &["line 4", "`x`"]);
    let e = fails("a.csv", "1,2\n3,\n", &["line 2", "`c1`", "``"]);
    assert!(matches!(e, DataError::NotNumeric { .. }));
    for bad in ["NaN", "inf", "-inf", "1e60"] {
        let e = fails("a.csv", format!("a,b\n1,{bad}\n"), &["row 2", "`b`", bad]);
        assert!(matches!(e, DataError::NonFinite { .. }));
    }
    let e = fails("a.csv", "a,b\n1,2\n3\n", &["line 3", "expected 2", "found 1"]);
    assert!(matches!(e, DataError::Ragged { .. }));
    let e = fails("a.csv", "a,label\n1,-2\n", &["line 2", "`label`", "`-2`"]);
    assert!(matches!(e, DataError::BadLabel { .. }));
    let e = fails("a.csv", "a,split\n1,trian\n", &["line 2", "`split`", "`trian`"]);
    assert!(matches!(e, DataError::BadSplit { .. }));
    for text in ["", "a,b\n", "label,split\n1,train\n", "a,split\n1,test\n", "\n\n"] {
        assert!(matches!(fails("a.csv", text, &["no "]), DataError::Empty { .. }));
    }
    for (text, name) in
        [("{\"a\": [1]}", "JSON"), ("[[1, 2], [3, 4]]", "JSON"), ("<html>", "HTML"), ("@relation x", "ARFF")]
    {
        assert!(matches!(fails("a.csv", text, &[name, "CSV"]), DataError::UnknownFormat { .. }));
    }
    let e = fails("a.csv", b"PK\x03\x04\x14\x00", &["50 4b 03 04"]);
    assert!(matches!(e, DataError::UnknownFormat { .. }));
    let e = fails("a.csv", &gzip(b"a,b\n1,2\n")[..15], &["gzip"]);
    assert!(matches!(e, DataError::Gzip { .. }));
}

#[test]
fn names_and_paths_that_do_not_exist() {
    let options = DataOptions::default();
    let e = load("mnits", None, &options).unwrap_err();
    assert!(matches!(e, DataError::UnknownName { .. }), "{e}");
    let e = load("no/such.csv", None, &options).unwrap_err();
    assert!(matches!(e, DataError::NotFound { .. }), "{e}");
    #[cfg(unix)]
    if let Err(e) = load("/proc/self/mem", None, &options) {
        assert!(matches!(e, DataError::Io { .. }), "{e}");
    }
}

#[test]
fn npy_arrays() {
    use npyz::WriterBuilder;
    let dir = Dir::new();
    let values: Vec<f64> = (0..40).map(f64::from).collect();
    let mut bytes = Vec::new();
    let mut writer = npyz::WriteOptions::new().default_dtype().shape(&[20, 2]).writer(&mut bytes).begin_nd().unwrap();
    writer.extend(values).unwrap();
    writer.finish().unwrap();
    let d = from_path(&dir.put("a.npy.gz", gzip(&bytes))).unwrap();
    assert_eq!((d.kind, d.dim, d.train.n, d.name.as_str()), (Kind::Table, 2, 16, "a"));
    let big: Vec<u8> = [1_i16, -2, 300, 4].iter().flat_map(|v| v.to_be_bytes()).collect();
    let path = dir.put("b", npy("'>i2'", "False", "(2, 2)", &big));
    let values = npy::parse(&path, &fs::read(&path).unwrap()).unwrap().values;
    assert_eq!(values, values::Values::Single(vec![1.0, -2.0, 300.0, 4.0]));
    let d = from_path(&dir.put("c", npy("'|u1'", "False", "(2, 1, 2)", &[255; 4]))).unwrap();
    assert_eq!((d.kind, d.shape, d.train.row(0)), (Kind::Image, [1, 2], &[1.0, 1.0][..]));
}

#[test]
fn npy_errors() {
    let two = [0; 8];
    let e = fails("a", npy("'<c8'", "False", "(1, 1)", &two), &["<c8", "float32"]);
    assert!(matches!(e, DataError::NpyDtype { .. }));
    let e = fails("a", npy("[('x', '<f4')]", "False", "(1, 2)", &two), &["structured"]);
    assert!(matches!(e, DataError::NpyDtype { .. }));
    for shape in ["()", "(2,)"] {
        let e = fails("a", npy("'<f4'", "False", shape, &two), &[shape]);
        assert!(matches!(e, DataError::Shape { .. }));
    }
    for shape in ["(3, 1)", "(1, 1)", "(18446744073709551615, 18446744073709551615, 9)"] {
        let e = fails("a", npy("'<f4'", "False", shape, &two), &[shape, "8 follow"]);
        assert!(matches!(e, DataError::NpyLength { .. }));
    }
    let nothing = "(0, 18446744073709551615, 18446744073709551615)";
    assert!(matches!(fails("a", npy("'<f4'", "False", nothing, &[]), &[]), DataError::Empty { .. }));
    let nan = [1.0, f32::NAN].map(f32::to_le_bytes).concat();
    let e = fails("a", npy("'<f4'", "False", "(2, 1)", &nan), &["row 2", "`0`", "NaN"]);
    assert!(matches!(e, DataError::NonFinite { .. }));
    for cut in [7, 9, 20] {
        let e = fails("a", &npy("'<f4'", "False", "(1, 2)", &two)[..cut], &["header"]);
        assert!(matches!(e, DataError::NpyHeader { .. }));
    }
    let e = fails("a.npy", "text", &["magic"]);
    assert!(matches!(e, DataError::NpyHeader { .. }));
    let e = fails("a", npy("'<f4'", "False", "(-1, 2)", &two), &["(-1, 2)"]);
    assert!(matches!(e, DataError::NpyHeader { .. }));
}

#[test]
fn a_table_from_memory_is_split_and_standardised_or_refused() {
    let rows: Vec<Vec<f32>> = (0..50).map(|i| vec![i as f32, 3.0 * i as f32 - 7.0]).collect();
    let d = Dataset::of_table("mine", &rows, &DataOptions::default()).unwrap();
    assert_eq!((d.kind, d.dim, d.train.n, d.validation.n, d.test.n), (Kind::Table, 2, 40, 5, 5));
    let s = d.standardise().unwrap();
    let first = d.train.row(0);
    assert!(rows.iter().any(|row| (0..2).all(|k| (s.restored(k, first[k]) - f64::from(row[k])).abs() < 1e-3)));
    let refused = |rows: &[Vec<f32>]| Dataset::of_table("mine", rows, &DataOptions::default()).unwrap_err();
    assert!(matches!(refused(&[]), DataError::Empty { .. }));
    assert!(matches!(refused(&[vec![1.0, 2.0], vec![3.0]]), DataError::Shape { .. }));
    assert!(matches!(refused(&[vec![1.0, 2.0], vec![3.0, f32::NAN]]), DataError::NonFinite { row: 2, .. }));
}

/// A table of 30 rows of `temp`, `flow` and `press` in a dialect.
fn table(delimiter: &str, decimal: char, header: &str) -> String {
    let number = |value: f64| format!("{value:.3}").replace('.', &decimal.to_string());
    let row = |i: u32| {
        let i = f64::from(i);
        [20.0 + i.sin(), -i, 1013.25 + 0.1 * i].map(number).join(delimiter) + "\n"
    };
    header.to_owned() + &(0..30).map(row).collect::<String>()
}

fn with_options(path: &Path, options: &DataOptions) -> Result<Dataset, DataError> {
    load(path.to_str().unwrap(), None, options)
}

/// Calibration rows are taken out of those that train: never twice, and without a change of the other parts.
#[test]
fn calibration_rows_have_a_part_of_their_own() {
    let dir = Dir::new();
    let rows: String = (0..100).map(|i| format!("{i},{}\n", i * i % 11)).collect();
    let plain = dir.put("plain.csv", format!("a,b\n{rows}"));
    let part = |i: usize| ["train", "train", "train", "val", "test"][i % 5];
    let marked: String = (0..100).map(|i| format!("{i},{},{}\n", i * i % 11, part(i))).collect();
    let marked = dir.put("marked.csv", format!("a,b,split\n{marked}"));
    for path in [&plain, &marked] {
        let load = |calibration| {
            load(path.to_str().unwrap(), None, &DataOptions { calibration, ..DataOptions::default() }).unwrap()
        };
        let without = load(CalibrationRows::default());
        assert_eq!(without.calibration, Split::default());
        let with = load(CalibrationRows::Share(0.2));
        assert_eq!((&with.validation.rows, &with.test.rows), (&without.validation.rows, &without.test.rows));
        // A fifth of all rows that have no part, or of those marked `train`.
        assert_eq!(with.calibration.n, if path == &plain { 20 } else { 12 });
        let mut joined = [with.train.rows.as_slice(), &with.calibration.rows].concat();
        let mut all = without.train.rows.clone();
        joined.sort_unstable();
        all.sort_unstable();
        assert_eq!(joined, all);
        assert_eq!(load(CalibrationRows::Share(0.2)).calibration.rows, with.calibration.rows);
        // A small table keeps its rows.
        let large = |small| load(CalibrationRows::ShareOfLarge { share: 0.2, small });
        assert_eq!((large(101).calibration.n, large(10).calibration.n), (0, with.calibration.n));
    }
}

#[test]
fn marked_calibration_rows_are_taken_as_they_are() {
    let dir = Dir::new();
    let marks = ["train", "train", "calibration", "test", "cal"];
    let rows: String = (0..50).map(|i| format!("{i},{},{}\n", u8::from(i == 7), marks[i % 5])).collect();
    let path = dir.put("marked.csv", format!("a,anomaly,split\n{rows}"));
    let options = DataOptions { leave_out_anomalies: true, ..DataOptions::default() };
    let dataset = load(path.to_str().unwrap(), None, &options).unwrap();
    // Row 7 is an anomaly.
    let expected: Vec<usize> = (0..50).filter(|i| [2, 4].contains(&(i % 5)) && *i != 7).collect();
    assert_eq!(dataset.calibration.rows, expected);
    assert!(dataset.notes.iter().any(|note| note.contains("1 calibration rows are left out")), "{:?}", dataset.notes);
}
