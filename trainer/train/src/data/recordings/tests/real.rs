//! Real recordings, where the folder of data has them.

use super::*;

fn present(name: &str) -> Option<PathBuf> {
    let found = std::env::var_os("ELBO_DATA").map(|dir| Path::new(&dir).join(name)).filter(|path| path.exists());
    if found.is_none() {
        eprintln!("skipped: ELBO_DATA is not set, or has no {name}");
    }
    found
}

#[test]
fn vibration_of_a_fan() {
    let Some(path) = present("fan_vibration") else { return };
    let w = load(&path, &normal_only(), &WindowOptions { rate: Some(200.0), ..of(128, 72) }).unwrap();
    assert_eq!((w.channels.len(), w.recordings.len(), w.len(), w.frac), (3, 2915, 2 * 2915, 0), "{:?}", w.notes);
    let count = |part: Part| w.of(part).count();
    assert_eq!((count(Part::Train), count(Part::Validation), count(Part::Test)), (2098, 350, 3382));
    assert_eq!(w.labels.unwrap().iter().sum::<u32>(), 2 * (580 + 584));
    assert!(load(&path.join("x.npy.gz"), &normal_only(), &of(200, 200)).unwrap().len() == 2915);
}

#[test]
fn heart_beats() {
    let Some(path) = present("ecg_mitbih/beats_x.npy.gz") else { return };
    let aami = DataOptions { label_column: Some("aami".into()), ..normal_only() };
    let w = load(&path, &aami, &WindowOptions { normal: vec!["N".into()], ..of(128, 128) }).unwrap();
    assert_eq!((w.channels.len(), w.recordings.len(), w.frac), (1, 51001, 0), "{:?}", w.notes);
    let count = |part: Part| w.of(part).count();
    assert_eq!((count(Part::Train) + count(Part::Validation), count(Part::Test)), (15_564, 33_898), "{:?}", w.notes);
    assert!((0.15..0.25).contains(&(count(Part::Validation) as f64 / 15_564.0)));
    assert_eq!(w.labels.unwrap().iter().sum::<u32>(), 262 + 6 + 669 + 2678);
}

#[test]
fn a_stream_of_one_heart() {
    let Some(path) = present("ecg_mitbih/raw208_360hz.npy.gz") else { return };
    let w = load(&path, &DataOptions::default(), &WindowOptions { rate: Some(360.0), ..of(512, 256) }).unwrap();
    assert_eq!((w.channels.len(), w.recordings[0].samples, w.frac), (2, 650_000, 0), "{:?}", w.notes);
    assert_eq!(w.of(Part::Train).count(), (390_000 - 512) / 256 + 1);
}

#[test]
fn tables_with_times_of_several_forms() {
    if let Some(path) = present("nab/machine_temperature.csv.gz") {
        // An hour of January 2014 stands there twice.
        let w = load(&path, &normal_only(), &of(24, 12)).unwrap();
        assert_eq!((w.rate, w.recordings[0].segments), (Some(rounded(1.0 / 300.0)), 2), "{:?}", w.notes);
        let even = WindowOptions { rate: Some(1.0 / 300.0), ..of(24, 12) };
        let drop = DataOptions { drop_columns: vec!["timestamp".into()], ..normal_only() };
        let w = load(&path, &drop, &even).unwrap();
        assert_eq!((w.channels.join(" "), w.recordings[0].segments), ("value".to_owned(), 1), "{:?}", w.notes);
    }
    if let Some(path) = present("ims_bearing/test2_meanabs.csv.gz") {
        let w = load(&path, &DataOptions::default(), &of(16, 4)).unwrap();
        assert_eq!((w.channels.len(), w.rate), (4, Some(rounded(1.0 / 600.0))), "{:?}", w.notes);
    }
}

/// To six digits.
fn rounded(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap()
}
