#![no_std]
#![no_main]

#[rp2040_hal::entry]
fn main() -> ! {
    pico::monitor()
}
