//! The applications with the memory that they run in.

use elbo::Arena;
use elbo_app::Memory;
use elbo_model::{ARENA, VALUES, blob};
use static_cell::ConstStaticCell;

use crate::board::Mps2;
use crate::layout::Layout;

/// Words for the operands of a dense benchmark: 640 by 128, and 400 by 784 with weights of 8 bits. For fuzzing: a blob,
/// and as much memory as on the host.
const SCRATCH: usize = if cfg!(feature = "bench") {
    84_000
} else if cfg!(feature = "fuzz") {
    (1 << 10) + 1 + (1 << 13)
} else {
    0
};
const SEED: u64 = 1;

static ARENA_MEMORY: ConstStaticCell<Arena<ARENA>> = ConstStaticCell::new(Arena::new());
static INPUT: ConstStaticCell<[i16; VALUES]> = ConstStaticCell::new([0; VALUES]);
static OUTPUT: ConstStaticCell<[i16; VALUES]> = ConstStaticCell::new([0; VALUES]);
static SCRATCH_MEMORY: ConstStaticCell<[u32; SCRATCH]> = ConstStaticCell::new([0; SCRATCH]);

fn memory() -> Memory<'static> {
    Memory {
        arena: ARENA_MEMORY.take().as_mut_slice(),
        input: INPUT.take(),
        output: OUTPUT.take(),
        scratch: SCRATCH_MEMORY.take(),
    }
}

/// Answers the host's requests.
pub fn serve<L: Layout>() -> ! {
    let _ = elbo_app::serve(&mut Mps2::<L>::start(), blob(), memory());
    rest()
}

/// Draws samples as text.
pub fn generate<L: Layout>() -> ! {
    let _ = elbo_app::generate(&mut Mps2::<L>::start(), blob(), memory(), SEED, u32::MAX);
    rest()
}

/// Draws the decoded latent for the current tilt as text.
pub fn steer<L: Layout>() -> ! {
    let _ = elbo_app::steer(&mut Mps2::<L>::start(), blob(), memory());
    rest()
}

fn rest() -> ! {
    loop {
        cortex_m::asm::wfi();
    }
}
