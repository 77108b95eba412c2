//! A noise source of your own: `cargo run -p elbo --example own_noise`.
//!
//! A closure that returns words is a source of noise: `noise::from_fn`. Any other source implements the trait itself.
//! The source here shrinks the draws of another source, so that samples are more typical of the model.

mod art;

use std::error::Error;

use elbo::rng::Xoshiro128PlusPlus;
use elbo::{Arena, Limits, Model, Noise};

static MODEL: &[u8] = elbo::include_blob!("digits.elbo");

/// Draws of N(0, t²) instead of N(0, 1).
struct Tempered<N> {
    source: N,
    /// t in Q8: 256 is 1.
    temperature: i32,
}

impl<N: Noise> Noise for Tempered<N> {
    fn normal(&mut self, out: &mut [i16]) {
        self.source.normal(out);
        for draw in out {
            // Q3.12 times Q8, rounded to nearest.
            let scaled = (i32::from(*draw) * self.temperature + 128) >> 8;
            *draw = scaled.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16;
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let model = Model::load(MODEL, Limits { max_work: 10_000_000 })?;
    let mut arena = Arena::<1024>::new();
    let mut session = model.session(arena.as_mut_slice())?;
    let [rows, columns] = model.meta()?.shape.map(usize::from);

    for (name, temperature) in [("0", 0), ("1/2", 128), ("1", 256)] {
        let mut noise = Tempered { source: Xoshiro128PlusPlus::new(7), temperature };
        let mut digits = vec![vec![0; rows * columns]; 5];
        for digit in &mut digits {
            session.sample(&mut noise, digit)?;
        }
        println!("temperature {name}");
        art::print_beside(&digits, columns);
    }
    Ok(())
}
