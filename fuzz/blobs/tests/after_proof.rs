//! A first part of `cargo xtask fuzz --after-proof`, without the comparison of times. A change after the proof stops the
//! runtime's checks of sums in this process, so no other test is here.

use elbo::Arena;
use elbo_fuzz_blobs::{AfterProof, MEMORY, SPACE, run_after_proof};

#[test]
fn a_changed_blob_gives_wrong_numbers_at_worst() {
    let (mut words, mut arena) = (Box::new([[0; SPACE]; 2]), Box::new(Arena::<MEMORY>::new()));
    let mut counts = AfterProof::default();
    for case in 0..20_000 {
        counts.join(&run_after_proof(case, &mut words, arena.as_mut_slice(), None));
    }
    for (name, count) in [("ran", counts.ran), ("stopped", counts.stopped), ("refused", counts.refused)] {
        assert!(count > 1000, "{name}: {counts:?}");
    }
    let mut again = || run_after_proof(7, &mut words, arena.as_mut_slice(), None);
    assert_eq!(again(), again());
}
