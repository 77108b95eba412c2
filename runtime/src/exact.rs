//! Sums and products that the proof shows not to overflow. They wrap, so that no panic is linked into a firmware. A
//! build with debug assertions checks that they do not, so that a fuzzer sees an error of the proof.

#[cfg(debug_assertions)]
static PROVED: core::sync::atomic::AtomicBool = core::sync::atomic::AtomicBool::new(true);

/// Stops the checks of this process, because it computes what was not proved: a blob that changed after its proof, or
/// a kernel on any bits.
#[inline]
pub(crate) fn forgo() {
    #[cfg(debug_assertions)]
    PROVED.store(false, core::sync::atomic::Ordering::Relaxed);
}

#[cfg(debug_assertions)]
fn proved() -> bool {
    PROVED.load(core::sync::atomic::Ordering::Relaxed)
}

/// Panics if the result of proved arithmetic is `None`, because it overflowed.
#[cfg(debug_assertions)]
#[track_caller]
#[inline(always)]
fn check<T>(result: Option<T>, proved: impl FnOnce() -> bool) {
    assert!(result.is_some() || !proved(), "a sum overflows although the proof says that it cannot");
}

macro_rules! exact {
    ($($(#[$doc:meta])* $name:ident($type:ty): $wrapping:ident, $checked:ident;)+) => {$(
        $(#[$doc])*
        #[inline(always)]
        #[cfg_attr(debug_assertions, track_caller)]
        pub(crate) fn $name(a: $type, b: $type) -> $type {
            #[cfg(debug_assertions)]
            check(a.$checked(b), proved);
            a.$wrapping(b)
        }
    )+};
}

exact! {
    /// `a + b`.
    add(i32): wrapping_add, checked_add;
    /// `a b`.
    mul(i32): wrapping_mul, checked_mul;
    /// `a + b` in 64 bits.
    add_64(i64): wrapping_add, checked_add;
    /// `a - b` in 64 bits.
    sub_64(i64): wrapping_sub, checked_sub;
}

/// Whether the core computes products of 64 bits in many instructions: Armv6-M.
pub(crate) const SLOW_PRODUCTS: bool = cfg!(elbo_m0);

/// `a b`, saturated. Whether the product fits takes many instructions on a core without products of 64 bits, unless both
/// factors are small.
#[inline(always)]
pub(crate) fn product(a: usize, b: usize) -> usize {
    if SLOW_PRODUCTS && (a | b) >> 16 == 0 { a * b } else { saturating_product(a, b) }
}

#[inline(never)]
fn saturating_product(a: usize, b: usize) -> usize {
    a.saturating_mul(b)
}

#[cfg(test)]
mod tests {
    #[test]
    fn products() {
        for a in [0, 1, 0xFFFF, 0x1_0000, 0x1234_5678, u32::MAX] {
            for b in [0u32, 1, 3, 255, 0x8000, 0xFFFF, 0x1_0000] {
                let expected = usize::try_from(u64::from(a) * u64::from(b)).unwrap_or(usize::MAX);
                assert_eq!(super::product(a as usize, b as usize), expected);
            }
        }
        assert_eq!(super::product(usize::MAX / 2, 3), usize::MAX);
    }
}

#[cfg(all(test, debug_assertions))]
mod checked {
    use super::check;

    #[test]
    #[should_panic(expected = "although the proof says")]
    fn an_overflow_of_what_was_proved_is_noticed() {
        check(i32::MAX.checked_add(1), || true);
    }

    #[test]
    fn what_was_not_proved_may_wrap() {
        check(i32::MAX.checked_add(1), || false);
        check(1i32.checked_add(1), || true);
        super::forgo();
        assert_eq!(super::add(i32::MAX, 1), i32::MIN);
        assert_eq!(super::mul(1 << 30, 4), 0);
        assert_eq!([super::add_64(i64::MAX, 1), super::sub_64(i64::MIN, 1)], [i64::MIN, i64::MAX]);
    }
}
