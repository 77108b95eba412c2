//! The board that applications see.

use elbo_app::Board;
use elbo_app::emulated::EmulatedLis3dh;
use elbo_app::lis3dh::{ADDRESS, Axes, Lis3dh};
use elbo_link::StackUse;

use crate::layout::Layout;
use crate::timer::Timer;
use crate::uart::Uart;

/// A board of the family, its devices started.
pub struct Mps2<L> {
    uart: Uart<L>,
    timer: Timer<L>,
    accelerometer: Option<Lis3dh<EmulatedLis3dh>>,
}

impl<L: Layout> Mps2<L> {
    pub fn start() -> Self {
        let accelerometer = Lis3dh::new(EmulatedLis3dh::default(), ADDRESS).ok();
        Self { uart: Uart::new(), timer: Timer::new(), accelerometer }
    }
}

impl<L: Layout> Board for Mps2<L> {
    const NAME: &'static str = L::NAME;
    type Serial = Uart<L>;
    type Bus = EmulatedLis3dh;

    fn serial(&mut self) -> &mut Uart<L> {
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
