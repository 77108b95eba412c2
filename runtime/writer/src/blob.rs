//! The blob: records, metadata and constants, with one header and checksum.

use crate::error::WriteError;
use crate::layer::DenseLayer;
use crate::program::{Program, ProgramWriter};
use crate::seal::seal;
use alloc::vec;
use alloc::vec::Vec;
use elbo::blob::{FORMAT_VERSION, HEADER_WORDS, MAGIC, MAX_RECORDS};
use elbo::program::{Matrix, Op, ProgramKind, ProgramRecord, Tensor};
use elbo::{Meta, Reading, Windows};

/// The contents of a blob, in the order of its sections. They are written as they are, valid or not. Tests change them
/// to see what the runtime refuses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// Halfwords of the arena.
    pub arena_len: u32,
    /// Programs.
    pub programs: Vec<ProgramRecord>,
    /// Tensors of all programs.
    pub tensors: Vec<Tensor>,
    /// Operations of all programs.
    pub ops: Vec<Op>,
    /// Matrices.
    pub matrices: Vec<Matrix>,
    /// Encoded metadata.
    pub meta: Vec<u8>,
    /// Parameters and weights.
    pub data: Vec<u32>,
}

impl Records {
    /// The words of the complete blob, with length and checksum.
    pub fn words(&self) -> Vec<u32> {
        let counts = [
            self.programs.len(),
            self.tensors.len(),
            self.ops.len(),
            self.matrices.len(),
            self.meta.len(),
            self.data.len(),
        ];
        // `seal` sets the length and the checksum.
        let mut words = vec![MAGIC, FORMAT_VERSION, 0, 0, self.arena_len];
        words.extend(counts.map(|count| count as u32));
        words.resize(HEADER_WORDS, 0);
        words.extend(self.programs.iter().flat_map(ProgramRecord::encode));
        words.extend(self.tensors.iter().flat_map(Tensor::encode));
        words.extend(self.ops.iter().flat_map(Op::encode));
        words.extend(self.matrices.iter().flat_map(Matrix::encode));
        words.extend(self.meta.chunks(4).map(|bytes| {
            let mut word = [0; 4];
            word.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            u32::from_le_bytes(word)
        }));
        words.extend(&self.data);
        seal(&mut words);
        words
    }
}

/// Collects matrices and programs, and writes the blob.
#[derive(Clone, Debug, Default)]
pub struct BlobWriter {
    records: Records,
}

impl BlobWriter {
    /// Starts an empty blob.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a matrix and returns the index that programs use for it.
    ///
    /// # Errors
    /// [`WriteError::Matrix`] if the runtime could not prove it, [`WriteError::Records`] or [`WriteError::TooLarge`].
    pub fn matrix(&mut self, layer: &DenseLayer<'_>) -> Result<u16, WriteError> {
        let matrix = self.records.matrices.len();
        layer.check().map_err(|reason| WriteError::Matrix { matrix, reason })?;
        if matrix >= MAX_RECORDS as usize {
            return Err(WriteError::Records);
        }
        let record = layer.record(self.records.data.len() as u32);
        record.weights.checked_add(record.weights_len()).ok_or(WriteError::TooLarge)?;
        self.records.matrices.push(record);
        self.records.data.extend(layer.data());
        Ok(matrix as u16)
    }

    /// The matrices added so far.
    pub fn matrices(&self) -> &[Matrix] {
        &self.records.matrices
    }

    /// Writes a program that uses the matrices added so far, and adds it.
    ///
    /// # Errors
    /// The errors of `write`, of [`ProgramWriter::finish`] and of [`add`](Self::add).
    pub fn program(
        &mut self,
        kind: ProgramKind,
        write: impl FnOnce(&mut ProgramWriter<'_>) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        let mut writer = ProgramWriter::new(kind, &self.records.matrices);
        write(&mut writer)?;
        let program = writer.finish()?;
        self.add(&program)
    }

    /// Adds a finished program.
    ///
    /// # Errors
    /// [`WriteError::Records`] if the blob would have too many programs, tensors or operations.
    pub fn add(&mut self, program: &Program) -> Result<(), WriteError> {
        let records = &mut self.records;
        let counts = [
            records.programs.len() + 1,
            records.ops.len() + program.ops.len(),
            records.tensors.len() + program.tensors.len(),
        ];
        if counts.iter().any(|count| *count > MAX_RECORDS as usize) {
            return Err(WriteError::Records);
        }
        records.programs.push(ProgramRecord {
            kind: program.kind as u32,
            ops_start: records.ops.len() as u32,
            ops_len: program.ops.len() as u32,
            tensors_start: records.tensors.len() as u32,
            tensors_len: program.tensors.len() as u32,
            inputs: program.inputs,
            outputs: program.outputs,
            work: program.work,
            macs: program.macs,
        });
        records.ops.extend(&program.ops);
        records.tensors.extend(&program.tensors);
        records.arena_len = records.arena_len.max(program.arena_len());
        Ok(())
    }

    /// Sets the description of the model.
    ///
    /// # Errors
    /// [`WriteError::Metadata`] if it cannot be encoded.
    pub fn meta(&mut self, meta: &Meta<'_>) -> Result<(), WriteError> {
        self.records.meta = postcard::to_allocvec(meta).map_err(|_| WriteError::Metadata)?;
        Ok(())
    }

    /// Adds how rows are read, as [`encode_reading`] encodes it, and then how windows are cut, as [`encode_windows`] does it,
    /// behind the description.
    pub fn reading(&mut self, encoded: &[u8]) {
        self.records.meta.extend(encoded);
    }

    /// The records, for reading.
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// The records, for changing. The caller is responsible for the validity of the changes.
    pub fn records_mut(&mut self) -> &mut Records {
        &mut self.records
    }

    /// The complete blob with length and checksum. Its bytes are the little-endian bytes of the words.
    pub fn finish(&self) -> Vec<u32> {
        self.records.words()
    }
}

/// How rows are read, as a blob holds it behind its description.
pub fn encode_reading(reading: &Reading<'_>) -> Vec<u8> {
    // A vector of bytes takes whatever there is.
    postcard::to_allocvec(reading).unwrap_or_default()
}

/// How windows are cut, as a blob holds it behind how rows are read.
pub fn encode_windows(windows: &Windows<'_>) -> Vec<u8> {
    postcard::to_allocvec(windows).unwrap_or_default()
}

#[cfg(test)]
mod tests;
