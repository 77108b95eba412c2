//! Runs blobs on the host, with the same runtime as on a board.

use elbo::program::ProgramKind;
use elbo::rng::Xoshiro128PlusPlus;
use elbo::{Limits, LoadError, Model, Nats, ProgramInfo, SessionError, VectorInfo};
use rand_core::{Rng, SeedableRng};
use rayon::prelude::*;
use std::io;
use std::path::Path;

use crate::stimulus::{Role, role};

/// A blob in aligned memory.
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

    /// A blob from bytes of any alignment. The bytes are kept unchanged.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut words = vec![0u32; bytes.len().div_ceil(4)];
        bytemuck::cast_slice_mut::<u32, u8>(&mut words)[..bytes.len()].copy_from_slice(bytes);
        Self { words, len: bytes.len() }
    }

    /// Reads a blob from a file.
    ///
    /// # Errors
    /// The errors of reading the file.
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
        let model = self.load(Limits::host())?;
        let Some(info) = model.program(ProgramKind::Score).and_then(|program| program.inputs[0]) else {
            return Ok(Vec::new());
        };
        let score = |arena: &mut HostArena, x: &Vec<f32>| {
            let mut session = model.session(arena.as_mut_slice()).ok()?;
            session.score(&quantize(x, &info)).ok()
        };
        Ok(rows.par_iter().map_init(|| HostArena::new(&model), score).flatten().collect())
    }
}

/// The samples that a board draws from this seed. For a class-conditional model, the classes take turns. `None` if the
/// model cannot sample.
///
/// # Errors
/// The runtime's reason to refuse.
pub fn draws(model: &Model<'_>, count: usize, seed: u64) -> Result<Option<Vec<Vec<f32>>>, SessionError> {
    let kinds = [ProgramKind::Sample, ProgramKind::SampleClass];
    let Some(kind) = kinds.into_iter().find(|kind| model.program(*kind).is_some()) else { return Ok(None) };
    let Some(info) = model.program(kind).and_then(|p| p.outputs[0]) else { return Ok(None) };
    let classes = model.meta().map_or(1, |meta| usize::from(meta.classes).max(1));
    let mut arena = HostArena::new(model);
    let mut session = model.session(arena.as_mut_slice())?;
    let mut rng = Xoshiro128PlusPlus::seed_from_u64(seed);
    let mut samples = Vec::with_capacity(count);
    for index in 0..count {
        let mut out = vec![0; info.len];
        match kind {
            ProgramKind::SampleClass => session.sample_class(index % classes, &mut rng, &mut out)?,
            _ => session.sample(&mut rng, &mut out)?,
        }
        samples.push(dequantize(&out, &info));
    }
    Ok(Some(samples))
}

/// A row of data at the scale of the programs of `model`; empty if no program reads data.
pub fn quantize_row(model: &Model<'_>, x: &[f32]) -> Vec<i16> {
    let infos = ProgramKind::ALL.into_iter().filter_map(|kind| Some((kind, model.program(kind)?)));
    let reads = |(kind, info): (ProgramKind, ProgramInfo)| info.inputs[0].filter(|_| role(kind, 0) == Role::Data);
    infos.filter_map(reads).next().map(|info| quantize(x, &info)).unwrap_or_default()
}

/// The digests of [`SelfTest`](elbo::SelfTest) for a row of data at the scale of the model.
pub fn self_test(model: &Model<'_>, row: &[i16], seed: u64) -> Vec<u8> {
    let mut arena = HostArena::new(model);
    let mut digests = Vec::new();
    let Ok(mut session) = model.session(arena.as_mut_slice()) else { return digests };
    for kind in ProgramKind::ALL {
        let Some(info) = model.program(kind) else { continue };
        let mut rng = Xoshiro128PlusPlus::seed_from_u64(seed);
        let given = info.inputs.iter().flatten().enumerate().map(|(slot, vector)| match role(kind, slot) {
            Role::Data => row.to_vec(),
            _ => (0..vector.len).map(|_| (rng.next_u32() >> 16) as i16).collect(),
        });
        let given: Vec<Vec<i16>> = given.collect();
        let given: Vec<&[i16]> = given.iter().map(Vec::as_slice).collect();
        let mut out: Vec<Vec<i16>> = info.outputs.iter().flatten().map(|vector| vec![0; vector.len]).collect();
        let mut slots: Vec<&mut [i16]> = out.iter_mut().map(Vec::as_mut_slice).collect();
        // The vectors have the lengths that the program declares.
        let nats = session.run(kind, &given, &mut slots, &mut rng).unwrap_or_default().to_bits();
        let scalar = [0, 16, 32, 48].map(|shift| (nats >> shift) as i16);
        let all: Vec<i16> = out.concat().into_iter().chain(scalar).collect();
        digests.extend(elbo::crc32_i16(&all).to_le_bytes());
    }
    digests
}

/// Memory for a session on the host.
#[derive(Debug)]
pub struct HostArena {
    words: Vec<u64>,
}

impl HostArena {
    /// As much memory as `model` needs.
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

/// Converts a program's output to real numbers.
pub fn dequantize(q: &[i16], info: &VectorInfo) -> Vec<f32> {
    q.iter().map(|q| f32::from(*q) / (1u32 << info.frac) as f32).collect()
}
