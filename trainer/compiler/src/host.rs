//! Runs blobs on the host, with the same runtime as on a board.

use elbo::program::{ProgramKind, Role};
use elbo::{Limits, LoadError, Model, Nats, Noise, ProgramInfo, Session, SessionError, VectorInfo};
use rand_core::Rng;
use rayon::prelude::*;
use std::io;
use std::path::Path;

use crate::stimulus::generator;

/// Why a blob cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The runtime refuses the blob.
    #[error("the blob is refused: {0}")]
    Refused(#[from] LoadError),
    /// The runtime refuses to run a program.
    #[error(transparent)]
    Session(#[from] SessionError),
}

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

    /// The deterministic score of every row of data, in the order of `rows`. Empty if the model has no such program.
    ///
    /// # Errors
    /// [`RunError::Refused`] if the blob is refused, [`RunError::Session`] if a row has another length than the model
    /// reads.
    pub fn scores(&self, rows: &[Vec<f32>]) -> Result<Vec<Nats>, RunError> {
        let model = self.load(Limits::host())?;
        let kind = ProgramKind::Score;
        let Some(info) = model.program(kind).and_then(|program| program.inputs[0]) else {
            return Ok(Vec::new());
        };
        let score = |runner: &mut Runner<'_>, x: &Vec<f32>| -> Result<Nats, RunError> {
            // This program draws no noise, so the generator has no effect.
            Ok(runner.run(kind, &[quantize(x, &info)], &mut generator(0))?.nats())
        };
        rows.par_iter().map_init(|| Runner::new(&model), score).collect()
    }
}

/// What one run of a program returns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outputs {
    /// The output vectors, at the scales that the program declares.
    pub vectors: Vec<Vec<i16>>,
    /// The scalar, if the program has one.
    pub scalar: Option<Nats>,
}

impl Outputs {
    /// The scalar, or 0 if the program has none.
    pub fn nats(&self) -> Nats {
        self.scalar.unwrap_or_default()
    }
}

/// A model together with the memory that it needs. It runs programs of any kind.
#[derive(Debug)]
pub struct Runner<'b> {
    model: Model<'b>,
    arena: HostArena,
}

impl<'b> Runner<'b> {
    /// Reserves the memory that `model` needs.
    pub fn new(model: &Model<'b>) -> Self {
        Self { model: *model, arena: HostArena::new(model) }
    }

    /// The model.
    pub fn model(&self) -> &Model<'b> {
        &self.model
    }

    /// A session in the reserved memory.
    ///
    /// # Errors
    /// None: the memory is as large as the model needs.
    pub fn session(&mut self) -> Result<Session<'b, '_>, SessionError> {
        self.model.session(self.arena.as_mut_slice())
    }

    /// Runs the program of this kind once. `inputs` are at the scales that the program declares, and values outside its
    /// ranges are clamped. A program that draws no noise leaves `noise` unchanged.
    ///
    /// # Errors
    /// [`SessionError::ProgramAbsent`] if the model has no such program, [`SessionError::InputLength`] if an input has
    /// another length than the program reads.
    pub fn run(
        &mut self,
        kind: ProgramKind,
        inputs: &[Vec<i16>],
        noise: &mut dyn Noise,
    ) -> Result<Outputs, SessionError> {
        let info = self.model.program(kind).ok_or(SessionError::ProgramAbsent)?;
        let inputs: Vec<&[i16]> = inputs.iter().map(Vec::as_slice).collect();
        let mut vectors: Vec<Vec<i16>> = info.outputs.iter().flatten().map(|vector| vec![0; vector.len]).collect();
        let mut slots: Vec<&mut [i16]> = vectors.iter_mut().map(Vec::as_mut_slice).collect();
        let nats = self.model.session(self.arena.as_mut_slice())?.run(kind, &inputs, &mut slots, noise)?;
        Ok(Outputs { vectors, scalar: info.scalar.then_some(nats) })
    }
}

/// The samples that a board draws from this seed. For a class-conditional model, the classes take turns. `None` if the
/// model cannot sample.
///
/// # Errors
/// The runtime's reason to refuse.
pub fn draws(model: &Model<'_>, count: usize, seed: u64) -> Result<Option<Vec<Vec<f32>>>, SessionError> {
    let available = |kind: ProgramKind| Some((kind, model.program(kind)?));
    let Some((kind, info)) = [ProgramKind::Sample, ProgramKind::SampleClass].into_iter().find_map(available) else {
        return Ok(None);
    };
    let (mut runner, mut rng) = (Runner::new(model), generator(seed));
    let draw = |index: usize| {
        // The only input that one of these programs has is the class.
        let classes: Vec<Vec<i16>> = info.inputs.iter().flatten().map(|classes| one_hot(index, classes.len)).collect();
        let drawn = runner.run(kind, &classes, &mut rng)?;
        Ok(drawn.vectors.iter().zip(info.outputs.iter().flatten()).flat_map(|(q, info)| dequantize(q, info)).collect())
    };
    (0..count).map(draw).collect::<Result<_, _>>().map(Some)
}

