//! Whatever bytes a file holds.

use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a file holds, it is read or refused; finite values come of it or none.
    #[test]
    fn are_read_or_refused(
        start in prop::sample::select(vec![&b""[..], b"\x93NUMPY\x01\x00", b"PK\x03\x04", b"\x00\x00\x08\x03", b"PAR1", b"ARROW1\x00\x00", b"a,b\n1,2\n", b"\xff\xfe"]),
        rest in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let dir = Dir::new();
        let path = dir.put("any", [start, &rest].concat());
        if let Ok(d) = from_path(&path) {
            prop_assert!(d.train.x.iter().all(|v| v.is_finite()));
        }
    }

    /// So is any text of the characters that tables are made of.
    #[test]
    fn texts_are_read_or_refused(text in "[0-9a-c.,;|\t \"#=\n-]{0,120}") {
        let dir = Dir::new();
        if let Ok(d) = from_path(&dir.put("any.csv", &text)) {
            prop_assert!(d.train.x.iter().all(|v| v.is_finite()));
        }
    }
}
