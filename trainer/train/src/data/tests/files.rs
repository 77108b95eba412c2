//! Formats and dialects of files.

use super::*;

#[test]
fn text_tables_are_read_in_every_dialect() {
    let dir = Dir::new();
    let whole = from_path(&dir.put("plain.csv", table(",", '.', "temp,flow,press\n"))).unwrap();
    let utf_16: Vec<u8> =
        table(",", '.', "\u{feff}temp,flow,press\n").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let names = ["temp", "flow", "press"];
    for (name, bytes, named) in [
        ("semicolon.csv", table(";", '.', "temp;flow;press\n").into_bytes(), true),
        ("german.csv", table(";", ',', "temp;flow;press\r\n").into_bytes(), true),
        ("german-without.csv", table(";", ',', "").into_bytes(), false),
        ("tabs.tsv", table("\t", ',', "temp\tflow\tpress\n").into_bytes(), true),
        ("pipe.txt", table("|", '.', "temp|flow|press\n").into_bytes(), true),
        ("blanks.txt", table("   ", '.', "").into_bytes(), false),
        ("blanks-named.txt", table(" ", '.', "# temp flow press\n").into_bytes(), true),
        ("comments.csv", table(",", '.', "# by a logger\n# site 7\ntemp,flow,press\n").into_bytes(), true),
        ("separator.csv", table(";", '.', "sep=;\ntemp;flow;press\n").into_bytes(), true),
        ("units.csv", table(",", '.', "temp,flow,press\nC,l/s,hPa\n").into_bytes(), true),
        ("trailing.csv", table(",", '.', "temp,flow,press\n").replace('\n', ",\n").into_bytes(), true),
        ("utf16.csv", utf_16, true),
    ] {
        let d = from_path(&dir.put(name, bytes)).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(d.train, whole.train, "{name}: {:?}", d.notes);
        assert_eq!(d.reading.columns, if named { &names[..] } else { &[] }, "{name}");
    }
    let units = from_path(&dir.0.path().join("units.csv")).unwrap();
    assert_eq!(units.reading.units, ["C", "l/s", "hPa"]);
    // What is stated is not guessed.
    let options = DataOptions { delimiter: Some(";".into()), decimal: Some(",".into()), ..DataOptions::default() };
    assert_eq!(with_options(&dir.0.path().join("german.csv"), &options).unwrap().train, whole.train);
    let options = DataOptions { header: Some(false), ..DataOptions::default() };
    let e = with_options(&dir.0.path().join("plain.csv"), &options).unwrap_err();
    assert!(matches!(e, DataError::NotNumeric { line: 1, .. }), "{e}");
}

#[test]
fn npy_arrays_in_fortran_order_and_halves() {
    let dir = Dir::new();
    let rows: Vec<f32> = (0..60).map(|i| (i * i % 17) as f32).collect();
    let c: Vec<u8> = rows.iter().flat_map(|v| v.to_le_bytes()).collect();
    let fortran: Vec<u8> =
        (0..3).flat_map(|j| (0..20).map(move |i| 3 * i + j)).flat_map(|at| rows[at].to_le_bytes()).collect();
    let halves: Vec<u8> = rows.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect();
    let want = from_path(&dir.put("c.npy", npy("'<f4'", "False", "(20, 3)", &c))).unwrap();
    for (name, bytes) in
        [("f.npy", npy("'<f4'", "True", "(20, 3)", &fortran)), ("h.npy", npy("'<f2'", "False", "(20, 3)", &halves))]
    {
        assert_eq!(from_path(&dir.put(name, bytes)).unwrap().train, want.train, "{name}");
    }
    // [2, 2, 3] by columns: element (i, j, k) is stored at i + 2 j + 4 k.
    let stored: Vec<u8> = (0..12).collect();
    let path = dir.put("g.npy", npy("'|u1'", "True", "(2, 2, 3)", &stored));
    let array = npy::parse(&path, &fs::read(&path).unwrap()).unwrap();
    let expected: Vec<f64> = (0..12).map(|at| f64::from(at / 6 + 2 * (at / 3 % 2) + 4 * (at % 3))).collect();
    assert_eq!(array.values.iter().collect::<Vec<_>>(), expected);
}

