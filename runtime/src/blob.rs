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
pub const FORMAT_VERSION: u32 = 5;
/// Number of words of the header.
pub const HEADER_WORDS: usize = 12;
/// First word that the checksum covers.
pub const CHECKED_FROM: usize = 4;
/// Largest number of programs, tensors, operations or matrices in a blob.
pub const MAX_RECORDS: u32 = 4096;

/// Header word with the bytes of the metadata.
const META_LEN: usize = 9;

/// A blob with a valid container: magic, version, lengths and checksum are right. The contents of its sections are not
/// proved.
///
/// It keeps where its sections are, so that their lengths are not read again.
#[derive(Clone, Copy, Debug)]
pub struct Blob<'b> {
    /// The header and all sections.
    words: &'b [u32],
    /// The ends of the programs, tensors, operations, matrices and metadata. The data follow to the last word.
    ends: [u32; 5],
}

impl<'b> Blob<'b> {
    /// The records that `record` names, or `None` if they are out of range.
    pub(crate) fn scope(&self, record: &ProgramRecord) -> Option<Scope<'b>> {
        Some(Scope {
            ops: records(self.ops(), record.ops_start, record.ops_len)?,
            tensors: records(self.tensors(), record.tensors_start, record.tensors_len)?,
            matrices: self.matrices(),
            data: self.data(),
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

    /// Number of words.
    pub(crate) fn len(&self) -> usize {
        self.words.len()
    }

    /// Divides the words of a blob into its sections. `None` if they do not fill it exactly.
    fn divide(words: &'b [u32]) -> Option<Self> {
        let (header, _) = words.split_first_chunk::<HEADER_WORDS>()?;
        let [.., programs, tensors, ops, matrices, meta_len, data_len, reserved] = *header;
        if programs > MAX_RECORDS || tensors > MAX_RECORDS || ops > MAX_RECORDS || matrices > MAX_RECORDS {
            return None;
        }
        let programs = HEADER_WORDS as u32 + programs * PROGRAM_WORDS as u32;
        let tensors = programs + tensors * TENSOR_WORDS as u32;
        let ops = tensors + ops * OP_WORDS as u32;
        let matrices = ops + matrices * MATRIX_WORDS as u32;
        let meta = matrices.checked_add(meta_len.div_ceil(4))?;
        let exact = meta.checked_add(data_len) == Some(words.len() as u32) && reserved == 0;
        exact.then_some(Self { words, ends: [programs, tensors, ops, matrices, meta] })
    }

    /// The same sections of other words; `None` if these are fewer. It stands for a flash that changed, in tests.
    pub(crate) fn over(&self, words: &'b [u32]) -> Option<Self> {
        Some(Self { words: words.get(..self.words.len())?, ends: self.ends })
    }

    /// The checksum of the header, which tells one blob from another.
    pub(crate) fn checksum(&self) -> u32 {
        word(self.words, 3)
    }

    /// Halfwords of an arena that is large enough for every program, as the header declares it.
    pub fn arena_len(&self) -> u32 {
        word(self.words, 4)
    }

    /// Program records.
    pub fn programs(&self) -> &'b [u32] {
        self.section(HEADER_WORDS as u32, self.ends[0])
    }

    /// Tensor records of all programs.
    pub fn tensors(&self) -> &'b [u32] {
        self.section(self.ends[0], self.ends[1])
    }

    /// Operation records of all programs.
    pub fn ops(&self) -> &'b [u32] {
        self.section(self.ends[1], self.ends[2])
    }

    /// Matrix records.
    pub fn matrices(&self) -> &'b [u32] {
        self.section(self.ends[2], self.ends[3])
    }

    /// postcard-encoded [`Meta`](crate::Meta).
    pub fn meta(&self) -> &'b [u8] {
        let words = self.section(self.ends[3], self.ends[4]);
        bytemuck::cast_slice(words).get(..word(self.words, META_LEN) as usize).unwrap_or_default()
    }

    /// Row parameters and weights.
    pub fn data(&self) -> &'b [u32] {
        self.section(self.ends[4], self.words.len() as u32)
    }

    #[inline(never)]
    fn section(&self, from: u32, to: u32) -> &'b [u32] {
        self.words.get(from as usize..to as usize).unwrap_or_default()
    }

    /// Number of programs.
    pub fn program_count(&self) -> usize {
        self.programs().len() / PROGRAM_WORDS
    }

    /// Number of matrices.
    pub fn matrix_count(&self) -> usize {
        self.matrices().len() / MATRIX_WORDS
    }
}

/// `len` records of operations or tensors, starting at record `start`.
#[inline(never)]
fn records(words: &[u32], start: u32, len: u32) -> Option<&[[u32; OP_WORDS]]> {
    const _: () = assert!(OP_WORDS == TENSOR_WORDS);
    words.as_chunks().0.get(start as usize..start.checked_add(len)? as usize)
}
