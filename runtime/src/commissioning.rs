//! Calibrating on the device: windows of known-good running make a calibration that replaces the blob's.

use crate::calibration::{BufferTooSmall, Calibration};
use crate::crc::crc32_bytes;
use crate::model::Model;
use crate::nats::Nats;
use crate::program::ProgramKind;
use core::fmt;

/// The first four bytes of a record.
const MAGIC: [u8; 4] = *b"ELCA";
/// The version of a record.
const VERSION: u8 = 1;
/// Bytes before the table: magic, version, kind of the program, length of the table, checksum of the model's blob, rows.
const HEADER: usize = 16;

/// Collects the scores of known-good running.
///
/// The machine that a model watches is not the one that it was trained on: it has another mounting, another load, another
/// sensor. Commissioning runs the model on as many windows as there is memory for, while the machine is known to be good
/// and goes through all that it normally does. Their scores calibrate the model anew, with the guarantee of
/// [`Calibration`] for windows that are exchangeable with them. The model itself stays as it is.
///
/// [`record`](Self::record) gives bytes with a checksum, which the application stores, and [`Commissioned::read`] reads them
/// after a restart. To undo a commissioning, erase the record: the blob's own calibration is still there.
///
/// ```
/// use elbo::{Commissioned, Commissioning, Limits, Model, Nats, NotCommissioned, ProgramKind, Rate};
///
/// static MODEL: &[u8] = elbo::include_blob!("../examples/digits.elbo");
/// let model = Model::load(MODEL, Limits { max_work: 10_000_000 })?;
///
/// // 99 windows support a false-alarm rate of 1 %. Each takes eight bytes of RAM.
/// let mut memory = [Nats::default(); 99];
/// let mut commissioning = Commissioning::new(&mut memory);
/// # let score_of_the_next_window = |at: usize| Nats::from_bits(at as i64 * 1000);
/// while !commissioning.is_complete() {
///     commissioning.observe(score_of_the_next_window(commissioning.seen()));
/// }
/// let mut flash = [0xFF; 512];
/// assert_eq!(Commissioned::read(&flash, &model, ProgramKind::Score), Err(NotCommissioned::Absent));
/// commissioning.record(&model, ProgramKind::Score, &mut flash)?;
///
/// let commissioned = Commissioned::read(&flash, &model, ProgramKind::Score)?;
/// assert!(commissioned.calibration().threshold(Rate::ONE_IN_100).is_ok());
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Commissioning<'m> {
    scores: &'m mut [Nats],
    seen: usize,
}

impl<'m> Commissioning<'m> {
    /// Starts without a score. `memory` has room for as many windows as shall be collected.
    pub fn new(memory: &'m mut [Nats]) -> Self {
        Self { scores: memory, seen: 0 }
    }

    /// Takes the score of the next window. Scores beyond the capacity are ignored.
    pub fn observe(&mut self, score: Nats) {
        if let Some(slot) = self.scores.get_mut(self.seen) {
            *slot = score;
            self.seen += 1;
        }
    }

    /// Number of windows so far.
    pub fn seen(&self) -> usize {
        self.seen
    }

    /// Number of windows that are collected at most.
    pub fn capacity(&self) -> usize {
        self.scores.len()
    }

    /// Whether all windows are there.
    pub fn is_complete(&self) -> bool {
        self.seen == self.scores.len()
    }

    /// Bytes that are enough for the record of this number of windows. A usual record takes a fourth of them.
    pub const fn room(windows: usize) -> usize {
        HEADER + Calibration::room(windows) + 4
    }

    /// Writes the calibration of the windows so far to the start of `out`, and returns the length of the record. `kind` is the
    /// program of `model` that gave the scores. The scores are sorted; more can follow, and another record.
    ///
    /// # Errors
    /// [`BufferTooSmall`] if the record does not fit `out`.
    pub fn record(&mut self, model: &Model<'_>, kind: ProgramKind, out: &mut [u8]) -> Result<usize, BufferTooSmall> {
        let (header, rest) = out.split_first_chunk_mut::<HEADER>().ok_or(BufferTooSmall)?;
        let scores = self.scores.get_mut(..self.seen).unwrap_or_default();
        let made = Calibration::of_scores(scores, rest)?;
        let len = made.table_len();
        let [l0, l1] = u16::try_from(len).map_err(|_| BufferTooSmall)?.to_le_bytes();
        let [m0, m1, m2, m3] = MAGIC;
        let [c0, c1, c2, c3] = model.checksum().to_le_bytes();
        let [r0, r1, r2, r3] = made.rows().to_le_bytes();
        *header = [m0, m1, m2, m3, VERSION, kind as u8, l0, l1, c0, c1, c2, c3, r0, r1, r2, r3];
        let end = HEADER + len;
        let checksum = crc32_bytes(out.get(..end).ok_or(BufferTooSmall)?);
        let place = out.get_mut(end..end + 4).ok_or(BufferTooSmall)?;
        place.copy_from_slice(&checksum.to_le_bytes());
        Ok(end + 4)
    }
}

/// Why there is no calibration from commissioning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum NotCommissioned {
    /// The bytes hold no record: the device has not been commissioned, or its commissioning was undone.
    Absent,
    /// The record is damaged.
    Checksum,
    /// The record was written by another version of the runtime.
    Version,
    /// The record belongs to another model, or to another score of this model.
    OtherModel,
}

impl fmt::Display for NotCommissioned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "the device has not been commissioned: run it on known-good windows first, or use the blob's calibration",
            Self::Checksum => "the record of the commissioning is damaged: commission the device again",
            Self::Version => "the record of the commissioning has another version: commission the device again",
            Self::OtherModel => "the record of the commissioning belongs to another model or score: commission the device again",
        })
    }
}

impl core::error::Error for NotCommissioned {}

/// A calibration from commissioning, read from its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Commissioned<'r> {
    calibration: Calibration<'r>,
}

impl<'r> Commissioned<'r> {
    /// Reads the record at the start of `bytes`, for the score of this program of the model.
    ///
    /// # Errors
    /// [`NotCommissioned`]. No bytes panic, and what is returned has the checksum of what was written.
    pub fn read(bytes: &'r [u8], model: &Model<'_>, kind: ProgramKind) -> Result<Self, NotCommissioned> {
        let (header, rest) = bytes.split_first_chunk::<HEADER>().ok_or(NotCommissioned::Absent)?;
        let [m0, m1, m2, m3, version, of_kind, l0, l1, c0, c1, c2, c3, r0, r1, r2, r3] = *header;
        if [m0, m1, m2, m3] != MAGIC {
            return Err(NotCommissioned::Absent);
        }
        if version != VERSION {
            return Err(NotCommissioned::Version);
        }
        let len = usize::from(u16::from_le_bytes([l0, l1]));
        let (knots, after) = rest.split_at_checked(len).ok_or(NotCommissioned::Checksum)?;
        let (checksum, _) = after.split_first_chunk().ok_or(NotCommissioned::Checksum)?;
        let checked = bytes.get(..HEADER + len).unwrap_or_default();
        if crc32_bytes(checked) != u32::from_le_bytes(*checksum) {
            return Err(NotCommissioned::Checksum);
        }
        if u32::from_le_bytes([c0, c1, c2, c3]) != model.checksum() || of_kind != kind as u8 {
            return Err(NotCommissioned::OtherModel);
        }
        Ok(Self { calibration: Calibration::from_parts(u32::from_le_bytes([r0, r1, r2, r3]), knots) })
    }

    /// The calibration, in place of the blob's.
    pub fn calibration(&self) -> Calibration<'r> {
        self.calibration
    }
}