/// Class `index` of `classes`, counted around, as a one-hot vector. Its one is clamped to the range of the program.
fn one_hot(index: usize, classes: usize) -> Vec<i16> {
    (0..classes).map(|class| if class == index % classes { i16::MAX } else { 0 }).collect()
}

/// The format in which the programs of `model` read a row of data, or `None` if no program reads one.
pub fn row_format(model: &Model<'_>) -> Option<VectorInfo> {
    let mut readers = ProgramKind::ALL.into_iter().filter(|kind| kind.input_roles().first() == Some(&Role::Data));
    readers.find_map(|kind| model.program(kind)?.inputs[0])
}

/// A row of data at the scale of the programs of `model`; empty if no program reads data.
pub fn quantize_row(model: &Model<'_>, x: &[f32]) -> Vec<i16> {
    row_format(model).map(|info| quantize(x, &info)).unwrap_or_default()
}

/// Inputs for a program of this kind: `row` where it reads data, and arbitrary numbers from `rng` elsewhere.
pub fn inputs_with(row: &[i16], kind: ProgramKind, info: &ProgramInfo, rng: &mut impl Rng) -> Vec<Vec<i16>> {
    let of_input = |(role, vector): (&Role, &VectorInfo)| match role {
        Role::Data => row.to_vec(),
        Role::Features | Role::Latent | Role::Class | Role::Mask => {
            (0..vector.len).map(|_| (rng.next_u32() >> 16) as i16).collect()
        }
    };
    kind.input_roles().iter().zip(info.inputs.iter().flatten()).map(of_input).collect()
}

/// The digests of [`SelfTest`](elbo::SelfTest) for a row of data at the scale of the model.
///
/// # Errors
/// [`SessionError::InputLength`] if the row has another length than the model reads.
pub fn self_test(model: &Model<'_>, row: &[i16], seed: u64) -> Result<Vec<u8>, SessionError> {
    let mut runner = Runner::new(model);
    let mut digests = Vec::new();
    for kind in ProgramKind::ALL {
        let Some(info) = model.program(kind) else { continue };
        let mut rng = generator(seed);
        let given = inputs_with(row, kind, &info, &mut rng);
        let outputs = runner.run(kind, &given, &mut rng)?;
        let nats = outputs.nats().to_bits();
        let scalar = [0, 16, 32, 48].map(|shift| (nats >> shift) as i16);
        let all: Vec<i16> = outputs.vectors.concat().into_iter().chain(scalar).collect();
        digests.extend(elbo::crc32_i16(&all).to_le_bytes());
    }
    Ok(digests)
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

#[cfg(test)]
mod tests {
    use super::*;
    use elbo::program::Opcode;
    use elbo_writer::BlobWriter;

    /// A score of half the sum of squares of two values, and a draw of one of three classes.
    fn blob() -> Blob {
        let mut writer = BlobWriter::new();
        let written = writer.program(ProgramKind::Score, |p| {
            let x = p.input(2, 12, 4096)?;
            let score = p.scalar(Opcode::HalfSumSq, &[x], 0)?;
            p.outputs(&[score])
        });
        written.unwrap();
        let written = writer.program(ProgramKind::SampleClass, |p| {
            let class = p.input(3, 14, 16384)?;
            let y = p.map(Opcode::Relu, &[class], 14, 0)?;
            p.outputs(&[y])
        });
        written.unwrap();
        Blob::from_words(writer.finish())
    }

    #[test]
    fn every_row_has_a_score_or_is_refused() {
        let scores = blob().scores(&[vec![1.0, 0.0], vec![1.0, 1.0]]).unwrap();
        assert_eq!(scores.iter().map(|score| score.to_f64()).collect::<Vec<_>>(), [0.5, 1.0]);
        let wrong = blob().scores(&[vec![1.0, 0.0], vec![1.0]]).unwrap_err();
        let expected = SessionError::InputLength { expected: 2, given: 1 };
        assert!(matches!(wrong, RunError::Session(error) if error == expected), "{wrong}");
    }

    #[test]
    fn classes_take_turns() {
        let blob = blob();
        let drawn = draws(&blob.load(Limits::host()).unwrap(), 4, 1).unwrap().unwrap();
        assert_eq!(drawn, [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]);
    }

    #[test]
    fn a_program_that_is_absent_is_refused() {
        let blob = blob();
        let model = blob.load(Limits::host()).unwrap();
        let run = |kind, inputs: &[Vec<i16>]| Runner::new(&model).run(kind, inputs, &mut generator(0));
        assert_eq!(run(ProgramKind::Decode, &[]), Err(SessionError::ProgramAbsent));
        let outputs = run(ProgramKind::Score, &[vec![4096, 0]]).unwrap();
        assert_eq!((outputs.vectors.len(), outputs.scalar), (0, Some(Nats::from_bits(1 << 15))));
        let outputs = run(ProgramKind::SampleClass, &[vec![0, 9, 0]]).unwrap();
        assert_eq!((outputs.vectors, outputs.scalar), (vec![vec![0, 9, 0]], None));
    }
}
