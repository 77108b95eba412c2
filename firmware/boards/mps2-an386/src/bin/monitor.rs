#![no_std]
#![no_main]

#[cortex_m_rt::entry]
fn main() -> ! {
    elbo_mps2::monitor::<elbo_mps2::An386>()
}
