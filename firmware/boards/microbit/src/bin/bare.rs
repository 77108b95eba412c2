//! The smallest firmware around the runtime: loads, samples, encodes and scores. What is linked here is what the runtime
//! costs, and there must be no way to panic in it.
#![no_std]
#![no_main]

use core::hint::black_box;

use elbo::rng::Xoshiro128PlusPlus;
use elbo::{Limits, Model};
use elbo_board as _;
use elbo_model::{ARENA, VALUES, blob};
use rand_core::SeedableRng;

#[cortex_m_rt::entry]
fn main() -> ! {
    let mut arena = elbo::Arena::<ARENA>::new();
    let mut values = [0i16; VALUES];
    if let Ok(model) = Model::load(black_box(blob()), Limits::default())
        && let Ok(mut session) = model.session(arena.as_mut_slice())
    {
        let mut rng = Xoshiro128PlusPlus::seed_from_u64(black_box(1));
        let _ = black_box(session.sample(&mut rng, &mut values));
        let x = values;
        let _ = black_box(session.score(&x));
        let _ = black_box(session.score_monte_carlo(&x, &mut rng));
        let _ = black_box(session.score_importance(&x, &mut rng));
        let _ = black_box(session.reconstruct(&x, &mut values));
        let (mu, logvar) = values.split_at_mut(VALUES / 2);
        let _ = black_box(session.encode(&x, mu, logvar));
        let _ = black_box(session.decode(&x, &mut []));
    }
    loop {}
}
