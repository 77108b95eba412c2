//! A verified blob.

use crate::blob::Blob;
use crate::error::{LoadError, SessionError};
use crate::meta::Meta;
use crate::program::{ProgramKind, ProgramRecord, Tensor};
use crate::session::Session;
use crate::verify::{Scope, verify};

/// What the caller allows a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most elementary steps (multiply-accumulates and elements touched) of one run of any program.
    pub max_work: u64,
}

impl Default for Limits {
    /// 2^40 steps: hours on a microcontroller. Set your own where a run must end in time.
    fn default() -> Self {
        Self { max_work: 1 << 40 }
    }
}

/// A vector that goes into or comes out of a program.
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

/// What one program takes, gives and costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramInfo {
    /// The input vectors.
    pub inputs: [Option<VectorInfo>; 2],
    /// The output vectors.
    pub outputs: [Option<VectorInfo>; 2],
    /// Whether a scalar in nats comes out too.
    pub scalar: bool,
    /// Elementary steps of a run.
    pub work: u64,
    /// Multiply-accumulates of a run.
    pub macs: u64,
}

/// A blob whose every program is proved to run to its end within the arena, without overflow, in known work.
#[derive(Clone, Copy, Debug)]
pub struct Model<'b> {
    blob: Blob<'b>,
}

impl<'b> Model<'b> {
    /// Reads a blob in place and proves it. Takes time linear in the blob and no memory.
    ///
    /// # Errors
    /// A [`LoadError`] that names the first thing that does not hold.
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
    /// [`LoadError::Metadata`] when it does not decode; the programs run all the same.
    pub fn meta(&self) -> Result<Meta<'b>, LoadError> {
        postcard::from_bytes(self.blob.meta()).map_err(|_| LoadError::Metadata)
    }

    /// What a program takes, gives and costs; nothing when the model does not carry it.
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

    /// A session over `arena`, whose contents do not matter and are not kept.
    ///
    /// # Errors
    /// [`SessionError::ArenaTooSmall`], [`SessionError::ArenaMisaligned`].
    pub fn session<'a>(&self, arena: &'a mut [i16]) -> Result<Session<'b, 'a>, SessionError> {
        Session::new(*self, arena)
    }

    pub(crate) fn find(&self, kind: ProgramKind) -> Option<(ProgramRecord, Scope<'b>)> {
        for index in 0..self.blob.program_count() {
            let record = ProgramRecord::read(self.blob.programs(), index);
            if record.kind == kind as u32 {
                return Some((record, Scope::new(&self.blob, &record)?));
            }
        }
        None
    }
}
