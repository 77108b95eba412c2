//! The record of a commissioning: what it holds, and what is refused.

use elbo::rng::Xoshiro128PlusPlus;
use elbo::{
    BufferTooSmall, Calibration, Commissioned, Commissioning, Limits, Model, Nats, NotCommissioned, ProgramKind, Rate,
};
use proptest::prelude::*;

/// Bytes of a record before its knots.
const HEADER: usize = 16;

/// A blob that every build of the runtime loads.
fn blob() -> &'static [u8] {
    elbo_fuzz_blobs::SEEDS.iter().find(|(name, _)| *name == "decode").unwrap().1
}

fn model() -> Model<'static> {
    Model::load(blob(), Limits::host()).unwrap()
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
    let mut words = bytemuck::cast_slice::<u8, u32>(blob()).to_vec();
    words[3] ^= 1;
    let changed = model();
    let changed = changed.changed(&words).unwrap();
    let refused = Commissioned::read(&flash, &changed, ProgramKind::Score).err();
    assert_eq!(refused, Some(NotCommissioned::OtherModel));
    for error in
        [NotCommissioned::Absent, NotCommissioned::Checksum, NotCommissioned::Version, NotCommissioned::OtherModel]
    {
        assert!(format!("{error}").contains("commission"));
    }
}

#[test]
fn a_record_that_does_not_fit_is_refused() {
    let mut memory = [Nats::default(); 40];
    let mut commissioning = Commissioning::new(&mut memory);
    scores(40).into_iter().for_each(|score| commissioning.observe(score));
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
