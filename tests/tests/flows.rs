//! Checks that flows invert what they decode, over a million latents, in integers.

use std::path::{Path, PathBuf};

use elbo::program::ProgramKind;
use elbo::rng::Xoshiro128PlusPlus;
use elbo::{Limits, Noise};
use elbo_compiler::host::{Blob, HostArena};
use elbo_tests::data;
use rand_core::SeedableRng;

/// Returns the errors over `count` latents: the largest, in steps of the latent's scale; the largest relative to the
/// bound `2 + 2 gain`, where `gain` is the factor by which the inverse amplifies a step of the image at that point; and
/// the largest error of the log-density in nats. The last number counts the latents that were left out: an image
/// coordinate of 8 or more is outside the range to which rows are clamped, or cannot be represented.
fn round_trips(file: &Path, count: usize) -> (i32, f64, f64, usize) {
    let blob = Blob::read(file).unwrap();
    let model = blob.load(Limits::host()).unwrap();
    let [decode, invert] = [ProgramKind::Decode, ProgramKind::Invert].map(|kind| model.program(kind).unwrap());
    let (from, to) = (decode.inputs[0].unwrap(), invert.outputs[0].unwrap());
    let (x_info, d) = (decode.outputs[0].unwrap(), from.len);
    let read = invert.inputs[0].unwrap();
    let mut arena = HostArena::new(&model);
    let mut session = model.session(arena.as_mut_slice()).unwrap();
    let mut rng = Xoshiro128PlusPlus::seed_from_u64(3);
    let (mut z, mut x, mut back, mut moved) = (vec![0; d], vec![0; d], vec![0; d], vec![0; d]);
    let (mut worst, mut share, mut nats, mut outside) = (0, 0f64, 0f64, 0);
    // Latents and their images at the scales at which the programs read and write them.
    let rescale = |q: i16, from: u32, to: u32| (f64::from(q) * f64::from(to as i32 - from as i32).exp2()).round();
    for _ in 0..count {
        rng.normal(&mut z);
        for q in &mut z {
            *q = rescale(*q, 12, from.frac) as i16;
        }
        session.decode(&z, &mut x).unwrap();
        for q in &mut x {
            *q = rescale(*q, x_info.frac, read.frac) as i16;
        }
        if x.iter().any(|q| i32::from(*q).abs() >= (8 << read.frac) - 1) {
            outside += 1;
            continue;
        }
        session.invert(&x, &mut back).unwrap();
        let error = z
            .iter()
            .zip(&back)
            .map(|(z, back)| (rescale(*z, from.frac, to.frac) - f64::from(*back)).abs() as i32)
            .max()
            .unwrap();
        worst = worst.max(error);
        if error > 2 {
            // The gain is measured over several steps in both directions, because the slope of a single step of a
            // staircase is inaccurate.
            let mut gain = 0f64;
            for i in 0..d {
                let mut ends = [moved.clone(), moved.clone()];
                for (end, by) in ends.iter_mut().zip([-8, 8]) {
                    let mut near = x.clone();
                    near[i] = near[i].saturating_add(by);
                    session.invert(&near, end).unwrap();
                }
                let [low, high] = &ends;
                let change = low.iter().zip(high).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>();
                gain = gain.max(change.sqrt() / 16.0);
            }
            share = share.max(f64::from(error) / (2.0 + 2.0 * gain));
        }
        let mut replay = Replay(&z, from.frac);
        if let Ok(drawn) = session.sample_density(&mut replay, &mut moved) {
            nats = nats.max((session.score(&x).unwrap().to_f64() - drawn.to_f64()).abs());
        }
    }
    (worst, share, nats, outside)
}

/// Replays a latent instead of noise.
struct Replay<'z>(&'z [i16], u32);

impl Noise for Replay<'_> {
    fn normal(&mut self, out: &mut [i16]) {
        out.iter_mut().zip(self.0).for_each(|(out, q)| *out = (i32::from(*q) << (12 - self.1)) as i16);
    }
}

/// Number of latents to test. `ELBO_LATENTS` sets another number.
fn latents(count: usize) -> usize {
    std::env::var("ELBO_LATENTS").map_or(count, |text| text.parse().expect("ELBO_LATENTS is a number"))
}

fn golden(name: &str) -> PathBuf {
    data(&format!("families/{name}.elbo"))
}

#[test]
fn additive_couplings_invert_each_other_exactly() {
    assert_eq!(round_trips(&golden("nice"), latents(1_000_000)).0, 0);
}

/// `ELBO_FLOW` names another blob to be measured instead.
#[test]
fn other_flows_invert_within_rounding() {
    let count = latents(100_000);
    let measure = |file: &Path| {
        let (worst, share, nats, outside) = round_trips(file, count);
        let name = file.file_stem().unwrap_or_default().display();
        println!(
            "{name}: worst {worst} LSB, {share:.2} of 2 LSB and twice the gain, log-density within {nats:.4} nats, {outside} left out"
        );
        assert!(share <= 1.0 && nats < 0.02, "{name}: {share} of 2 LSB and twice the gain, {nats} nats");
        (worst, outside)
    };
    if let Some(file) = std::env::var_os("ELBO_FLOW") {
        measure(Path::new(&file));
        return;
    }
    // Planar and radial stacks invert within 2 LSB for any gain.
    for (name, most) in [("planar", 2), ("radial", 2), ("realnvp", i32::MAX)] {
        let (worst, outside) = measure(&golden(name));
        assert!(worst <= most && outside == 0, "{name}: {worst} LSB, {outside} left out");
    }
}
