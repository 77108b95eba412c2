//! The container: a fixed header, sections of fixed-size records, metadata and constants, all read in place.
//!
//! ```text
//! word  0  magic "ELBO"          6  tensors           header (12 words)
//!       1  format version        7  operations        programs   12 words each
//!       2  length in words       8  matrices          tensors     4 words each
//!       3  CRC-32 of words 4..   9  metadata bytes    operations  4 words each
//!       4  arena, halfwords     10  data words        matrices    6 words each
//!       5  programs             11  0                 metadata    postcard, zero-padded to a word
//!                                                     data        row parameters and weights, in matrix order
//! ```
//! Words are little-endian. Sections follow each other without gaps, so the header needs only their counts.
//! `docs/blob-format.md` is the specification.

use crate::crc::crc32_words;
use crate::error::LoadError;
use crate::ops::record::{MATRIX_WORDS, OP_WORDS, PROGRAM_WORDS, ProgramRecord, TENSOR_WORDS, word};
use crate::ops::scope::Scope;

#[cfg(target_endian = "big")]
compile_error!("blobs are read in place as little-endian words");

/// "ELBO" as a little-endian word.
pub const MAGIC: u32 = u32::from_le_bytes(*b"ELBO");
/// The version of the format that this runtime reads.
pub const FORMAT_VERSION: u32 = 3;
/// Number of words of the header.
pub const HEADER_WORDS: usize = 12;
/// First word that the checksum covers.
pub const CHECKED_FROM: usize = 4;
/// Largest number of programs, tensors, operations or matrices in a blob.
pub const MAX_RECORDS: u32 = 4096;

/// A blob with a valid container: magic, version, lengths and checksum are right. The contents of its sections are not
/// proved.
///
/// It keeps where its sections are, so that the header is not read again.
#[derive(Clone, Copy, Debug)]
pub struct Blob<'b> {
    arena_len: u32,
    programs: &'b [u32],
    tensors: &'b [u32],
    ops: &'b [u32],
    matrices: &'b [u32],
    meta: &'b [u8],
    data: &'b [u32],
}

