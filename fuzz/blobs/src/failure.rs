//! Saves failing cases as files.

use crate::{SPACE, write_case};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Saves the blob of `case` in `folder`, creates the folder if necessary, and returns the path.
///
/// # Errors
/// The file cannot be written. The message contains the path.
pub fn save_case(case: u64, folder: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut words = [0; SPACE];
    let len = write_case(case, &mut words);
    let path = folder.join(format!("case-{case}.elbo"));
    std::fs::write(&path, bytemuck::cast_slice(&words[..len]))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
