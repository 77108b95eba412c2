//! Draws digits and prints them: `cargo run -p elbo --example sample`. A seed may be given as an argument.
//!
//! A board that loads the same blob and starts from the same seed draws exactly these pixels.

mod art;

use std::error::Error;

use elbo::rng::Xoshiro128PlusPlus;
use elbo::{Arena, Limits, Model};

static MODEL: &[u8] = elbo::include_blob!("digits.elbo");

fn main() -> Result<(), Box<dyn Error>> {
    let seed = std::env::args().nth(1).map_or(Ok(7), |text| text.parse())?;
    let model = Model::load(MODEL, Limits { max_work: 10_000_000 })?;
    let mut arena = Arena::<1024>::new();
    let mut session = model.session(arena.as_mut_slice())?;

    let [rows, columns] = model.meta()?.shape.map(usize::from);
    let mut rng = Xoshiro128PlusPlus::new(seed);
    let mut digits = vec![vec![0; rows * columns]; 5];
    for digit in &mut digits {
        session.sample(&mut rng, digit)?;
    }
    art::print_beside(&digits, columns);
    println!("{} elementary steps each, in {} halfwords of memory", session.steps(), model.arena_len());
    Ok(())
}
