//! The board that applications see.

use elbo_app::Board;
use elbo_app::emulated::EmulatedLis3dh;
use elbo_app::lis3dh::{ADDRESS, Axes, Lis3dh};
use elbo_link::StackUse;

use crate::timer::Timer;
use crate::uart::Uart;

/// The board, its devices started.
pub struct Microbit {
    uart: Uart,
    timer: Timer,
    accelerometer: Option<Lis3dh<EmulatedLis3dh>>,
}

impl Microbit {
    pub fn start() -> Self {
        let accelerometer = Lis3dh::new(EmulatedLis3dh::default(), ADDRESS).ok();
        Self { uart: Uart::new(), timer: Timer::new(), accelerometer }
    }
}

impl Board for Microbit {
    const NAME: &'static str = "microbit";
    type Serial = Uart;
    type Bus = EmulatedLis3dh;

    fn serial(&mut self) -> &mut Uart {
        &mut self.uart
    }

    fn ticks(&mut self) -> u32 {
        self.timer.ticks()
    }

    fn spin(&mut self, loops: u32) {
        // It runs its loop once more than it is told.
        cortex_m::asm::delay(loops.saturating_sub(1));
    }

    fn delay_ms(&mut self, milliseconds: u32) {
        self.timer.delay_ms(milliseconds);
    }

    fn memory_use(&mut self) -> StackUse {
        elbo_board::memory_use()
    }

    fn accelerometer(&mut self) -> Option<&mut Lis3dh<EmulatedLis3dh>> {
        self.accelerometer.as_mut()
    }

    fn undefined(&mut self) {
        cortex_m::asm::udf();
    }

    fn feed(&mut self, axes: Axes) -> bool {
        self.accelerometer.as_mut().map(|device| device.bus_mut().set_axes(axes)).is_some()
    }
}
