//! The dense layer on Armv6-M (Cortex-M0, M0+) and the Armv8-M baseline: about 4.2 instructions per
//! multiply-accumulate, without the requantisation. The compiler needs 6.4 because it runs out of registers.
//!
//! Four rows share the activations, which stay widened in low registers. The sums are in high registers, where Armv6-M
//! can still add.

#![allow(unsafe_code)]

use super::dense::Operands;
use super::pack::LANES;
use crate::fixed::requantize;
use core::arch::naked_asm;

/// Runs a layer in the packing of this kernel.
pub(super) fn dense(operands: Operands<'_>) {
    let (weights, _) = operands.weights.as_chunks::<LANES>();
    let groups = weights.chunks_exact(operands.x.len().max(1));
    for ((out, params), weights) in operands.out.iter_mut().zip(operands.params).zip(groups) {
        let &[b0, b1, b2, b3, m0, m1, m2, m3] = params;
        let mut sums = [b0, b1, b2, b3].map(|bias| bias as i32);
        add_group(weights, operands.x, &mut sums);
        for ((y, sum), m) in out.iter_mut().zip(sums).zip([m0, m1, m2, m3]) {
            *y = requantize(sum, m as i32);
        }
    }
}

/// Adds the products of four rows with the activations to `sums`. Does nothing if there are none or they are not
/// aligned to words.
pub(super) fn add_group(weights: &[[u32; LANES]], x: &[[i16; LANES]], sums: &mut [i32; LANES]) {
    if weights.len() != x.len() || x.is_empty() || !x.as_ptr().addr().is_multiple_of(4) {
        return;
    }
    let x = x.as_ptr_range();
    // SAFETY: `weights` holds 16 bytes for each 8 of x, and the kernel reads them in these steps until it has reached
    // `x.end`, which is at least one step away. All pointers are aligned to words, as LDM needs.
    unsafe { add_products(weights.as_ptr().cast(), x.start.cast(), x.end.cast(), sums) };
}

/// Four weights of one row times four activations, added to the sum in a high register: 15 instructions.
macro_rules! row {
    ($sum:literal) => {
        concat!(
            "
        ldm     r0!, {{r6}}
        sxtb    r7, r6
        muls    r7, r2, r7
        add     ",
            $sum,
            ", r7
        lsls    r7, r6, #8
        asrs    r7, r7, #24
        muls    r7, r3, r7
        add     ",
            $sum,
            ", r7
        lsls    r7, r6, #16
        asrs    r7, r7, #24
        muls    r7, r4, r7
        add     ",
            $sum,
            ", r7
        asrs    r6, r6, #24
        muls    r6, r5, r6
        add     ",
            $sum,
            ", r6
        "
        )
    };
}

/// Adds the products of a row group in `Dsp4` packing with the activations from `x` to `x_end` to `sums`.
///
/// | registers | hold |
/// |---|---|
/// | r0, r1 | next weight, next activation |
/// | r2 to r5 | four activations |
/// | r6, r7 | four weights, a product |
/// | r8 to r11 | the sums of the four rows |
/// | r12, lr | end of the activations, `sums` |
#[unsafe(naked)]
unsafe extern "C" fn add_products(weights: *const u32, x: *const u32, x_end: *const u32, sums: &mut [i32; LANES]) {
    naked_asm!(
        "push    {{r4-r7, lr}}",
        "mov     r4, r8",
        "mov     r5, r9",
        "mov     r6, r10",
        "mov     r7, r11",
        "push    {{r4-r7}}",
        "mov     r12, r2",
        "mov     lr, r3",
        "ldm     r3!, {{r4-r7}}",
        "mov     r8, r4",
        "mov     r9, r5",
        "mov     r10, r6",
        "mov     r11, r7",
        "2:",
        "ldm     r1!, {{r2, r4}}",
        "asrs    r3, r2, #16",
        "sxth    r2, r2",
        "asrs    r5, r4, #16",
        "sxth    r4, r4",
        row!("r8"),
        row!("r9"),
        row!("r10"),
        row!("r11"),
        "cmp     r1, r12",
        "bne     2b",
        "mov     r3, lr",
        "mov     r4, r8",
        "mov     r5, r9",
        "mov     r6, r10",
        "mov     r7, r11",
        "stm     r3!, {{r4-r7}}",
        "pop     {{r4-r7}}",
        "mov     r8, r4",
        "mov     r9, r5",
        "mov     r10, r6",
        "mov     r11, r7",
        "pop     {{r4-r7, pc}}",
    )
}
