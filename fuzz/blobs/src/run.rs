//! Loads a blob and runs all its programs.

use elbo::program::{ProgramRecord, Tensor};
use elbo::rng::Xoshiro128PlusPlus;
use elbo::{Limits, LoadError, Model, ProgramKind, crc32_i16, crc32_words};
use rand_core::{Rng, SeedableRng};

/// The outcome of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was refused.
    Refused(LoadError),
    /// It was verified, but its arena and vectors do not fit the memory given.
    TooLarge,
    /// It was verified and every program ran.
    Ran {
        /// Checksum of all outputs.
        digest: u32,
        /// Programs that ran.
        programs: u32,
        /// Elementary steps of all programs.
        steps: u64,
    },
}

impl Outcome {
    /// One word that is equal on two machines if they did the same.
    pub fn digest(&self) -> u32 {
        match self {
            Self::Refused(error) => code(*error),
            Self::TooLarge => 0xFF00_0000,
            Self::Ran { digest, .. } => *digest,
        }
    }
}

/// Loads `bytes` with `work_limit` and runs every program on reproducible inputs and noise. `memory` holds the arena
/// and the vectors. It must lie a multiple of eight bytes from the start of an [`elbo::Arena`]; its previous contents
/// have no effect.
///
/// # Panics
/// If a verified program does not run as proved.
pub fn run(bytes: &[u8], work_limit: u64, memory: &mut [i16]) -> Outcome {
    let model = match Model::load(bytes, Limits { max_work: work_limit }) {
        Ok(model) => model,
        Err(error) => return Outcome::Refused(error),
    };
    let arena_len = model.arena_len().checked_next_multiple_of(4);
    let Some((arena, vectors)) = arena_len.and_then(|len| memory.split_at_mut_checked(len)) else {
        return Outcome::TooLarge;
    };
    let mut session = model.session(arena).expect("the arena is large enough and aligned");
    let mut digest = model.meta().map_or(0, |meta| u32::from(meta.latent));
    let (mut programs, mut steps) = (0, 0);
    for kind in ProgramKind::ALL {
        let Some(info) = model.program(kind) else { continue };
        let len = |vector: Option<elbo::VectorInfo>| vector.map_or(0, |vector| vector.len);
        let lengths = [info.inputs[0], info.inputs[1], info.outputs[0], info.outputs[1]].map(len);
        if lengths.iter().sum::<usize>() > vectors.len() {
            return Outcome::TooLarge;
        }
        let (inputs, rest) = vectors.split_at_mut(lengths[0] + lengths[1]);
        let (first, rest) = rest.split_at_mut(lengths[2]);
        let second = &mut rest[..lengths[3]];
        let mut rng = Xoshiro128PlusPlus::seed_from_u64(kind as u64);
        inputs.fill_with(|| (rng.next_u32() >> 16) as i16);
        let (x, other) = inputs.split_at(lengths[0]);
        let nats = session
            .run(kind, &[x, other], &mut [&mut *first, &mut *second], &mut rng)
            .expect("the program is there and the lengths are its own")
            .to_bits();
        assert_eq!(session.steps(), info.work, "{kind:?} did not run to its end");
        for (vector, output) in info.outputs.iter().zip([&*first, &*second]) {
            let bound = vector.map_or(0, |vector| vector.bound);
            assert!(output.iter().all(|q| q.unsigned_abs() <= bound), "{kind:?} gave more than its bound {bound}");
        }
        if let Some(log2) = scalar_bound(&model, kind) {
            let most = 1u64 << log2.min(63);
            assert!(nats.unsigned_abs() <= most, "{kind:?} gave {nats}, more than its bound 2^{log2}");
        }
        let outputs = [crc32_i16(first), crc32_i16(second)];
        digest = crc32_words(&[digest, kind as u32, outputs[0], outputs[1], nats as u32, (nats >> 32) as u32]);
        programs += 1;
        steps += session.steps();
    }
    Outcome::Ran { digest, programs, steps }
}

/// The declared bound of a program's scalar.
fn scalar_bound(model: &Model<'_>, kind: ProgramKind) -> Option<u16> {
    let blob = model.blob();
    let mut records = (0..blob.program_count()).map(|index| ProgramRecord::read(blob.programs(), index));
    let record = records.find(|record| record.kind == kind as u32)?;
    let signature = kind.signature();
    let reference = record.outputs.get(usize::from(signature.vectors)).filter(|_| signature.scalar)?;
    Some(Tensor::read(blob.tensors(), record.tensors_start as usize + usize::from(*reference)).bound)
}

/// The kind of the error in the highest byte, and its index in the others.
fn code(error: LoadError) -> u32 {
    use LoadError as E;
    let (kind, index) = match error {
        E::Misaligned => (1, 0),
        E::Truncated => (2, 0),
        E::NotABlob => (3, 0),
        E::Version { found, .. } => (4, found),
        E::Layout => (5, 0),
        E::Checksum => (6, 0),
        E::Metadata => (7, 0),
        E::MatrixShape { matrix } => (8, matrix.into()),
        E::MatrixLayout { matrix } => (9, matrix.into()),
        E::Padding { matrix } => (10, matrix.into()),
        E::Overflow { matrix, row } => (11, u32::from(matrix) << 12 ^ u32::from(row)),
        E::OutputBound { matrix } => (12, matrix.into()),
        E::ProgramKind { program } => (13, program.into()),
        E::ProgramRange { program } => (14, program.into()),
        E::Signature { program } => (15, program.into()),
        E::Tensor { tensor } => (16, tensor.into()),
        E::TensorPlace { tensor } => (17, tensor.into()),
        E::Lifetime { tensor } => (18, tensor.into()),
        E::Overlap { tensor, with } => (19, u32::from(tensor) << 12 ^ u32::from(with)),
        E::Operation { op } => (20, op.into()),
        E::Operand { op } => (21, op.into()),
        E::NotAlive { op } => (22, op.into()),
        E::Shape { op } => (23, op.into()),
        E::Scale { op } => (24, op.into()),
        E::Bound { op } => (25, op.into()),
        E::Loop { op } => (26, op.into()),
        E::Noise { op } => (27, op.into()),
        E::Work { program } => (28, program.into()),
        E::Unsupported { op } => (29, op.into()),
        E::TooMuchWork { program } => (30, program.into()),
        E::TooManyChecks { program } => (31, program.into()),
        _ => (0xFE, 0),
    };
    kind << 24 | index & 0x00FF_FFFF
}
