//! Counts that options give: each has a least and a greatest number, and the message names it.

use std::ops::RangeInclusive;

use anyhow::{Result, bail};

/// Draws, and rows of a comparison: a blob states its draws in 16 bits.
pub const DRAWS: RangeInclusive<usize> = 1..=65535;
/// Samples that are kept in memory.
pub const SAMPLES: RangeInclusive<usize> = 1..=1_000_000;
/// Draws of a score whose program may be left out, with 0.
pub const OPTIONAL_DRAWS: RangeInclusive<usize> = 0..=65535;
/// Rows of a file that are used.
pub const ROWS: RangeInclusive<usize> = 1..=usize::MAX;

/// The number that `option` was given, if it is in `range`.
///
/// # Errors
/// It is not. The message says the least or the greatest number.
pub fn count(option: &str, given: usize, range: &RangeInclusive<usize>) -> Result<usize> {
    if given < *range.start() {
        bail!("{option} {given}: expected at least {}", range.start());
    }
    if given > *range.end() {
        bail!("{option} {given}: expected at most {}", range.end());
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_out_of_range_is_told_its_limit() {
        let refused = |given| count("--count", given, &DRAWS).unwrap_err().to_string();
        assert_eq!(count("--count", 1, &DRAWS).unwrap(), 1);
        assert_eq!(count("--count", 65535, &DRAWS).unwrap(), 65535);
        assert_eq!(refused(0), "--count 0: expected at least 1");
        assert_eq!(refused(65536), "--count 65536: expected at most 65535");
        assert_eq!(refused(usize::MAX), format!("--count {}: expected at most 65535", usize::MAX));
        assert_eq!(count("--importance-samples", 0, &OPTIONAL_DRAWS).unwrap(), 0);
    }
}
