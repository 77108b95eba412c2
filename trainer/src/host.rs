//! Running blobs on the host, with the very runtime that a board runs.

use elbo::program::ProgramKind;
use elbo::{Limits, LoadError, Model, Nats, VectorInfo};
use rayon::prelude::*;
use std::io;
use std::path::Path;

/// A blob in memory, aligned.
#[derive(Clone, Debug, PartialEq)]
pub struct Blob {
    words: Vec<u32>,
    len: usize,
}

impl Blob {
    /// A blob from its words.
    pub fn from_words(words: Vec<u32>) -> Self {
        let len = words.len() * 4;
        Self { words, len }
    }

    /// A blob from bytes of any alignment, kept as they are.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut words = vec![0u32; bytes.len().div_ceil(4)];
        bytemuck::cast_slice_mut::<u32, u8>(&mut words)[..bytes.len()].copy_from_slice(bytes);
        Self { words, len: bytes.len() }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// What reading it gives.
    pub fn read(path: &Path) -> io::Result<Self> {
        Ok(Self::from_bytes(&std::fs::read(path)?))
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.len]
    }

    /// Proves the blob.
    ///
    /// # Errors
    /// The runtime's reason to refuse it.
    pub fn load(&self, limits: Limits) -> Result<Model<'_>, LoadError> {
        Model::load(self.bytes(), limits)
    }

    /// Deterministic scores of rows of x.
    ///
    /// # Errors
    /// The runtime's reason to refuse the blob.
    pub fn scores(&self, rows: &[Vec<f32>]) -> Result<Vec<Nats>, LoadError> {
        let model = self.load(Limits::default())?;
        let Some(info) = model.program(ProgramKind::Score).and_then(|program| program.input) else {
            return Ok(Vec::new());
        };
        let score = |arena: &mut HostArena, x: &Vec<f32>| {
            let mut session = model.session(arena.as_mut_slice()).ok()?;
            session.score(&quantize(x, &info)).ok()
        };
        Ok(rows.par_iter().map_init(|| HostArena::new(&model), score).flatten().collect())
    }
}

/// Memory for a session on the host.
#[derive(Debug)]
pub struct HostArena {
    words: Vec<u64>,
}

impl HostArena {
    /// As much as `model` needs.
    pub fn new(model: &Model<'_>) -> Self {
        Self { words: vec![0; model.arena_len().div_ceil(4)] }
    }

    /// The halfwords.
    pub fn as_mut_slice(&mut self) -> &mut [i16] {
        bytemuck::cast_slice_mut(&mut self.words)
    }
}

/// Rounds real numbers to a program's input, clamped to its range.
pub fn quantize(x: &[f32], info: &VectorInfo) -> Vec<i16> {
    let bound = f32::from(info.bound.min(32767));
    x.iter().map(|v| (v * (1u32 << info.frac) as f32).round().clamp(-bound, bound) as i16).collect()
}

/// The real numbers that a program's output stands for.
pub fn dequantize(q: &[i16], info: &VectorInfo) -> Vec<f32> {
    q.iter().map(|q| f32::from(*q) / (1u32 << info.frac) as f32).collect()
}
