//! Scores a digit, and the same digit with more and more inverted pixels: `cargo run -p elbo --example score`.
//!
//! A score is -ELBO in nats: a higher score means a less likely input. The blob knows how rare a score is among digits that
//! the model was not trained on.

mod art;

use std::error::Error;

use elbo::{Arena, Limits, Model, ProgramKind, Rate};

static MODEL: &[u8] = elbo::include_blob!("digits.elbo");

fn main() -> Result<(), Box<dyn Error>> {
    let model = Model::load(MODEL, Limits { max_work: 10_000_000 })?;
    let mut arena = Arena::<1024>::new();
    let mut session = model.session(arena.as_mut_slice())?;

    let meta = model.meta()?;
    // A model that was compiled with too few held-out rows has no threshold, and a device must not invent one.
    let calibration = meta.calibrations.get(ProgramKind::Score).ok_or("the model's score is not calibrated")?;
    let threshold = calibration.threshold(Rate::ONE_IN_100)?;
    let input =
        model.program(ProgramKind::Score).and_then(|program| program.inputs[0]).ok_or("the model does not score")?;
    // The value of a white pixel at the input's scale: here 1 << 14.
    let one = 1_i16 << input.frac;
    let digit: Vec<i16> = meta.self_test.input.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();

    println!("at most 1 % of digits score {threshold} nats or more");
    for inverted in [0, 4, 8, 16, 32] {
        let mut x = digit.clone();
        // The pixels are spread over the picture, because 5 has no factor in common with the number of pixels.
        for place in (0..inverted).map(|step| step * 5 % digit.len()) {
            x[place] = one - x[place];
        }
        let score = session.score(&x)?;
        let verdict = if score >= threshold { "an anomaly" } else { "normal" };
        println!("\n{inverted} pixels inverted: {score} nats, p = {}, {verdict}", calibration.p_value(score));
        // From the input's scale to Q15.
        let picture: Vec<i16> = x.iter().map(|&q| ((i32::from(q) << (15 - input.frac)) - 1).max(0) as i16).collect();
        println!("{}", art::rows(&picture, usize::from(meta.shape[1])).join("\n"));
    }
    Ok(())
}
