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

/// The value, which is `None` if the arithmetic overflowed.
#[cfg(debug_assertions)]
#[track_caller]
fn check<T>(value: Option<T>) {
    let proved = PROVED.load(core::sync::atomic::Ordering::Relaxed);
    assert!(value.is_some() || !proved, "a sum overflows although the proof says that it cannot");
}

macro_rules! exact {
    ($($(#[$doc:meta])* $name:ident($type:ty): $wrapping:ident, $checked:ident;)+) => {$(
        $(#[$doc])*
        #[inline(always)]
        #[cfg_attr(debug_assertions, track_caller)]
        pub(crate) fn $name(a: $type, b: $type) -> $type {
            #[cfg(debug_assertions)]
            check(a.$checked(b));
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

#[cfg(all(test, debug_assertions))]
mod tests {
    #[test]
    fn an_overflow_is_noticed() {
        assert!(std::panic::catch_unwind(|| super::check(i32::MAX.checked_add(1))).is_err() || !proved());
        super::check(1i32.checked_add(1));
    }

    fn proved() -> bool {
        super::PROVED.load(core::sync::atomic::Ordering::Relaxed)
    }
}
