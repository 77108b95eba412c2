//! The CMSDK APB timer (Arm DDI 0479, section 4.4): 32 bits at the peripheral clock. Unlike the 24 bits of SysTick, a
//! count does not wrap within a benchmark.

use core::marker::PhantomData;

use elbo_board::Register;

use crate::layout::Layout;

const ENABLE: u32 = 1;

/// Timer 0 of a board, running.
#[derive(Debug)]
pub struct Timer<L> {
    value: Register,
    layout: PhantomData<L>,
}

impl<L: Layout> Timer<L> {
    /// Starts the timer.
    pub fn new() -> Self {
        // SAFETY: the offsets of the CMSDK APB timer that the layout places here.
        let [mut control, mut value, mut reload] =
            [0x00, 0x04, 0x08].map(|offset| unsafe { Register::at(L::TIMER, offset) });
        reload.write(u32::MAX);
        value.write(u32::MAX);
        control.write(ENABLE);
        Self { value, layout: PhantomData }
    }

    /// Ticks of the peripheral clock; wraps.
    pub fn ticks(&self) -> u32 {
        // It counts down.
        !self.value.read()
    }

    /// Waits.
    pub fn delay_ms(&self, milliseconds: u32) {
        let start = self.ticks();
        let ticks = milliseconds.saturating_mul(L::CLOCK / 1000);
        while self.ticks().wrapping_sub(start) < ticks {}
    }
}
