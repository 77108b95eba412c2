//! A verified blob.

use crate::blob::Blob;
use crate::error::LoadError;
use crate::meta::{Meta, Reading, Windows};
use crate::ops::record::Operand;
use crate::ops::scope::Scope;
use crate::program::{ProgramKind, ProgramRecord};
use crate::verify::{Proof, verify};

/// Limits that the caller sets for a model. They have no default, because only the author of a firmware knows how long a
/// run may take: `elbo compile` and `elbo inspect` print the work of every program.
///
/// ```
/// // A run may take at most a tenth of a second, and this board does ten million steps a second.
/// let limits = elbo::Limits { max_work: 1_000_000 };
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest number of elementary steps (multiply-accumulates and elements touched) of one run of any program. A
    /// machine of 32 bits counts less than 2^32 - 1 of them in any case.
    pub max_work: u64,
}

impl Limits {
    /// For tools on a computer: 2^40 steps, which take minutes there. A microcontroller would take hours.
    pub const fn host() -> Self {
        Self { max_work: 1 << 40 }
    }
}

/// An input or output vector of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VectorInfo {
    /// Number of elements.
    pub len: usize,
    /// Fractional bits: a value is `q 2^-frac`.
    pub frac: u32,
    /// Largest |q|; inputs are clamped to it.
    pub bound: u16,
}

impl VectorInfo {
    fn new(tensor: Operand<'_>) -> Self {
        Self { len: tensor.len() as usize, frac: tensor.frac(), bound: tensor.bound() }
    }
}

/// The inputs, outputs and cost of one program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramInfo {
    /// The input vectors.
    pub inputs: [Option<VectorInfo>; 2],
    /// The output vectors.
    pub outputs: [Option<VectorInfo>; 2],
    /// Whether the program also returns a scalar in nats.
    pub scalar: bool,
    /// Elementary steps of a run.
    pub work: u64,
    /// Multiply-accumulates of a run.
    pub macs: u64,
}

/// A blob all of whose programs are proved: they end after a known amount of work, stay within the arena and do not
/// overflow.
///
/// What was proved is kept in RAM, in less than 200 bytes: the work of every program, the arena that they need and the
/// places of the sections. If the blob's memory changes while the model is in use, a run may give wrong numbers, but it
/// still ends within the proved work and stays within the arena. A run that departs from the proved work ends with
/// [`SessionError::Changed`](crate::SessionError::Changed).
#[derive(Clone, Copy, Debug)]
// With the proof first, a copy has two parts of at most 64 bytes. The compiler calls `memcpy` for more, which takes 1 KB of
// flash in a firmware that does not need it otherwise.
#[repr(C)]
pub struct Model<'b> {
    proof: Proof,
    blob: Blob<'b>,
}

impl<'b> Model<'b> {
    /// Reads a blob in place and proves it. This takes time linear in the length of the blob, and allocates no memory.
    ///
    /// # Errors
    /// A [`LoadError`] that names the first fault.
    pub fn load(bytes: &'b [u8], limits: Limits) -> Result<Self, LoadError> {
        let blob = Blob::parse(bytes)?;
        let mut proof = Proof::none();
        verify(&blob, limits.max_work, &mut proof)?;
        Ok(Self { blob, proof })
    }

    /// The blob's checksum, which tells it from other blobs. It detects accidents, and no attack.
    pub fn checksum(&self) -> u32 {
        self.blob.checksum()
    }

    /// Halfwords of arena that a session needs: the end of the last tensor. A blob may declare more.
    pub fn arena_len(&self) -> usize {
        self.proof.arena_len as usize
    }

    /// The same proof over other contents of the blob, as if its flash had changed after the proof; `None` if there are
    /// fewer words than before. For tests and fuzzers.
    #[doc(hidden)]
    pub fn changed(&self, words: &'b [u32]) -> Option<Self> {
        crate::exact::forgo();
        Some(Self { blob: self.blob.over(words)?, proof: self.proof })
    }

    /// The sections of the blob, for tools that inspect it.
    pub fn blob(&self) -> &Blob<'b> {
        &self.blob
    }

    /// The model's description.
    ///
    /// # Errors
    /// [`LoadError::Metadata`] if the description cannot be decoded. The programs can be run nevertheless.
    pub fn meta(&self) -> Result<Meta<'b>, LoadError> {
        postcard::from_bytes(self.blob.meta()).map_err(|_| LoadError::Metadata)
    }

    /// How the rows of the model's data are read, or `None` for a model that reads none, and for a blob that does not say.
    ///
    /// # Errors
    /// [`LoadError::Metadata`] if the description or what follows it cannot be decoded.
    pub fn reading(&self) -> Result<Option<Reading<'b>>, LoadError> {
        Ok(self.read()?.0)
    }

    /// How windows are cut for a model with a front end, or `None` for a model without one.
    ///
    /// # Errors
    /// [`LoadError::Metadata`] if the description or what follows it cannot be decoded.
    pub fn windows(&self) -> Result<Option<Windows<'b>>, LoadError> {
        Ok(self.read()?.1)
    }

    /// What follows the description.
    fn read(&self) -> Result<(Option<Reading<'b>>, Option<Windows<'b>>), LoadError> {
        let (_, rest) = take::<Meta<'b>>(self.blob.meta())?;
        if rest.is_empty() {
            return Ok((None, None));
        }
        let (reading, rest) = take(rest)?;
        let windows = if rest.is_empty() { None } else { Some(take(rest)?.0) };
        Ok((Some(reading), windows))
    }

    /// The inputs, outputs and cost of a program, or `None` if the model does not contain it.
    pub fn program(&self, kind: ProgramKind) -> Option<ProgramInfo> {
        let (record, scope) = self.find(kind)?;
        let signature = kind.signature();
        let vectors = |refs: [u16; 2], used: u8| {
            let vector = |slot: u8, tensor: u16| (slot < used).then(|| VectorInfo::new(scope.tensor(tensor)));
            [vector(0, refs[0]), vector(1, refs[1])]
        };
        Some(ProgramInfo {
            inputs: vectors(record.inputs, signature.inputs),
            outputs: vectors(record.outputs, signature.vectors),
            scalar: signature.scalar,
            work: self.proof.work(kind) as u64,
            macs: record.macs,
        })
    }

    pub(crate) fn find(&self, kind: ProgramKind) -> Option<(ProgramRecord, Scope<'b>)> {
        for index in 0..self.blob.program_count() {
            let record = ProgramRecord::read(self.blob.programs(), index);
            if record.kind == kind as u32 {
                return Some((record, self.blob.scope(&record)?));
            }
        }
        None
    }

    /// A copy, part by part. A copy of more than 64 bytes at once calls `memcpy`, which takes 900 bytes of flash in a
    /// firmware that does not need it otherwise.
    #[inline(always)]
    pub(crate) fn in_parts(&self) -> Self {
        Self { blob: self.blob, proof: self.proof }
    }

    pub(crate) fn work(&self, kind: ProgramKind) -> usize {
        self.proof.work(kind)
    }
}

/// Decodes a value, and returns what follows it.
fn take<'b, T: serde::Deserialize<'b>>(bytes: &'b [u8]) -> Result<(T, &'b [u8]), LoadError> {
    postcard::take_from_bytes(bytes).map_err(|_| LoadError::Metadata)
}
