//! Reads the model of the firmware and sizes the firmware's memory for it.

use std::path::{Path, PathBuf};
use std::{env, fs};

use elbo::{Limits, Model, ProgramKind, VectorInfo};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let model = variable("ELBO_MODEL").map(PathBuf::from);
    let sizes = match &model {
        Some(path) => Some(Sizes::of(path)?),
        None => None,
    };
    let arena = match (number("ELBO_ARENA")?, &sizes) {
        (Some(arena), _) => arena,
        (None, Some(sizes)) => sizes.arena,
        (None, None) => {
            return Err("set ELBO_MODEL to a compiled model (*.elbo), or ELBO_ARENA and ELBO_VALUES to sizes".into());
        }
    };
    let values = match (number("ELBO_VALUES")?, &sizes) {
        (Some(values), _) => values,
        (None, Some(sizes)) => sizes.values,
        (None, None) => {
            return Err("ELBO_MODEL is not set, so ELBO_VALUES must say how long inputs and outputs may be".into());
        }
    };
    let [ring, window, features] = sizes.map_or([0; 3], |sizes| sizes.monitor);
    let mut source = format!(
        "/// Halfwords of arena.\npub const ARENA: usize = {arena};\n\
         /// Elements of a program's inputs together, and of its outputs.\npub const VALUES: usize = {values};\n\
         /// Halfwords of the samples of a window and a hop, for a monitor; 0 for a model without a front end.\n\
         pub const RING: usize = {ring};\n\
         /// Halfwords of a window.\npub const WINDOW: usize = {window};\n\
         /// Features of a window.\npub const FEATURES: usize = {features};\n"
    );
    let script = match (number("ELBO_MODEL_ADDRESS")?, &model) {
        (Some(address), _) => {
            let space = number("ELBO_MODEL_SPACE")?.unwrap_or(256 << 10);
            source += &at_address(address, space);
            format!(
                "ASSERT(ORIGIN(FLASH) + LENGTH(FLASH) <= {address:#x} || __sidata + (__edata - __sdata) <= {address:#x} \
                 || ORIGIN(FLASH) >= {address:#x} + {space:#x}, \"the application reaches into the model's flash\");\n"
            )
        }
        (None, Some(path)) => {
            source += &linked(&fs::canonicalize(path)?)?;
            "SECTIONS { .elbo_model : ALIGN(16) { KEEP(*(.elbo_model)) } > FLASH } INSERT AFTER .rodata;\n".into()
        }
        (None, None) => {
            return Err("set ELBO_MODEL to a compiled model, or ELBO_MODEL_ADDRESS to where one will be".into());
        }
    };
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    fs::write(out.join("model.rs"), source)?;
    fs::write(out.join("elbo.x"), script)?;
    println!("cargo::rustc-link-search={}", out.display());
    println!("cargo::rerun-if-changed=build.rs");
    Ok(())
}

struct Sizes {
    arena: usize,
    values: usize,
    /// Halfwords of the ring and of a window, and number of features.
    monitor: [usize; 3],
}

impl Sizes {
    fn of(path: &Path) -> Result<Self, Failure> {
        println!("cargo::rerun-if-changed={}", path.display());
        let bytes = fs::read(path).map_err(|error| format!("ELBO_MODEL={}: {error}", path.display()))?;
        // A vector of words, because the runtime requires alignment.
        let words: Vec<u32> = bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let aligned: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let model = Model::load(&aligned, Limits::host())
            .map_err(|error| format!("ELBO_MODEL={}: the model is refused: {error}", path.display()))?;
        let values = ProgramKind::ALL.into_iter().filter_map(|kind| model.program(kind)).map(|program| {
            let total =
                |vectors: [Option<VectorInfo>; 2]| vectors.iter().flatten().map(|vector| vector.len).sum::<usize>();
            total(program.inputs).max(total(program.outputs))
        });
        let windows = model.windows().map_err(|error| format!("ELBO_MODEL={}: {error}", path.display()))?;
        let monitor = windows.map_or([0; 3], |windows| {
            let (channels, window) = (usize::from(windows.channels), usize::from(windows.window));
            let features = model.program(ProgramKind::ScoreFeatures).and_then(|program| program.inputs[0]);
            let hop = (windows.hop as usize).min(window);
            [channels * (window + hop), channels * window, features.map_or(0, |row| row.len)]
        });
        Ok(Self { arena: model.arena_len(), values: values.max().unwrap_or(0), monitor })
    }
}

fn linked(path: &Path) -> Result<String, Failure> {
    let length = fs::metadata(path)?.len();
    Ok(format!(
        "#[repr(C, align(16))]\nstruct Aligned([u8; {length}]);\n\
         #[unsafe(link_section = \".elbo_model\")]\n\
         static MODEL: Aligned = Aligned(*include_bytes!({path:?}));\n\
         /// The model's blob. Opaque to the optimiser, which would otherwise build a firmware for this blob alone.\n\
         pub fn blob() -> &'static [u8] {{\n    core::hint::black_box(&MODEL.0)\n}}\n"
    ))
}

fn at_address(address: usize, space: usize) -> String {
    format!(
        "/// The flash that is reserved for a model's blob.\n\
         pub fn blob() -> &'static [u8] {{\n    \
         // SAFETY: the linker script keeps the application out of these {space} bytes of flash, and nothing writes to\n    \
         // them while it runs.\n    \
         unsafe {{ core::slice::from_raw_parts(core::hint::black_box({address:#x} as *const u8), {space:#x}) }}\n}}\n"
    )
}

fn variable(name: &str) -> Option<String> {
    println!("cargo::rerun-if-env-changed={name}");
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Reads a number that is decimal, or hexadecimal after `0x`.
fn number(name: &str) -> Result<Option<usize>, Failure> {
    let Some(text) = variable(name) else { return Ok(None) };
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => usize::from_str_radix(&digits.replace('_', ""), 16),
        None => text.replace('_', "").parse(),
    };
    parsed.map(Some).map_err(|_| format!("{name}={text} is not a number").into())
}
