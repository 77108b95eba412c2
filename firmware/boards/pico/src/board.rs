//! The board that applications see.

use elbo_app::Board;
use elbo_app::lis3dh::{ADDRESS, Lis3dh};
use elbo_link::StackUse;
use embedded_hal::delay::DelayNs;
use rp2040_hal::fugit::RateExtU32;
use rp2040_hal::gpio::bank0::{Gpio0, Gpio1, Gpio4, Gpio5};
use rp2040_hal::gpio::{FunctionI2C, FunctionNull, FunctionUart, Pin, Pins, PullDown, PullUp};
use rp2040_hal::pac::{self, I2C0, UART0};
use rp2040_hal::rosc::{Enabled as Running, RingOscillator};
use rp2040_hal::uart::{DataBits, Enabled, StopBits, UartConfig, UartPeripheral};
use rp2040_hal::{Clock, I2C, Sio, Timer, Watchdog, clocks};

/// The board's crystal, in hertz.
const CRYSTAL: u32 = 12_000_000;

type Serial = UartPeripheral<Enabled, UART0, (Pin<Gpio0, FunctionUart, PullDown>, Pin<Gpio1, FunctionUart, PullDown>)>;
type Bus = I2C<I2C0, (Pin<Gpio4, FunctionI2C, PullUp>, Pin<Gpio5, FunctionI2C, PullUp>)>;

/// The board, its devices started.
pub struct Pico {
    uart: Serial,
    timer: Timer,
    accelerometer: Option<Lis3dh<Bus>>,
    oscillator: RingOscillator<Running>,
}

impl Pico {
    /// Starts the clocks and the devices. May be called once after a reset.
    pub fn start() -> Self {
        let Some(mut device) = pac::Peripherals::take() else { defmt::panic!("the devices have been taken") };
        let mut watchdog = Watchdog::new(device.WATCHDOG);
        let Ok(clocks) = clocks::init_clocks_and_plls(
            CRYSTAL,
            device.XOSC,
            device.CLOCKS,
            device.PLL_SYS,
            device.PLL_USB,
            &mut device.RESETS,
            &mut watchdog,
        ) else {
            defmt::panic!("the crystal does not start")
        };
        let sio = Sio::new(device.SIO);
        let pins = Pins::new(device.IO_BANK0, device.PADS_BANK0, sio.gpio_bank0, &mut device.RESETS);
        let serial_pins: (Pin<Gpio0, FunctionUart, _>, Pin<Gpio1, FunctionUart, _>) =
            (pins.gpio0.into_function(), pins.gpio1.into_function());
        let config = UartConfig::new(115_200.Hz(), DataBits::Eight, None, StopBits::One);
        let uart = UartPeripheral::new(device.UART0, serial_pins, &mut device.RESETS)
            .enable(config, clocks.peripheral_clock.freq());
        let Ok(uart) = uart else { defmt::panic!("the serial port cannot run at 115200 baud") };
        let bus = I2C::i2c0(
            device.I2C0,
            pulled_up(pins.gpio4),
            pulled_up(pins.gpio5),
            400.kHz(),
            &mut device.RESETS,
            clocks.system_clock.freq(),
        );
        let accelerometer = Lis3dh::new(bus, ADDRESS).ok();
        if accelerometer.is_none() {
            defmt::warn!("no LIS3DH on I2C 0");
        }
        let timer = Timer::new(device.TIMER, &mut device.RESETS, &clocks);
        let oscillator = RingOscillator::new(device.ROSC).initialize();
        Self { uart, timer, accelerometer, oscillator }
    }

    /// 64 bits of the ring oscillator's jitter: different after every reset, not secret.
    pub fn random_seed(&mut self) -> u64 {
        (0..64).fold(0, |bits, _| {
            self.timer.delay_us(100);
            bits << 1 | u64::from(self.oscillator.get_random_bit())
        })
    }
}

fn pulled_up<I>(pin: Pin<I, FunctionNull, PullDown>) -> Pin<I, FunctionI2C, PullUp>
where
    I: rp2040_hal::gpio::PinId + rp2040_hal::gpio::ValidFunction<FunctionI2C>,
{
    pin.into_pull_type().into_function()
}

impl Board for Pico {
    const NAME: &'static str = "pico";
    type Serial = Serial;
    type Bus = Bus;

    fn serial(&mut self) -> &mut Serial {
        &mut self.uart
    }

    fn ticks(&mut self) -> u32 {
        self.timer.get_counter_low()
    }

    fn spin(&mut self, loops: u32) {
        // It runs its loop once more than it is told.
        cortex_m::asm::delay(loops.saturating_sub(1));
    }

    fn delay_ms(&mut self, milliseconds: u32) {
        DelayNs::delay_ms(&mut self.timer, milliseconds);
    }

    fn memory_use(&mut self) -> StackUse {
        elbo_board::memory_use()
    }

    fn accelerometer(&mut self) -> Option<&mut Lis3dh<Bus>> {
        self.accelerometer.as_mut()
    }
}