impl<'b> Blob<'b> {
    /// The records that `record` names, or `None` if they are out of range.
    pub(crate) fn scope(&self, record: &ProgramRecord) -> Option<Scope<'b>> {
        Some(Scope {
            ops: records(self.ops(), record.ops_start, record.ops_len, OP_WORDS)?,
            tensors: records(self.tensors(), record.tensors_start, record.tensors_len, TENSOR_WORDS)?,
            matrices: self.matrices(),
            data: self.data(),
            arena_len: self.arena_len(),
            tensors_start: record.tensors_start as u16,
            ops_start: record.ops_start as u16,
        })
    }

    /// Reads the container from the start of `bytes`. Bytes after it are ignored, for example the rest of an erased
    /// flash page.
    ///
    /// # Errors
    /// [`LoadError::Misaligned`], [`Truncated`](LoadError::Truncated), [`NotABlob`](LoadError::NotABlob),
    /// [`Version`](LoadError::Version), [`Layout`](LoadError::Layout) or [`Checksum`](LoadError::Checksum).
    #[inline(never)]
    pub fn parse(bytes: &'b [u8]) -> Result<Self, LoadError> {
        let whole = bytes.len() & !3;
        let words: &'b [u32] =
            bytemuck::try_cast_slice(bytes.get(..whole).unwrap_or_default()).map_err(|_| LoadError::Misaligned)?;
        if words.len() < HEADER_WORDS {
            return Err(LoadError::Truncated);
        }
        if word(words, 0) != MAGIC {
            return Err(LoadError::NotABlob);
        }
        let version = word(words, 1);
        if version != FORMAT_VERSION {
            return Err(LoadError::Version { found: version, supported: FORMAT_VERSION });
        }
        let length = word(words, 2) as usize;
        if length < HEADER_WORDS {
            return Err(LoadError::Layout);
        }
        let words = words.get(..length).ok_or(LoadError::Truncated)?;
        if crc32_words(words.get(CHECKED_FROM..).unwrap_or_default()) != word(words, 3) {
            return Err(LoadError::Checksum);
        }
        Self::divide(words).ok_or(LoadError::Layout)
    }

    /// Divides the words of a blob into its sections. `None` if they do not fill it exactly.
    fn divide(words: &'b [u32]) -> Option<Self> {
        let (header, mut rest) = words.split_first_chunk::<HEADER_WORDS>()?;
        let [.., arena_len, programs, tensors, ops, matrices, meta_len, data_len, reserved] = *header;
        let mut section = |count: u32, size: usize| {
            let len = (count as usize).wrapping_mul(size);
            let (section, after) = rest.split_at_checked(len).filter(|_| count <= MAX_RECORDS)?;
            rest = after;
            Some(section)
        };
        let programs = section(programs, PROGRAM_WORDS)?;
        let tensors = section(tensors, TENSOR_WORDS)?;
        let ops = section(ops, OP_WORDS)?;
        let matrices = section(matrices, MATRIX_WORDS)?;
        let (meta, data) = rest.split_at_checked(meta_len.div_ceil(4) as usize)?;
        let meta = bytemuck::cast_slice(meta).get(..meta_len as usize)?;
        let exact = data.len() == data_len as usize && reserved == 0;
        exact.then_some(Self { arena_len, programs, tensors, ops, matrices, meta, data })
    }

    /// The sections in the same places of other words; `None` if there are too few. It stands for a flash that changed,
    /// in tests.
    pub(crate) fn in_place_of(&self, words: &'b [u32]) -> Option<Self> {
        let mut rest = words.get(HEADER_WORDS..)?;
        let mut section = |len: usize| {
            let (section, after) = rest.split_at_checked(len)?;
            rest = after;
            Some(section)
        };
        let [programs, tensors, ops, matrices] =
            [self.programs, self.tensors, self.ops, self.matrices].map(|old| section(old.len()));
        let meta = bytemuck::cast_slice(section(self.meta.len().div_ceil(4))?).get(..self.meta.len())?;
        let data = section(self.data.len())?;
        let (programs, tensors, ops, matrices) = (programs?, tensors?, ops?, matrices?);
        Some(Self { arena_len: self.arena_len, programs, tensors, ops, matrices, meta, data })
    }

    /// Halfwords of an arena that is large enough for every program, as the header declares it.
    pub fn arena_len(&self) -> u32 {
        self.arena_len
    }

    /// Program records.
    pub fn programs(&self) -> &'b [u32] {
        self.programs
    }

    /// Tensor records of all programs.
    pub fn tensors(&self) -> &'b [u32] {
        self.tensors
    }

    /// Operation records of all programs.
    pub fn ops(&self) -> &'b [u32] {
        self.ops
    }

    /// Matrix records.
    pub fn matrices(&self) -> &'b [u32] {
        self.matrices
    }

    /// postcard-encoded [`Meta`](crate::Meta).
    pub fn meta(&self) -> &'b [u8] {
        self.meta
    }

    /// Row parameters and weights.
    pub fn data(&self) -> &'b [u32] {
        self.data
    }

    /// Number of programs.
    pub fn program_count(&self) -> usize {
        self.programs.len() / PROGRAM_WORDS
    }

    /// Number of matrices.
    pub fn matrix_count(&self) -> usize {
        self.matrices.len() / MATRIX_WORDS
    }
}

/// `len` records of `size` words, starting at record `start`.
#[inline(never)]
fn records(words: &[u32], start: u32, len: u32, size: usize) -> Option<&[u32]> {
    let count = words.len() / size;
    let end = start.checked_add(len).filter(|end| *end as usize <= count)?;
    words.get(start as usize * size..end as usize * size)
}