#[test]
fn archives_of_arrays() {
    let dir = Dir::new();
    let x = |n: usize, from: u8| npy("'|u1'", "False", &format!("({n}, 2, 2)"), &vec![from; 4 * n]);
    let y = |n: usize| {
        npy("'<i8'", "False", &format!("({n},)"), &(0..n as i64).flat_map(i64::to_le_bytes).collect::<Vec<_>>())
    };
    let names = npy("'<U3'", "False", "(2,)", &[0; 24]);
    let path = dir.put("a.npz", npz::archive(&[("X.npy", x(20, 255)), ("y.npy", y(20)), ("names.npy", names)]));
    let d = from_path(&path).unwrap();
    assert_eq!((d.kind, d.shape, d.train.n, d.classes()), (Kind::Image, [2, 2], 16, 20));
    for (at, place) in d.train.rows.iter().enumerate() {
        assert_eq!(d.train.labels.as_ref().unwrap()[at] as usize, *place);
    }
    let four = [("x_train.npy", x(8, 255)), ("y_train.npy", y(8)), ("x_test.npy", x(3, 0)), ("y_test.npy", y(3))];
    let options = DataOptions { validation_fraction: 0.0, ..DataOptions::default() };
    let d = with_options(&dir.put("keras.npz", npz::archive(&four)), &options).unwrap();
    assert_eq!((d.train.n, d.test.n, d.test.x[0], d.test.labels.unwrap().len()), (8, 3, 0.0, 3));
    let two = [("a.npy", x(3, 1)), ("b.npy", x(3, 2))];
    let e = fails("two.npz", npz::archive(&two), &["a [3, 2, 2], b [3, 2, 2]", "`x`"]);
    assert!(matches!(e, DataError::Archive { .. }));
    let e = fails("book.xlsx", npz::archive(&[("xl/workbook.xml", b"<x/>".to_vec())]), &["an Excel workbook"]);
    assert!(matches!(e, DataError::UnknownFormat { .. }));
    let whole = npz::archive(&[("X.npy", x(20, 255))]);
    for cut in [10, whole.len() / 2, whole.len() - 3] {
        assert!(from_path(&dir.put("cut.npz", &whole[..cut])).is_err());
    }
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_and_arrow_columns() {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float64Array, Int16Array, RecordBatch, StringArray};

    let dir = Dir::new();
    let plain = table(",", '.', "temp,flow,press\n");
    let text = plain.replacen("press\n", "press,anomaly\n", 1);
    let text: String = text
        .lines()
        .enumerate()
        .map(|(i, line)| {
            if i == 0 {
                format!("{line}\n")
            } else {
                format!("{line},{}\n", if i % 10 == 0 { "fault" } else { "normal" })
            }
        })
        .collect();
    let csv = from_path(&dir.put("t.csv", &text)).unwrap();
    let column = |at: usize| -> Vec<f64> {
        plain.lines().skip(1).map(|line| line.split(',').nth(at).unwrap().parse().unwrap()).collect()
    };
    let states = (1..=30).map(|i| if i % 10 == 0 { "fault" } else { "normal" });
    let batch = |flow: ArrayRef| {
        let columns: [(&str, ArrayRef); 4] = [
            ("temp", Arc::new(Float64Array::from(column(0)))),
            ("flow", flow),
            ("press", Arc::new(Float64Array::from(column(2)))),
            ("anomaly", Arc::new(StringArray::from_iter_values(states.clone()))),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    };
    let whole: Vec<i16> = column(1).iter().map(|v| *v as i16).collect();
    let flow: ArrayRef = Arc::new(Int16Array::from(whole.clone()));
    let parquet = |batch: &RecordBatch| {
        let mut out = Vec::new();
        let mut writer = ::parquet::arrow::ArrowWriter::try_new(&mut out, batch.schema(), None).unwrap();
        writer.write(batch).unwrap();
        writer.close().unwrap();
        out
    };
    let arrow = |batch: &RecordBatch| {
        let mut out = Vec::new();
        let mut writer = arrow_ipc::writer::FileWriter::try_new(&mut out, &batch.schema()).unwrap();
        writer.write(batch).unwrap();
        writer.finish().unwrap();
        drop(writer);
        out
    };
    for bytes in [parquet(&batch(flow.clone())), arrow(&batch(flow.clone()))] {
        let d = from_path(&dir.put("t.data", &bytes)).unwrap();
        assert_eq!((&d.train, &d.test), (&csv.train, &csv.test));
        assert_eq!(
            (d.reading.columns.join(" "), d.reading.class_names.join(" ")),
            ("temp flow press".into(), "normal fault".into())
        );
        for cut in [6, bytes.len() / 2, bytes.len() - 5] {
            assert!(from_path(&dir.put("cut", &bytes[..cut])).is_err(), "cut at {cut}");
        }
    }
    // Damaged files are refused or read, whatever the library makes of them.
    for whole in [parquet(&batch(flow.clone())), arrow(&batch(flow.clone()))] {
        for at in (0..whole.len()).step_by(5) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x55;
            if damaged.starts_with(super::super::parquet::PARQUET) || damaged.starts_with(super::super::parquet::ARROW)
            {
                let _ = super::super::parquet::parse(Path::new("damaged"), damaged, &|_| false);
            }
        }
    }
    let gap: ArrayRef = Arc::new(Int16Array::from_iter(whole.iter().enumerate().map(|(i, v)| (i != 4).then_some(*v))));
    let e = from_path(&dir.put("gap", parquet(&batch(gap)))).unwrap_err();
    assert!(matches!(&e, DataError::NotNumeric { line: 5, column, .. } if column == "flow"), "{e}");
}
