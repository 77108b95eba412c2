//! Files that are written whole or not at all.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The file beside `path` that is written first.
pub(crate) fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.tmp"))
}

/// Writes a file whole or not at all: to a temporary file beside it, then by renaming.
///
/// # Errors
/// `InvalidInput` for a path without a file name; otherwise the error of the system.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if path.file_name().is_none() {
        let message = format!("{}: expected the path of a file", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let temporary = temporary(path);
    let written = std::fs::File::create(&temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        // The first error is the one to report; the temporary file may not even exist.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write_atomic(&path, b"one").unwrap();
        std::fs::create_dir(temporary(&path)).unwrap();
        assert!(write_atomic(&path, b"two").is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        assert_eq!(write_atomic(Path::new("/"), b"").unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
