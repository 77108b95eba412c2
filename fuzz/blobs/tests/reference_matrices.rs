//! The runtime and the independent interpreter agree on layers, convolutions and couplings whose matrices have any
//! weights, biases and multipliers, in both packings.

use elbo::Arena;
use elbo::coupling::{CouplingStack, HiddenActivation};
use elbo::kernel::{ConvGeometry, Packing};
use elbo::program::ProgramKind;
use elbo_fuzz_blobs::Random;
use elbo_fuzz_blobs::builder::Parts;
use elbo_fuzz_blobs::reference::{Checked, Given, check};

/// A matrix of random magnitudes: from tiny to saturating, mostly weights at their limits or none.
fn layer(parts: &mut Parts, [rows, cols]: [usize; 2], random: &mut Random) -> u16 {
    let extreme = random.below(2) == 0;
    let weights: Vec<i8> = (0..rows * cols)
        .map(|_| if extreme { [-128, 127, 0, 1][random.below(4)] } else { random.bits() as i8 })
        .collect();
    let (size, growth) = (random.below(31), random.below(31));
    let numbers: Vec<(i32, i32)> = (0..rows)
        .map(|_| {
            let bias = (random.bits() as i32 >> 1) >> size;
            (bias, (random.bits() as i32 & i32::MAX) >> growth)
        })
        .collect();
    let packing = [Packing::RowMajor, Packing::Dsp4][random.below(2)];
    parts.matrix([rows, cols], packing, 32768, |r, c| weights[r * cols + c], |r| numbers[r].0, |r| numbers[r].1)
}

/// Checks a blob with its usual inputs and with several at their limits.
fn agree(parts: &Parts, case: u64, arena: &mut [i16]) -> Checked {
    let words = parts.words();
    let mut checked = Checked::default();
    let extremes = (0..4).map(|round| Given::Extreme(4 * case + round));
    for given in [Given::Usual, Given::Level(i16::MIN)].into_iter().chain(extremes) {
        checked.join(&check(&words, arena, given));
    }
    checked
}

#[test]
fn layers() {
    let mut arena = Box::new(Arena::<{ 1 << 12 }>::new());
    for case in 0..1500 {
        let mut random = Random(case);
        let mut parts = Parts::new();
        let [rows, inner, cols] = [0; 3].map(|_| 1 + random.below(13));
        let first = layer(&mut parts, [inner, cols], &mut random);
        let second = layer(&mut parts, [rows, inner], &mut random);
        parts.program(ProgramKind::Decode, |p| {
            let x = p.input(cols as u32, 11, 32768);
            let h = p.dense(x, first, 9);
            let y = p.dense(h, second, 12);
            p.outputs(&[y]);
        });
        agree(&parts, case, arena.as_mut_slice());
    }
}

#[test]
fn convolutions() {
    let mut arena = Box::new(Arena::<{ 1 << 14 }>::new());
    let mut transposed = 0;
    for case in 0..1500 {
        let mut random = Random(case);
        let mut field = |from: usize, to: usize| (from + random.below(to - from)) as u8;
        let up = if field(0, 2) == 0 { 1 } else { field(2, 4) };
        let geometry = ConvGeometry {
            height: field(1, 7),
            width: field(1, 7),
            kernel: field(usize::from(up), 5),
            stride: if up == 1 { field(1, 4) } else { 1 },
            up,
            pad: field(0, 4),
            output_padding: field(0, usize::from(up)),
        };
        if !geometry.is_valid() {
            continue;
        }
        transposed += u32::from(up > 1);
        let mut parts = Parts::new();
        let (channels, rows) = (1 + random.below(4), 1 + random.below(6));
        let first = parts.matrices.len() as u16;
        for phase in 0..geometry.phases() {
            layer(&mut parts, [rows, geometry.taps(phase) as usize * channels], &mut random);
        }
        parts.program(ProgramKind::Decode, |p| {
            let pixels = u32::from(geometry.height) * u32::from(geometry.width);
            let x = p.input(pixels * channels as u32, 11, 32768);
            let y = p.conv(x, first, geometry, 9);
            p.outputs(&[y]);
        });
        agree(&parts, case, arena.as_mut_slice());
    }
    assert!(transposed > 200, "{transposed}");
}

#[test]
fn couplings() {
    let mut arena = Box::new(Arena::<{ 1 << 12 }>::new());
    let mut checked = Checked::default();
    for case in 0..2000 {
        let mut random = Random(case);
        let mut flag = || random.below(2) == 0;
        let (sixteen, inverse, normal) = (flag(), flag(), flag());
        let activation = [HiddenActivation::Relu, HiddenActivation::Tanh, HiddenActivation::Identity];
        let stack = CouplingStack {
            couplings: 1 + random.below(3) as u8,
            layers: random.below(3) as u8,
            activation: activation[random.below(3)],
            sixteen,
            inverse,
            normal,
            scale_log2: random.below(12) as i8 - 8,
        };
        let mut parts = Parts::new();
        let d = 2 + random.below(6);
        let halves = [d.div_ceil(2), d / 2];
        let first = parts.matrices.len() as u16;
        let mut widest = 1;
        for k in 0..usize::from(stack.couplings) {
            let mut inputs = halves[k % 2];
            for _ in 0..stack.layers {
                let width = 1 + random.below(6);
                layer(&mut parts, [width, stack.columns(inputs)], &mut random);
                (inputs, widest) = (width, widest.max(width));
            }
            for _ in 0..2 {
                layer(&mut parts, [halves[(k + 1) % 2], stack.columns(inputs)], &mut random);
            }
        }
        let [from, to] = [0; 2].map(|_| random.below(16) as u8);
        parts.program(ProgramKind::SampleDensity, |p| {
            let z = p.normal(d as u32);
            let z = p.clamp(z, from.min(12), i16::MIN, i16::MAX);
            let (x, log_det) = p.couplings(stack, first, widest, z, to);
            p.outputs(&[x, log_det]);
        });
        checked.join(&agree(&parts, case, arena.as_mut_slice()));
    }
    assert!(checked.rounded >= 2 * 6 * 2000, "{checked}");
}
