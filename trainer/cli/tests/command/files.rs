//! Files of data as people have them: what was taken for what is said, other files are read as the model's own, and a mistake
//! gets one line.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::{elbo, fails, succeeds, text};

/// 200 rows of three columns that follow one another.
fn rows(path: &Path, header: &str, order: [usize; 3]) -> PathBuf {
    let mut table = header.to_owned();
    for i in 0..200 {
        let t = f64::from(i) * 0.7;
        let row = [20.0 + t.sin(), 3.0 * t.cos(), 1013.0 + 2.0 * t.sin() + 0.1 * (3.0 * t).cos()];
        let row = order.map(|at| format!("{:.4}", row[at]));
        writeln!(table, "{}", row.join(",")).unwrap();
    }
    std::fs::write(path, table).unwrap();
    path.to_owned()
}

/// Trains for some steps and compiles.
fn compiled(dir: &Path, data: &Path, options: &[&str]) -> PathBuf {
    let (run, blob) = (dir.join("run"), dir.join("model.elbo"));
    let train = ["train", "--data", text(data), "--hidden", "8", "--latent", "1", "--out", text(&run)];
    succeeds(&[&train, options].concat());
    succeeds(&["compile", text(&run), "-o", text(&blob)]);
    blob
}

/// The mean of the scores of all rows.
fn mean(blob: &Path, data: &Path) -> f64 {
    let said = succeeds(&["score", text(blob), "--data", text(data)]);
    let after = said.split_once("mean ").unwrap_or_else(|| panic!("{said}")).1;
    after.split([',', ' ']).next().unwrap().parse().unwrap_or_else(|e| panic!("{e}: {said}"))
}

/// An array of 32-bit floats as NumPy saves it.
fn npy(path: &Path, shape: &str, values: impl Iterator<Item = f32>) -> PathBuf {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values.flat_map(f32::to_le_bytes));
    std::fs::write(path, bytes).unwrap();
    path.to_owned()
}

#[test]
fn columns_are_matched_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let data = rows(&file("t.csv"), "temp,flow,press\n", [0, 1, 2]);
    let blob = compiled(dir.path(), &data, &["--steps", "200"]);
    let own = mean(&blob, &data);
    let swapped = rows(&file("swapped.csv"), "press,temp,flow\n", [2, 0, 1]);
    assert!((mean(&blob, &swapped) - own).abs() < 1e-6);
    let bare = rows(&file("bare.csv"), "", [0, 1, 2]);
    assert!((mean(&blob, &bare) - own).abs() < 1e-6);
    let said = succeeds(&["score", text(&blob), "--data", text(&bare)]);
    assert!(said.contains("no header") && said.contains("temp, flow, press"), "{said}");
    let renamed = rows(&file("renamed.csv"), "temp_F,flow,press\n", [0, 1, 2]);
    fails(&["score", text(&blob), "--data", text(&renamed)], &["`temp`", "temp, flow, press", "temp_F"]);
    let german = std::fs::read_to_string(&data).unwrap().replace(',', ";").replace('.', ",");
    std::fs::write(file("german.csv"), german).unwrap();
    assert!((mean(&blob, &file("german.csv")) - own).abs() < 1e-6);
    fails(&["score", text(&blob)], &["--data is required"]);
    fails(&["score", text(&blob), "--data", "digits"], &["rows of 64 values", "takes 3"]);
}

#[test]
fn one_value_does_not_make_images_a_table() {
    let dir = tempfile::tempdir().unwrap();
    let value = |i: usize| ((i * 37 % 101) as f32 / 100.0).powi(2);
    let data = npy(&dir.path().join("train.npy"), "(120, 6, 6)", (0..120 * 36).map(value));
    let blob = compiled(dir.path(), &data, &["--steps", "20", "--kind", "image"]);
    let bright = |i: usize| if i == 77 { 1.02 } else { value(i) };
    let bright = npy(&dir.path().join("bright.npy"), "(20, 6, 6)", (0..20 * 36).map(bright));
    fails(&["score", text(&blob), "--data", text(&bright)], &["row 3, value 5", "1.02", "--clamp"]);
    let said = succeeds(&["score", text(&blob), "--data", text(&bright), "--clamp"]);
    assert!(said.contains("1 of 720 values") && said.contains("20 rows"), "{said}");
    // The same floats are a table where nothing says otherwise, and stay one with a negative value.
    let table = dir.path().join("table");
    std::fs::create_dir(&table).unwrap();
    let blob = compiled(&table, &data, &["--steps", "100"]);
    let quiet = npy(&dir.path().join("quiet.npy"), "(20, 6, 6)", (0..20 * 36).map(value));
    let negative = |i: usize| if i == 77 { -0.01 } else { value(i) };
    let negative = npy(&dir.path().join("negative.npy"), "(20, 6, 6)", (0..20 * 36).map(negative));
    assert!((mean(&blob, &quiet) - mean(&blob, &negative)).abs() < 0.5);
}

