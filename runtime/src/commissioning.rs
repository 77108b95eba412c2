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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rate;
    use crate::model::Limits;
    use crate::rng::Xoshiro128PlusPlus;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    static DIGITS: &[u8] = crate::include_blob!("../examples/digits.elbo");

    fn model() -> Model<'static> {
        Model::load(DIGITS, Limits::host()).unwrap()
    }

    fn scores(count: usize) -> Vec<Nats> {
        let mut rng = Xoshiro128PlusPlus::new(8);
        (0..count).map(|_| Nats::from_bits(i64::from(rng.next_word() >> 10))).collect()
    }

    /// The record of these scores, with what follows it in the flash.
    fn record(scores: &[Nats]) -> Vec<u8> {
        let mut memory = vec![Nats::default(); scores.len()];
        let mut commissioning = Commissioning::new(&mut memory);
        scores.iter().for_each(|score| commissioning.observe(*score));
        let mut flash = vec![0xFF; Commissioning::room(scores.len())];
        let len = commissioning.record(&model(), ProgramKind::Score, &mut flash).unwrap();
        assert!(len <= flash.len());
        flash
    }

    #[test]
    fn the_calibration_is_that_of_the_windows() {
        let scores = scores(250);
        let flash = record(&scores);
        let commissioned = Commissioned::read(&flash, &model(), ProgramKind::Score).unwrap();
        let (mut sorted, mut buffer) = (scores.clone(), vec![0; Calibration::room(250)]);
        let host = Calibration::of_scores(&mut sorted, &mut buffer).unwrap();
        assert_eq!(commissioned.calibration(), host);
        assert!(commissioned.calibration().threshold(Rate::ONE_IN_100).is_ok());
    }

    #[test]
    fn windows_beyond_the_capacity_are_ignored_and_a_record_can_be_early() {
        let mut memory = [Nats::default(); 3];
        let mut commissioning = Commissioning::new(&mut memory);
        let mut flash = [0; 64];
        commissioning.observe(Nats::from_bits(7));
        commissioning.record(&model(), ProgramKind::Score, &mut flash).unwrap();
        let rows = |flash: &[u8]| Commissioned::read(flash, &model(), ProgramKind::Score).unwrap().calibration().rows();
        assert_eq!((rows(&flash), commissioning.is_complete()), (1, false));
        (1..9).for_each(|bits| commissioning.observe(Nats::from_bits(bits)));
        commissioning.record(&model(), ProgramKind::Score, &mut flash).unwrap();
        assert_eq!((rows(&flash), commissioning.seen(), commissioning.capacity()), (3, 3, 3));
    }

    #[test]
    fn what_is_no_record_of_this_score_says_so() {
        let read = |bytes: &[u8], kind| Commissioned::read(bytes, &model(), kind).err();
        let flash = record(&scores(40));
        assert_eq!(read(&flash, ProgramKind::Score), None);
        assert_eq!(read(&flash, ProgramKind::ScoreMonteCarlo), Some(NotCommissioned::OtherModel));
        for erased in [&[][..], &[0xFF; 200], &[0; 200], b"ELCA"] {
            assert_eq!(read(erased, ProgramKind::Score), Some(NotCommissioned::Absent));
        }
        let mut other = flash.clone();
        other[4] = 2;
        assert_eq!(read(&other, ProgramKind::Score), Some(NotCommissioned::Version));
        // A blob whose checksum differs is another model.
        let mut words = bytemuck::cast_slice::<u8, u32>(DIGITS).to_vec();
        words[3] ^= 1;
        let changed = model();
        let changed = changed.changed(&words).unwrap();
        let refused = Commissioned::read(&flash, &changed, ProgramKind::Score).err();
        assert_eq!(refused, Some(NotCommissioned::OtherModel));
        for error in
            [NotCommissioned::Absent, NotCommissioned::Checksum, NotCommissioned::Version, NotCommissioned::OtherModel]
        {
            assert!(std::format!("{error}").contains("commission"));
        }
    }

    #[test]
    fn a_record_that_does_not_fit_is_refused() {
        let mut memory = scores(40);
        let mut commissioning = Commissioning { seen: 40, scores: &mut memory };
        let mut flash = vec![0; Commissioning::room(40)];
        let len = commissioning.record(&model(), ProgramKind::Score, &mut flash).unwrap();
        for short in [0, 5, HEADER, HEADER + 1, len - 1] {
            let refused = commissioning.record(&model(), ProgramKind::Score, &mut flash[..short]);
            assert_eq!(refused, Err(BufferTooSmall), "{short} of {len}");
        }
        assert_eq!(commissioning.record(&model(), ProgramKind::Score, &mut flash[..len]), Ok(len));
    }

    proptest! {
        /// Every change of a byte of a record is noticed, and no bytes panic.
        #[test]
        fn damage_is_noticed(at in 0usize..1000, change in 1u8.., cut in 0usize..400, junk in proptest::collection::vec(any::<u8>(), 0..80)) {
            let whole = record(&scores(40));
            let len = HEADER + usize::from(u16::from_le_bytes([whole[6], whole[7]])) + 4;
            let mut damaged = whole.clone();
            damaged[at % len] ^= change;
            prop_assert!(Commissioned::read(&damaged, &model(), ProgramKind::Score).is_err());
            let cut = &whole[..cut.min(len - 1)];
            prop_assert!(Commissioned::read(cut, &model(), ProgramKind::Score).is_err());
            let _ = Commissioned::read(&junk, &model(), ProgramKind::Score);
        }
    }
}
