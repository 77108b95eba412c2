//! TIMER0 of the nRF51 (reference manual, chapter 19): 32 bits at 16 MHz. It is used because the emulated core has no
//! SysTick.

use elbo_board::Register;

const BASE: usize = 0x4000_8000;
const TICKS_PER_MS: u32 = 16_000;

/// The timer, running.
#[derive(Debug)]
pub struct Timer {
    capture: Register,
    value: Register,
}

impl Timer {
    /// Starts the timer.
    pub fn new() -> Self {
        // SAFETY: the offsets of the nRF51's TIMER0.
        let [mut start, mut mode, mut bits, mut prescaler, capture, value] =
            [0x000, 0x504, 0x508, 0x510, 0x040, 0x540].map(|offset| unsafe { Register::at(BASE, offset) });
        mode.write(0);
        bits.write(3);
        prescaler.write(0);
        start.write(1);
        Self { capture, value }
    }

    /// Ticks since the start; wraps.
    pub fn ticks(&mut self) -> u32 {
        self.capture.write(1);
        self.value.read()
    }

    /// Waits.
    pub fn delay_ms(&mut self, milliseconds: u32) {
        let start = self.ticks();
        let ticks = milliseconds.saturating_mul(TICKS_PER_MS);
        while self.ticks().wrapping_sub(start) < ticks {}
    }
}