#[test]
fn data_that_have_moved_can_be_named_again() {
    let dir = tempfile::tempdir().unwrap();
    let data = rows(&dir.path().join("t.csv"), "temp,flow,press\n", [0, 1, 2]);
    let run = dir.path().join("run");
    let blob = dir.path().join("t.elbo");
    let (run, blob) = (text(&run), text(&blob));
    succeeds(&["train", "--data", text(&data), "--steps", "3", "--out", run]);
    let moved = dir.path().join("elsewhere.csv");
    std::fs::rename(&data, &moved).unwrap();
    fails(&["compile", run, "-o", blob], &["t.csv", "not found", "--data"]);
    fails(&["eval", run], &["t.csv", "--data"]);
    fails(&["train", "--resume", run], &["t.csv", "--data"]);
    succeeds(&["compile", run, "-o", blob, "--data", text(&moved)]);
    succeeds(&["eval", run, "--data", text(&moved), "--binarisations", "1"]);
    succeeds(&["train", "--resume", run, "--data", text(&moved)]);
    succeeds(&["train", "--resume", run, "--data", "elsewhere.csv", "--data-dir", text(dir.path())]);
    fails(&["train", "--resume", run, "--data", text(&moved), "--steps", "9"], &["--resume", "train.steps"]);
    let other = rows(&dir.path().join("other.csv"), "temp,flow,press\n", [1, 0, 2]);
    fails(&["eval", run, "--data", text(&other)], &["has changed", "--data"]);
}

#[test]
fn a_file_in_the_place_of_a_recipe_gets_advice() {
    let dir = tempfile::tempdir().unwrap();
    let data = rows(&dir.path().join("t.csv"), "temp,flow,press\n", [0, 1, 2]);
    fails(&["train", text(&data)], &["no recipe", &format!("--data {}", text(&data))]);
    fails(&["train", "absent.npy"], &["--data absent.npy"]);
}

#[test]
fn labels_that_are_no_classes_are_refused_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let data = dir.path().join("ids.csv");
    let row = |i: u64| format!("{},{},{}\n", i % 7, i % 5, 4_000_000_000u64 + i);
    std::fs::write(&data, "a,b,label\n".to_owned() + &(0..60).map(row).collect::<String>()).unwrap();
    let train = ["train", "--data", text(&data), "--out", text(&out)];
    for family in [&["--conditional"][..], &["--family", "adgm"], &["--family", "sdgm"]] {
        fails(&[&train, family].concat(), &["`data.label_column`", "at most 1000 classes", "too many classes"]);
    }
    succeeds(&[&train[..], &["--steps", "2"]].concat());
}

#[test]
fn rows_that_are_too_wide_to_compile_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let data = npy(&dir.path().join("wide.npy"), "(30, 16500)", (0..30 * 16_500).map(|i| (i * 37 % 1013) as f32));
    let (run, blob) = (dir.path().join("run"), dir.path().join("wide.elbo"));
    let train = ["train", "--data", text(&data), "--steps", "2", "--hidden", "4", "--latent", "1", "--out", text(&run)];
    assert!(succeeds(&train).contains("rows of 16500 values are wider than 16384"));
    fails(&["compile", text(&run), "-o", text(&blob)], &["rows of 16500 values", "at most 16384", "--drop-columns"]);
}

#[test]
fn columns_of_text_are_all_named_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("t.csv");
    let row = |i: u32| format!("t{i},{},\"a, b\",{},{}\n", i % 7, i.is_multiple_of(2), i % 5);
    std::fs::write(&data, "time,a,\"site, hall\",on,b\n".to_owned() + &(0..60).map(row).collect::<String>()).unwrap();
    let out = dir.path().join("run");
    let train = ["train", "--data", text(&data), "--steps", "2", "--out", text(&out)];
    fails(&train, &["line 2", "`time`", "`t0`", "--drop-columns 'time,\"site, hall\"'"]);
    let said = succeeds(&[&train[..], &["--drop-columns", "time,\"site, hall\""]].concat());
    assert!(said.contains("3 columns: a, on, b"), "{said}");
}

#[test]
fn no_backtrace_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("odd.idx");
    let mut bytes = vec![0, 0, 8, 3];
    bytes.extend([40u32, 5, 7].iter().flat_map(|n| n.to_be_bytes()));
    bytes.extend((0..40 * 35).map(|i| (i % 251) as u8));
    std::fs::write(&data, bytes).unwrap();
    let out = dir.path().join("run");
    let arguments = ["train", "--data", text(&data), "--conv", "4,8", "--out", text(&out)];
    let output = elbo(&arguments).env("RUST_BACKTRACE", "1").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let lines: Vec<&str> =
        said.lines().filter(|line| line.starts_with("elbo: ") || !line.contains(text(&data))).collect();
    assert_eq!(lines.len(), 1, "{said}");
}
