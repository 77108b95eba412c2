//! A verified blob.

use crate::blob::Blob;
use crate::error::LoadError;
use crate::meta::{Meta, Reading};
use crate::ops::scope::Scope;
use crate::program::{ProgramKind, ProgramRecord, Tensor};
use crate::verify::verify;

/// Limits that the caller sets for a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest number of elementary steps (multiply-accumulates and elements touched) of one run of any program.
    pub max_work: u64,
}

impl Default for Limits {
    /// 2^40 steps, which take hours on a microcontroller. Set a limit of your own if a run must end in time.
    fn default() -> Self {
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
    fn new(tensor: &Tensor) -> Self {
        Self { len: tensor.len as usize, frac: u32::from(tensor.frac), bound: tensor.bound }
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
#[derive(Clone, Copy, Debug)]
pub struct Model<'b> {
    blob: Blob<'b>,
}

impl<'b> Model<'b> {
    /// Reads a blob in place and proves it. This takes time linear in the length of the blob, and allocates no memory.
    ///
    /// # Errors
    /// A [`LoadError`] that names the first fault.
    pub fn load(bytes: &'b [u8], limits: Limits) -> Result<Self, LoadError> {
        let blob = Blob::parse(bytes)?;
        verify(&blob, limits.max_work)?;
        Ok(Self { blob })
    }

    /// Halfwords of arena that a session needs.
    pub fn arena_len(&self) -> usize {
        self.blob.arena_len() as usize
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
        let (_, rest) = postcard::take_from_bytes::<Meta<'b>>(self.blob.meta()).map_err(|_| LoadError::Metadata)?;
        if rest.is_empty() {
            return Ok(None);
        }
        postcard::from_bytes(rest).map(Some).map_err(|_| LoadError::Metadata)
    }

    /// The inputs, outputs and cost of a program, or `None` if the model does not contain it.
    pub fn program(&self, kind: ProgramKind) -> Option<ProgramInfo> {
        let (record, scope) = self.find(kind)?;
        let signature = kind.signature();
        let vectors = |refs: [u16; 2], used: u8| {
            let vector = |slot: u8, tensor: u16| (slot < used).then(|| VectorInfo::new(&scope.tensor(tensor)));
            [vector(0, refs[0]), vector(1, refs[1])]
        };
        Some(ProgramInfo {
            inputs: vectors(record.inputs, signature.inputs),
            outputs: vectors(record.outputs, signature.vectors),
            scalar: signature.scalar,
            work: record.work,
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
}
