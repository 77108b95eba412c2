//! The dense layer on the DSP extension of Armv7E-M and Armv8-M: about 1.2 instructions per multiply-accumulate.
//!
//! Four rows are processed together in the packing [`Dsp4`](super::Packing::Dsp4). One LDM loads four columns of each
//! row, and one LDRD the four activations. SXTB16 widens two weights, and SMLAD adds their two products. All values of
//! a row group stay in registers; values that live longer are on the stack.

#![allow(unsafe_code)]

use super::dense::Operands;
#[cfg(feature = "flow")]
use super::pack::LANES;
use core::arch::naked_asm;

/// Steps of four columns in one iteration of the unrolled loop.
const UNROLL: usize = 4;

/// Runs a layer in the packing of this kernel.
pub(super) fn dense(operands: Operands<'_>) {
    let x = operands.x.as_ptr_range();
    let out = operands.out.as_mut_ptr_range();
    let job = Job {
        params: operands.params.as_ptr().cast(),
        out: out.start.cast(),
        x: x.start.cast(),
        entry: (UNROLL - operands.x.len() % UNROLL) % UNROLL,
        out_end: out.end.cast(),
        weights: operands.weights.as_ptr(),
        x_end: x.end.cast(),
    };
    // SAFETY: the target has the DSP extension (`elbo_dsp`). With n = x.len() > 0 and g = out.len() > 0, `Operands`
    // holds g * n * 4 weight words and g * 8 parameter words. The kernel reads x from `x` to `x_end` once per group, in
    // steps of 8 bytes of which the entry point makes the last one end there; with each step it reads 4 weight words;
    // per group it reads 8 parameter words and writes 8 bytes of `out`, ending at `out_end`. All pointers are aligned
    // to words, which LDM, LDRD and STRD need, and `out` is borrowed mutably, so nothing else aliases it.
    unsafe { dsp4(&job) };
}

/// Adds the products of four rows with the activations to `sums`. Does nothing if there are none or they are not
/// aligned to words.
#[cfg(feature = "flow")]
pub(super) fn add_group(weights: &[[u32; LANES]], x: &[[i16; LANES]], sums: &mut [i32; LANES]) {
    if weights.len() != x.len() || x.is_empty() || !x.as_ptr().addr().is_multiple_of(4) {
        return;
    }
    let x = x.as_ptr_range();
    // SAFETY: the target has the DSP extension (`elbo_dsp`). `weights` holds 16 bytes for each 8 of x, and the kernel reads
    // them in these steps until it has reached `x.end`, which is at least one step away. All pointers are aligned to words,
    // as LDM, LDRD and STM need.
    unsafe { add_products(weights.as_ptr().cast(), x.start.cast(), x.end.cast(), sums) };
}

/// The arguments of [`dsp4`], in the order in which it loads them. The first five words become its stack frame.
#[repr(C)]
struct Job {
    params: *const u32,
    out: *mut u32,
    x: *const u32,
    /// The step of the unrolled loop at which a row group starts.
    entry: usize,
    out_end: *mut u32,
    weights: *const u32,
    x_end: *const u32,
}

/// Four columns of four rows: 18 instructions for 16 multiply-accumulates, ordered so that no instruction needs the
/// result of the one before it (the Cortex-M7 issues two at a time).
macro_rules! step {
    () => {
        "
        ldm.w   r11!, {{r6-r9}}
        ldrd    r0, r1, [r12], #8
        sxtb16  r10, r6
        sxtb16  r6, r6, ror #8
        smlad   r2, r10, r0, r2
        sxtb16  r10, r7
        sxtb16  r7, r7, ror #8
        smlad   r2, r6, r1, r2
        smlad   r3, r10, r0, r3
        sxtb16  r10, r8
        sxtb16  r8, r8, ror #8
        smlad   r3, r7, r1, r3
        smlad   r4, r10, r0, r4
        sxtb16  r10, r9
        sxtb16  r9, r9, ror #8
        smlad   r5, r10, r0, r5
        smlad   r4, r8, r1, r4
        smlad   r5, r9, r1, r5
        "
    };
}

/// The layer described by `job`, which must have at least one row and one column.
///
/// SMLAD wraps like the portable sum (overflow only sets the Q flag), and SMMULR followed by SSAT is `requantize`.
///
/// | registers | hold |
/// |---|---|
/// | r0, r1 | four activations; between row groups `params` and `out` |
/// | r2 to r5 | the sums of the four rows, then their results |
/// | r6 to r9 | weights; at the end of a group the multipliers |
/// | r10 | two widened weights |
/// | r11, r12, lr | next weight, next activation, end of the activations |
#[unsafe(naked)]
unsafe extern "C" fn dsp4(job: &Job) {
    naked_asm!(
        // Armv8-M makes DSP optional, and its targets do not enable it. The assembler has no narrower directive.
        #[cfg(elbo_dsp = "armv8-m")]
        ".cpu cortex-m33",
        "push    {{r4-r11, lr}}",
        "ldm     r0, {{r1-r7}}",
        "push    {{r1-r5}}",
        "mov     r0, r1",
        "mov     r1, r2",
        "mov     r11, r6",
        "mov     lr, r7",
        // Start of a row group: the sums start from the biases.
        "2:",
        "ldm     r0!, {{r2-r5}}",
        "strd    r0, r1, [sp]",
        "ldrd    r12, r10, [sp, #8]",
        "tbb     [pc, r10]",
        "3:",
        ".byte   (4f - 3b) / 2",
        ".byte   (5f - 3b) / 2",
        ".byte   (6f - 3b) / 2",
        ".byte   (7f - 3b) / 2",
        "4:",
        step!(),
        "5:",
        step!(),
        "6:",
        step!(),
        "7:",
        step!(),
        "cmp     r12, lr",
        "bne     4b",
        "ldrd    r0, r1, [sp]",
        "ldm     r0!, {{r6-r9}}",
        "smmulr  r2, r2, r6",
        "smmulr  r3, r3, r7",
        "smmulr  r4, r4, r8",
        "smmulr  r5, r5, r9",
        "ssat    r2, #16, r2",
        "ssat    r3, #16, r3",
        "ssat    r4, #16, r4",
        "ssat    r5, #16, r5",
        "pkhbt   r2, r2, r3, lsl #16",
        "pkhbt   r3, r4, r5, lsl #16",
        "strd    r2, r3, [r1], #8",
        "ldr     r10, [sp, #16]",
        "cmp     r1, r10",
        "bne     2b",
        "add     sp, #20",
        "pop     {{r4-r11, pc}}",
    )
}

/// Adds the products of a row group with the activations from `x` to `x_end` to `sums`. It uses registers as [`dsp4`]
/// does.
#[cfg(feature = "flow")]
#[unsafe(naked)]
unsafe extern "C" fn add_products(weights: *const u32, x: *const u32, x_end: *const u32, sums: &mut [i32; LANES]) {
    naked_asm!(
        #[cfg(elbo_dsp = "armv8-m")]
        ".cpu cortex-m33",
        "push    {{r3-r11, lr}}",
        "mov     r11, r0",
        "mov     r12, r1",
        "mov     lr, r2",
        "ldm     r3, {{r2-r5}}",
        "2:",
        step!(),
        "cmp     r12, lr",
        "bne     2b",
        "pop     {{r0}}",
        "stm     r0, {{r2-r5}}",
        "pop     {{r4-r11, pc}}",
    )
}
