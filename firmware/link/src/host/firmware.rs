//! Builds a board's firmware with a model.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::board::Board;
use super::toolchain::bare_cargo;

/// The application of a firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Application {
    /// Answers a host's requests.
    Serve,
    /// Draws samples and prints them as text, forever.
    Generate,
    /// Decodes the latent that belongs to the tilt of the board, and prints it.
    Steer,
    /// Judges the windows of a sensor, or of a recording that a host sends.
    Monitor,
}

impl Application {
    /// Its name, which is also the name of its binaries.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::Generate => "generate",
            Self::Steer => "steer",
            Self::Monitor => "monitor",
        }
    }
}

/// The place of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Placement {
    /// In the firmware's own image.
    Linked(PathBuf),
    /// At an address of its own, separate from the application.
    Apart {
        /// The model at this address. The firmware's memory is sized for it.
        model: PathBuf,
        /// The address.
        address: u32,
        /// Bytes reserved at the address.
        space: u32,
    },
}

impl Placement {
    fn model(&self) -> &Path {
        match self {
            Self::Linked(model) | Self::Apart { model, .. } => model,
        }
    }
}

/// A firmware to build.
#[derive(Clone, Debug)]
pub struct Firmware {
    board: &'static Board,
    application: Application,
    placement: Placement,
    features: Vec<&'static str>,
    package: Option<(&'static str, &'static str)>,
    room: Option<(usize, usize)>,
}

/// A firmware that has been built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The ELF file. Its name depends on its sources, so that different images do not overwrite each other.
    pub path: PathBuf,
    /// A file that must also be written to the flash, and its address.
    pub apart: Option<(PathBuf, u32)>,
}

impl Firmware {
    /// An application for a board with a model.
    #[must_use]
    pub fn new(board: &'static Board, application: Application, placement: Placement) -> Self {
        Self { board, application, placement, features: Vec::new(), package: None, room: None }
    }

    /// Enables a feature of the board's package: `log`, `bench`, `fuzz` or `selftest`.
    #[must_use]
    pub fn feature(mut self, feature: &'static str) -> Self {
        self.features.push(feature);
        self
    }

    /// Builds a binary of another package under `firmware` instead of the board's own application.
    #[must_use]
    pub fn package(mut self, folder: &'static str, binary: &'static str) -> Self {
        self.package = Some((folder, binary));
        self
    }

    /// Reserves memory for larger models than the given one: halfwords of arena, and elements of the inputs or outputs
    /// of a program.
    #[must_use]
    pub fn room(mut self, arena: usize, values: usize) -> Self {
        self.room = Some((arena, values));
        self
    }

    /// Builds the firmware. Cargo's progress is shown on standard error. Nothing is shown if the image is up to date.
    ///
    /// # Errors
    /// There is no toolchain, the model cannot be read, or the compiler fails. The message contains the compiler's
    /// output.
    pub fn build(&self) -> Result<Image> {
        let firmware = firmware_folder();
        let model = fs::canonicalize(self.placement.model())
            .with_context(|| format!("cannot read the model {}", self.placement.model().display()))?;
        let target = firmware.join("target");
        let images = target.join("images");
        fs::create_dir_all(&images).with_context(|| format!("cannot create {}", images.display()))?;
        // Cargo writes all models to one place, so building and copying an image must not be interrupted by another
        // build.
        let lock = fs::File::create(images.join("lock"))?;
        lock.lock()?;

        let application = format!("{}-{}", self.board.name, self.application.name());
        let board_folder = format!("boards/{}", self.board.name);
        let (folder, binary) = self.package.unwrap_or((&board_folder, &application));
        let mut command = bare_cargo()?;
        command
            .current_dir(firmware.join(folder))
            .args(["build", "--release", "--color", "never", "--target", self.board.target, "--bin", binary])
            .arg("--target-dir")
            .arg(&target)
            .env("ELBO_MODEL", &model);
        if !self.features.is_empty() {
            command.args(["--features", &self.features.join(",")]);
        }
        if let Some((arena, values)) = self.room {
            command.env("ELBO_ARENA", arena.to_string()).env("ELBO_VALUES", values.to_string());
        } else {
            command.env_remove("ELBO_ARENA").env_remove("ELBO_VALUES");
        }
        if let Placement::Apart { address, space, .. } = self.placement {
            command.env("ELBO_MODEL_ADDRESS", format!("{address:#x}")).env("ELBO_MODEL_SPACE", space.to_string());
        } else {
            command.env_remove("ELBO_MODEL_ADDRESS").env_remove("ELBO_MODEL_SPACE");
        }
        compile(&mut command, self.board)?;

        let mut hasher = DefaultHasher::new();
        (&self.placement, &self.features, self.room, fs::read(&model)?).hash(&mut hasher);
        let path = images.join(format!("{binary}-{:016x}", hasher.finish()));
        fs::copy(target.join(self.board.target).join("release").join(binary), &path)
            .with_context(|| format!("the compiler has not written {binary}"))?;
        let apart = match self.placement {
            Placement::Linked(_) => None,
            Placement::Apart { address, .. } => Some((model, address)),
        };
        Ok(Image { path, apart })
    }
}

fn compile(command: &mut Command, board: &Board) -> Result<()> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut cargo = command.spawn().context("cannot start cargo")?;
    let mut output = Vec::new();
    if let Some(stderr) = cargo.stderr.take() {
        for line in BufReader::new(stderr).split(b'\n') {
            let line = String::from_utf8_lossy(&line.context("cannot read what cargo prints")?).into_owned();
            if is_progress(&line) {
                eprintln!("{line}");
            }
            output.push(line);
        }
    }
    let status = cargo.wait().context("cannot wait for cargo")?;
    ensure!(status.success(), "the firmware for {} cannot be built:\n{}", board.name, output.join("\n"));
    Ok(())
}

/// Whether this line shows cargo's progress: a word that ends in the twelfth column, followed by its object.
fn is_progress(line: &str) -> bool {
    let Some((status, object)) = line.split_at_checked(12) else { return false };
    let word = status.trim_start();
    let named =
        word.starts_with(|first: char| first.is_ascii_uppercase()) && word.bytes().all(|b| b.is_ascii_alphabetic());
    named && word != "Finished" && object.starts_with(' ')
}

/// The folder `firmware` of the repository that this crate was built from.
fn firmware_folder() -> PathBuf {
    let link = Path::new(env!("CARGO_MANIFEST_DIR"));
    link.parent().map_or_else(|| link.to_path_buf(), Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_is_not_there_is_named() {
        let board = Board::find("microbit").unwrap();
        let placement = Placement::Linked("/nonexistent/model.elbo".into());
        let error = Firmware::new(board, Application::Serve, placement).build().unwrap_err();
        assert!(error.to_string().contains("/nonexistent/model.elbo"), "{error}");
    }

    #[test]
    fn work_is_told_and_the_rest_is_kept_for_the_error() {
        for line in ["   Compiling cortex-m v0.7.7", " Downloading crates ...", "    Blocking waiting for file lock"] {
            assert!(is_progress(line), "{line}");
        }
        for line in [
            "    Finished `release` profile [optimized + debuginfo] target(s) in 0.03s",
            "error[E0425]: cannot find value `x` in this scope",
            "  --> boards/microbit/src/board.rs:3:5",
            "   |",
            "12 | static MODEL: u8 = 3;",
            "",
        ] {
            assert!(!is_progress(line), "{line}");
        }
    }
}
