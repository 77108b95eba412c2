//! Square root, computed bit by bit. It runs once per sample, and needs neither a division nor a table.

/// Square root of an integer, rounded to nearest: Q2n gives Qn. The error is at most 0.5 LSB. It never decreases, and
/// returns `u32::MAX` where the result would be 2^32.
pub fn sqrt(x: u64) -> u32 {
    let (root, rest) = sqrt_rem(x);
    // (root + 1/2)^2 lies between the integers root^2 + root and the next.
    if rest > u64::from(root) { root.saturating_add(1) } else { root }
}

/// The square root of an integer, rounded down, and `x` minus its square.
pub(crate) fn sqrt_rem(x: u64) -> (u32, u64) {
    let (mut rest, mut root) = (x, 0u64);
    let mut bit = 1u64 << 62;
    while bit != 0 {
        let trial = root | bit;
        root >>= 1;
        if rest >= trial {
            rest -= trial;
            root |= bit;
        }
        bit >>= 2;
    }
    (root as u32, rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Whether `root` is the nearest integer to the square root of `x`.
    fn nearest(x: u64, root: u32) -> bool {
        let (x, twice) = (4 * u128::from(x), 2 * u128::from(root));
        let above = (twice + 1) * (twice + 1) > x || root == u32::MAX;
        above && (root == 0 || (twice - 1) * (twice - 1) <= x)
    }

    #[test]
    fn sqrt_is_the_nearest_integer() {
        assert_eq!([0, 1, 2, 3, 6, 7, 1 << 62].map(sqrt), [0, 1, 1, 2, 2, 3, 1 << 31]);
        assert_eq!(sqrt(u64::MAX), u32::MAX);
        let (mut x, mut previous) = (0u64, 0);
        while x < 1 << 63 {
            for x in [x, x + 1] {
                let root = sqrt(x);
                assert!(nearest(x, root) && root >= previous, "sqrt({x}) = {root}");
                previous = root;
            }
            x += 2 + (x >> 12);
        }
    }

    proptest! {
        #[test]
        fn sqrt_is_nearest_everywhere(x: u64, shift in 0u32..64, root: u32) {
            let x = x >> shift;
            prop_assert!(nearest(x, sqrt(x)));
            let (floor, rest) = sqrt_rem(x);
            prop_assert_eq!(u64::from(floor).pow(2) + rest, x);
            prop_assert!(rest <= 2 * u64::from(floor));
            let square = u64::from(root) * u64::from(root);
            prop_assert_eq!([sqrt(square), sqrt(square.saturating_sub(1)).max(root.min(1))], [root, root]);
        }
    }
}
