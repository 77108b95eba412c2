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
//! Words are little-endian. Sections follow each other without gaps, so that counts are all that the header holds.
//! `docs/blob-format.md` is the specification.

use crate::crc::crc32_words;
use crate::error::LoadError;
use crate::program::{MATRIX_WORDS, OP_WORDS, PROGRAM_WORDS, TENSOR_WORDS, word};

#[cfg(target_endian = "big")]
compile_error!("blobs are read in place as little-endian words");

/// "ELBO" in the order of its bytes.
pub const MAGIC: u32 = u32::from_le_bytes(*b"ELBO");
/// The version of the format that this runtime reads.
pub const FORMAT_VERSION: u32 = 1;
/// Number of words of the header.
pub const HEADER_WORDS: usize = 12;
/// First word under the checksum.
pub const CHECKED_FROM: usize = 4;
/// Most programs, tensors, operations or matrices in a blob.
pub const MAX_RECORDS: u32 = 4096;

/// The sections of a blob whose container is intact: magic, version, lengths and checksum. What they hold is not proved yet.
#[derive(Clone, Copy, Debug)]
pub struct Blob<'b> {
    /// Halfwords of the arena that every program fits in.
    pub arena_len: u32,
    /// Program records.
    pub programs: &'b [u32],
    /// Tensor records of all programs.
    pub tensors: &'b [u32],
    /// Operation records of all programs.
    pub ops: &'b [u32],
    /// Matrix records.
    pub matrices: &'b [u32],
    /// postcard-encoded [`Meta`](crate::Meta).
    pub meta: &'b [u8],
    /// Row parameters and weights.
    pub data: &'b [u32],
}

impl<'b> Blob<'b> {
    /// Reads the container of `bytes`, which may be followed by anything (an erased flash page, say).
    ///
    /// # Errors
    /// [`LoadError::Misaligned`], [`Truncated`](LoadError::Truncated), [`NotABlob`](LoadError::NotABlob),
    /// [`Version`](LoadError::Version), [`Layout`](LoadError::Layout) or [`Checksum`](LoadError::Checksum).
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
        Self::sections(words).ok_or(LoadError::Layout)
    }

    fn sections(words: &'b [u32]) -> Option<Self> {
        let mut rest = words.get(HEADER_WORDS..)?;
        let mut take = |len: usize| {
            let (section, tail) = rest.split_at_checked(len)?;
            rest = tail;
            Some(section)
        };
        let mut records = |field: usize, size: usize| {
            let count = word(words, field);
            if count > MAX_RECORDS { None } else { take(count as usize * size) }
        };
        let programs = records(5, PROGRAM_WORDS)?;
        let tensors = records(6, TENSOR_WORDS)?;
        let ops = records(7, OP_WORDS)?;
        let matrices = records(8, MATRIX_WORDS)?;
        let meta_len = word(words, 9) as usize;
        let meta = bytemuck::try_cast_slice::<u32, u8>(take(meta_len.div_ceil(4))?).ok()?.get(..meta_len)?;
        let data = take(word(words, 10) as usize)?;
        let exact = rest.is_empty() && word(words, 11) == 0;
        exact.then_some(Self { arena_len: word(words, 4), programs, tensors, ops, matrices, meta, data })
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
