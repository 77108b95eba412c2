//! Measures the memory that a firmware uses. The stack is painted before `main`; words that are still painted were
//! never used.

use cortex_m_rt::STACK_PAINT_VALUE;
use elbo_link::StackUse;

unsafe extern "C" {
    // Addresses that the linker script defines; they have no content of their own.
    static _ram_start: u32;
    static _stack_end: u32;
    static _stack_start: u32;
}

/// The memory that has been used since the reset.
#[must_use]
pub fn memory_use() -> StackUse {
    let [ram, bottom, top] = [&raw const _ram_start, &raw const _stack_end, &raw const _stack_start];
    let mut word = bottom;
    // SAFETY: the words between the linker's two addresses are RAM that no variable occupies. They were painted at the
    // reset, so they are initialised, and volatile reads take them as they are; the loop ends at the current frame at
    // the latest, which is not paint.
    while word < top && unsafe { word.read_volatile() } == STACK_PAINT_VALUE {
        word = word.wrapping_add(1);
    }
    StackUse {
        static_bytes: (bottom.addr() - ram.addr()) as u32,
        stack_bytes: (top.addr() - word.addr()) as u32,
        free_bytes: (word.addr() - bottom.addr()) as u32,
    }
}
