//! One run folder, one process: the file `elbo.lock` of a run folder is locked while a process trains into it.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use super::RunError;

/// The file that is locked. It holds the number of the process that trains, or trained last.
pub(super) const LOCK: &str = "elbo.lock";

/// A run folder that this process alone writes to. The operating system ends the lock with the process, however the
/// process ends.
#[derive(Debug)]
pub(super) struct Lock {
    /// Dropping it ends the lock.
    _file: File,
}

impl Lock {
    /// Locks an existing folder.
    ///
    /// # Errors
    /// `Held` if another process has locked it, `Write` if the file cannot be written.
    pub(super) fn take(folder: &Path) -> Result<Self, RunError> {
        let path = folder.join(LOCK);
        let fail = |source: io::Error| RunError::Write { path: path.clone(), source };
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(fail)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(held(folder, file)),
            // Some network file systems have no locks.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(fail(error)),
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(fail)?;
        writeln!(file, "{}", std::process::id()).map_err(fail)?;
        Ok(Self { _file: file })
    }

    /// Says whether another process has locked a folder, without a trace in it.
    ///
    /// # Errors
    /// `Held`.
    pub(super) fn probe(folder: &Path) -> Result<(), RunError> {
        let Ok(file) = File::open(folder.join(LOCK)) else { return Ok(()) };
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Err(held(folder, file)),
            Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
        }
    }
}

fn held(folder: &Path, mut file: File) -> RunError {
    let mut number = String::new();
    // The number is only for the message.
    let _ = file.read_to_string(&mut number);
    let holder = match number.trim() {
        "" => "another process".to_owned(),
        number => format!("process {number}"),
    };
    RunError::Held { path: folder.to_owned(), holder }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_names_the_holder_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = Lock::take(dir.path()).unwrap();
        let refused = Lock::take(dir.path()).unwrap_err().to_string();
        assert_eq!(Lock::probe(dir.path()).unwrap_err().to_string(), refused);
        assert!(refused.contains(&std::process::id().to_string()) && refused.contains("--out"), "{refused}");
        drop(first);
        Lock::probe(dir.path()).unwrap();
        Lock::take(dir.path()).unwrap();
    }

    #[test]
    fn a_file_that_a_killed_process_left_locks_nothing() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(LOCK), "123456789\n").unwrap();
        Lock::take(dir.path()).unwrap();
        let holder = std::fs::read_to_string(dir.path().join(LOCK)).unwrap();
        assert_eq!(holder.trim(), std::process::id().to_string());
    }
}
