//! Loads a model from a flash address and scores arbitrary contents of RAM. With the feature `vae` it runs every program
//! of a VAE, and with `all` every kind of program. Nothing else is linked, so the size of the image is that of the
//! runtime.
#![no_std]
#![no_main]

use core::hint::black_box;
use core::panic::PanicInfo;

// The critical section that stands in for atomic swaps on cores without them.
use cortex_m as _;
#[cfg(feature = "vae")]
use elbo::Session;
#[cfg(feature = "vae")]
use elbo::rng::Xoshiro128PlusPlus;
use elbo::{Arena, Limits, Model, SessionError};
use elbo_model::{ARENA, VALUES, blob};
use static_cell::ConstStaticCell;

static ARENA_MEMORY: ConstStaticCell<Arena<ARENA>> = ConstStaticCell::new(Arena::new());
static INPUT: ConstStaticCell<[i16; VALUES]> = ConstStaticCell::new([0; VALUES]);
#[cfg(feature = "vae")]
static OUTPUT: ConstStaticCell<[i16; VALUES]> = ConstStaticCell::new([0; VALUES]);

#[cortex_m_rt::entry]
fn main() -> ! {
    let (Some(arena), Some(input)) = (ARENA_MEMORY.try_take(), INPUT.try_take()) else { end() };
    if let Ok(model) = Model::load(blob(), Limits { max_work: 1 << 28 }) {
        black_box(run(&model, arena.as_mut_slice(), black_box(input)).is_ok());
    }
    #[cfg(feature = "panics")]
    black_box(black_box(&[1, 2, 3])[black_box(2)]);
    #[cfg(feature = "floats")]
    black_box(black_box(1.5f32) * black_box(2.5));
    end()
}

fn run(model: &Model<'_>, arena: &mut [i16], input: &mut [i16]) -> Result<(), SessionError> {
    let mut session = model.session(arena)?;
    black_box(session.score(input)?);
    #[cfg(feature = "vae")]
    if let Some(output) = OUTPUT.try_take() {
        run_vae(&mut session, input, output)?;
    }
    Ok(())
}

#[cfg(feature = "vae")]
fn run_vae(session: &mut Session<'_, '_>, input: &mut [i16], output: &mut [i16]) -> Result<(), SessionError> {
    let mut rng = Xoshiro128PlusPlus::new(1);
    session.sample(&mut rng, output)?;
    session.decode(input, output)?;
    session.reconstruct(input, output)?;
    let (mu, logvar) = output.split_at_mut_checked(VALUES / 2).unwrap_or_default();
    session.encode(input, mu, logvar)?;
    black_box(session.score_monte_carlo(input, &mut rng)?);
    black_box(session.score_importance(input, &mut rng)?);
    #[cfg(feature = "all")]
    {
        session.sample_class(black_box(1), &mut rng, output)?;
        for kind in elbo::ProgramKind::ALL {
            let (first, second) = output.split_at_mut_checked(black_box(VALUES / 2)).unwrap_or_default();
            black_box(session.run(kind, &[input, input], &mut [first, second], &mut rng)?);
        }
    }
    Ok(())
}

fn end() -> ! {
    loop {
        black_box(());
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    black_box(info);
    end()
}
