//! The boards for which there is firmware.

use anyhow::{Result, bail};

/// How a board runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Means {
    /// Runs on `qemu-system-arm`, which emulates this machine.
    Emulator {
        /// The name of the machine in QEMU.
        machine: &'static str,
    },
    /// Runs on real hardware behind a debug probe.
    Probe {
        /// The name of the chip in probe-rs.
        chip: &'static str,
    },
}

/// A board under `firmware/boards`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Board {
    /// Its name, which is also the name of its folder and package.
    pub name: &'static str,
    /// The processor core.
    pub core: &'static str,
    /// The compiler's target.
    pub target: &'static str,
    /// Whether it is emulated or real.
    pub means: Means,
    /// Bytes of flash.
    pub flash: u32,
    /// Bytes of RAM.
    pub ram: u32,
    /// Whether its kernels need weights packed for the DSP extension.
    pub dsp: bool,
}

/// All boards.
static BOARDS: [Board; 5] = [
    Board {
        name: "mps2-an386",
        core: "Cortex-M4",
        target: "thumbv7em-none-eabi",
        means: Means::Emulator { machine: "mps2-an386" },
        flash: 4 << 20,
        ram: 4 << 20,
        dsp: true,
    },
    Board {
        name: "mps2-an500",
        core: "Cortex-M7",
        target: "thumbv7em-none-eabihf",
        means: Means::Emulator { machine: "mps2-an500" },
        flash: 4 << 20,
        ram: 4 << 20,
        dsp: true,
    },
    Board {
        name: "mps2-an505",
        core: "Cortex-M33",
        target: "thumbv8m.main-none-eabi",
        means: Means::Emulator { machine: "mps2-an505" },
        flash: 4 << 20,
        ram: 4 << 20,
        dsp: true,
    },
    Board {
        name: "microbit",
        core: "Cortex-M0",
        target: "thumbv6m-none-eabi",
        means: Means::Emulator { machine: "microbit" },
        flash: 256 << 10,
        ram: 16 << 10,
        dsp: false,
    },
    Board {
        name: "pico",
        core: "Cortex-M0+",
        target: "thumbv6m-none-eabi",
        means: Means::Probe { chip: "RP2040" },
        flash: 2 << 20,
        ram: 264 << 10,
        dsp: false,
    },
];

impl Board {
    /// All boards.
    #[must_use]
    pub fn all() -> &'static [Self] {
        &BOARDS
    }

    /// The board with this name.
    ///
    /// # Errors
    /// If there is none. The message lists all boards.
    pub fn find(name: &str) -> Result<&'static Self> {
        if let Some(board) = BOARDS.iter().find(|board| board.name == name) {
            return Ok(board);
        }
        let known: Vec<String> = BOARDS.iter().map(|board| format!("{} ({})", board.name, board.core)).collect();
        bail!("there is no board `{name}`. The boards are {}.", known.join(", "))
    }

    /// Whether the board can run here without hardware.
    #[must_use]
    pub fn emulated(&self) -> bool {
        matches!(self.means, Means::Emulator { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::toolchain::TARGETS;
    use std::path::Path;

    #[test]
    fn an_unknown_board_is_answered_with_the_known_ones() {
        let error = Board::find("arduino").unwrap_err().to_string();
        assert!(error.contains("`arduino`"), "{error}");
        for board in Board::all() {
            assert!(error.contains(board.name), "{error}");
            assert_eq!(Board::find(board.name).unwrap(), board);
        }
    }

    #[test]
    fn every_board_has_its_folder_and_its_target() {
        let boards = Path::new(env!("CARGO_MANIFEST_DIR")).join("../boards");
        for board in Board::all() {
            let manifest = std::fs::read_to_string(boards.join(board.name).join("Cargo.toml")).unwrap();
            assert!(manifest.contains(&format!("name = \"{}\"", board.name)), "{}", board.name);
            let config = std::fs::read_to_string(boards.join(board.name).join(".cargo/config.toml")).unwrap();
            assert!(config.contains(&format!("target = \"{}\"", board.target)), "{}", board.name);
            assert!(TARGETS.contains(&board.target), "{}", board.target);
        }
    }
}
