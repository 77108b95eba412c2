//! Whole files: formats, windows, split, labels.

mod arrays;
mod files;
mod real;
mod splits;
mod tables;

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
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn npy(descr: &str, shape: &str, body: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut out = super::super::npy::MAGIC.to_vec();
    out.extend([1, 0]);
    out.extend((header.len() as u16).to_le_bytes());
    out.extend(header.as_bytes());
    out.extend(body);
    out
}

/// An array of 16-bit integers.
fn whole(shape: &str, values: impl Iterator<Item = i16>) -> Vec<u8> {
    npy("<i2", shape, &values.flat_map(i16::to_le_bytes).collect::<Vec<u8>>())
}

fn of(window: usize, hop: usize) -> WindowOptions {
    WindowOptions { window, hop, ..WindowOptions::default() }
}

/// All windows, whatever the split.
fn unsplit() -> DataOptions {
    DataOptions { unsplit: true, ..DataOptions::default() }
}

/// Windows that leave anomalies out of training.
fn normal_only() -> DataOptions {
    DataOptions { leave_out_anomalies: true, ..DataOptions::default() }
}

fn load(path: &Path, options: &DataOptions, windows: &WindowOptions) -> Result<Windows, DataError> {
    let found = load_windows(path.to_str().unwrap(), None, options, windows)?;
    let size = found.channels.len() * found.window;
    assert_eq!(found.samples.len(), found.len() * size);
    assert_eq!(found.parts.len(), found.len());
    assert!(found.labels.as_ref().is_none_or(|labels| labels.len() == found.len()));
    assert!(!found.parts.contains(&Part::Unused));
    Ok(found)
}

/// The error of a source, whose message must hold each of `parts`.
fn fails(path: &Path, options: &DataOptions, windows: &WindowOptions, parts: &[&str]) -> DataError {
    let error = load(path, options, windows).unwrap_err();
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    error
}

fn noted(windows: &Windows, part: &str) -> bool {
    windows.notes.iter().any(|note| note.contains(part))
}

/// First samples of the windows.
fn starts(windows: &Windows) -> Vec<usize> {
    windows.starts.iter().map(|place| place.start).collect()
}
