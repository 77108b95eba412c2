//! Compares stacks of affine couplings, as the interpreter runs them, with floating point.
#![cfg(feature = "flow")]

use elbo::coupling::{CouplingStack, HiddenActivation};
use elbo::kernel::Packing;
use elbo::program::{Opcode, ProgramKind};
use elbo_fuzz_blobs::builder::Parts;
use proptest::prelude::*;

mod common;
use common::{run_all, value};

/// A layer of a network in real numbers: rows of weights, each with its bias.
type Layer = Vec<(Vec<f64>, f64)>;

/// A stack with its integer matrices and the real numbers that they represent.
#[derive(Clone, Debug)]
struct Case {
    stack: CouplingStack,
    dims: usize,
    widest: usize,
    parts: Parts,
    layers: Vec<Layer>,
}

impl Case {
    fn new(stack: CouplingStack, dims: usize, widths: &[usize], salt: u32) -> Self {
        let mut case = Self {
            stack,
            dims,
            widest: widths.iter().copied().fold(1, usize::max),
            parts: Parts::new(),
            layers: vec![],
        };
        let halves = [dims.div_ceil(2), dims / 2];
        for k in 0..usize::from(stack.couplings) {
            let mut inputs = halves[k % 2];
            for &width in widths {
                case.layer(width, inputs, salt);
                inputs = width;
            }
            case.layer(halves[(k + 1) % 2], inputs, salt);
            case.layer(halves[(k + 1) % 2], inputs, salt);
        }
        case
    }

    fn layer(&mut self, rows: usize, inputs: usize, salt: u32) {
        let index = self.layers.len() as u32;
        let hash =
            |i: u32| (salt ^ (index << 20) ^ i).wrapping_mul(0x9E37_79B9).rotate_left(13).wrapping_mul(0x85EB_CA6B);
        let cols = self.stack.columns(inputs);
        let upper = if self.stack.sixteen { cols / 2 } else { cols };
        // The padding is zero.
        let weight =
            |row: usize, col: usize| if col % upper < inputs { (hash((row * 64 + col) as u32) >> 24) as i8 } else { 0 };
        let bias = |row: usize| hash(5000 + row as u32) as i32 >> 11;
        // A weight of 127 represents a quarter to a half.
        let multiplier = |row: usize| (1 << 23) + (hash(6000 + row as u32) >> 9) as i32;
        let packing = if index.is_multiple_of(2) { Packing::Dsp4 } else { Packing::RowMajor };
        self.parts.matrix([rows, cols], packing, 32768, weight, bias, multiplier);
        let real = |row: usize| {
            let unit = f64::from(multiplier(row)) / f64::from(32).exp2();
            let lower = |col: usize| if self.stack.sixteen { f64::from(weight(row, upper + col)) / 256.0 } else { 0.0 };
            let weights = (0..inputs).map(|col| (f64::from(weight(row, col)) + lower(col)) * unit);
            (weights.collect(), f64::from(bias(row)) * unit / 4096.0)
        };
        self.layers.push((0..rows).map(real).collect());
    }

    /// The image of a point under the stack, and the log-determinant.
    fn exact(&self, point: &[f64], inverse: bool) -> (Vec<f64>, f64) {
        let (even, odd) = point.split_at(point.len().div_ceil(2));
        let mut halves = [even.to_vec(), odd.to_vec()];
        let affine = |layer: &Layer, x: &[f64]| {
            let row = |(w, b): &(Vec<f64>, f64)| w.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + b;
            layer.iter().map(row).collect::<Vec<f64>>()
        };
        let mut couplings: Vec<_> = self.layers.chunks(usize::from(self.stack.matrices())).enumerate().collect();
        if inverse {
            couplings.reverse();
        }
        let mut log_det = 0.0;
        for (k, layers) in couplings {
            let (hidden, ends) = layers.split_at(layers.len() - 2);
            let activate = |v: f64| match self.stack.activation {
                HiddenActivation::Relu => v.max(0.0),
                HiddenActivation::Tanh => v.tanh(),
                HiddenActivation::Identity => v,
            };
            let h = hidden
                .iter()
                .fold(halves[k % 2].clone(), |x, layer| affine(layer, &x).into_iter().map(activate).collect());
            let ends = affine(&ends[0], &h).into_iter().zip(affine(&ends[1], &h));
            for (x, (shift, raw)) in halves[(k + 1) % 2].iter_mut().zip(ends) {
                let s = raw.tanh() * f64::from(self.stack.scale_log2).exp2();
                log_det += if inverse { -s } else { s };
                *x = if inverse { (*x - shift) * (-s).exp() } else { *x * s.exp() + shift };
            }
        }
        (halves.concat(), log_det)
    }

    /// Upper bound of the distance between the images of nearby points, relative to their distance along each
    /// coordinate.
    fn gain(&self, point: &[f64], inverse: bool) -> f64 {
        const STEP: f64 = 1e-5;
        let mut sums = vec![0.0; point.len()];
        for at in 0..point.len() {
            let ends = [-STEP, STEP].map(|by| {
                let mut near = point.to_vec();
                near[at] += by;
                self.exact(&near, inverse).0
            });
            let slopes = ends[0].iter().zip(&ends[1]).map(|(low, high)| ((high - low) / (2.0 * STEP)).abs());
            sums.iter_mut().zip(slopes).for_each(|(sum, slope)| *sum += slope);
        }
        sums.into_iter().fold(1.0, f64::max)
    }

    /// The image of a point of 12 fractional bits, the image of that under the other direction, and the
    /// log-determinants.
    fn run(&self, z: &[i16], frac: u8) -> ([Vec<i16>; 2], [f64; 2]) {
        let [there, back] =
            [self.stack.inverse, !self.stack.inverse].map(|inverse| CouplingStack { inverse, ..self.stack });
        let log_det = |second: bool| {
            let (_, nats) = run_all(ProgramKind::Score, &mut self.parts.clone(), &[z], |p| {
                let z = p.input(z.len() as u32, 12, 32768);
                let (x, first) = p.couplings(there, 0, self.widest, z, frac);
                let (_, other) = p.couplings(back, 0, self.widest, x, 12);
                p.outputs(&[if second { other } else { first }]);
            });
            nats as f64 / 65536.0
        };
        let (images, _) = run_all(ProgramKind::Encode, &mut self.parts.clone(), &[z], |p| {
            let z = p.input(z.len() as u32, 12, 32768);
            let (x, _) = p.couplings(there, 0, self.widest, z, frac);
            let (z, _) = p.couplings(back, 0, self.widest, x, 12);
            p.outputs(&[x, z]);
        });
        (images, [log_det(false), log_det(true)])
    }
}

fn stacks() -> impl Strategy<Value = Case> {
    let activations = [HiddenActivation::Relu, HiddenActivation::Tanh, HiddenActivation::Identity];
    let shape = (1u8..5, prop::sample::select(activations.to_vec()), any::<bool>(), any::<bool>(), -3i8..=1);
    (shape, 2usize..8, prop::collection::vec(1usize..10, 0..3), any::<u32>()).prop_map(|(shape, dims, widths, salt)| {
        let (couplings, activation, sixteen, inverse, scale_log2) = shape;
        let stack = CouplingStack {
            couplings,
            layers: widths.len() as u8,
            activation,
            sixteen,
            inverse,
            normal: false,
            scale_log2,
        };
        Case::new(stack, dims, &widths, salt)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// The error is at most half an LSB, plus the amplification by the stack and its inverse of 2^-14 of the largest
    /// coordinate.
    #[test]
    fn stacks_of_couplings(case in stacks(), z in prop::collection::vec(-12000i16..12000, 8), frac in 8u8..=12) {
        let z = &z[..case.dims];
        let real: Vec<f64> = z.iter().map(|q| value(*q, 12)).collect();
        let (exact, log_det) = case.exact(&real, case.stack.inverse);
        let range = f64::from(15 - i32::from(frac)).exp2() * 0.99;
        prop_assume!(exact.iter().all(|v| v.abs() < range));
        let ([x, back], [there, home]) = case.run(z, frac);
        let (gain, other) = (case.gain(&real, case.stack.inverse), case.gain(&exact, !case.stack.inverse));
        let most = real.iter().chain(&exact).fold(1.0, |most, v| v.abs().max(most));
        let rough = most * gain * other / 4.0 * f64::from(i32::from(frac) - 12).exp2();
        for (x, exact) in x.iter().zip(&exact) {
            let off = f64::from(*x) - exact * f64::from(frac).exp2();
            prop_assert!(off.abs() <= 0.5 + rough, "{x}: {off} {rough}");
        }
        prop_assert!((there - log_det).abs() < 2e-4 * gain * other, "{there} {log_det}");
        let mut normal = case.clone();
        normal.stack.normal = true;
        let expected = log_det - exact.iter().map(|v| v * v / 2.0).sum::<f64>();
        let tolerance = 2e-4 * most * gain * other;
        let (_, [density, _]) = normal.run(z, frac);
        prop_assert!((density - expected).abs() < tolerance, "{density} {expected}");
        // Half an LSB of each intermediate rounding, and half an LSB at the end.
        let step = f64::from(12 - i32::from(frac)).exp2();
        for (z, back) in z.iter().zip(&back) {
            let off = f64::from(*back) - f64::from(*z);
            prop_assert!(off.abs() <= 0.5 + (0.5 * step + rough) * other * 1.01, "{z}: {off} {other}");
        }
        prop_assert!((there + home).abs() < 2e-4 * gain * other + 2e-3 * step * other, "{there} {home}");
    }

    /// Far points and large weights saturate and do not wrap.
    #[test]
    fn what_is_too_large_saturates(z in prop::collection::vec(any::<i16>(), 2), up: bool, sixteen: bool, inverse: bool, layers in 0u8..3) {
        let stack = CouplingStack { couplings: 255, layers, activation: HiddenActivation::Relu, sixteen, inverse, normal: false, scale_log2: 3 };
        let mut parts = Parts::new();
        for _ in 0..255 * u32::from(stack.matrices()) {
            let weight = if up { 127 } else { -128 };
            let cols = stack.columns(1);
            let weight = move |_, col: usize| if col.is_multiple_of(4) { weight } else { 0 };
            parts.matrix([1, cols], Packing::RowMajor, 32768, weight, |_| 1 << 30, |_| i32::MAX);
        }
        let ([x, _], _) = run_all(ProgramKind::Encode, &mut parts, &[&z], |p| {
            let z = p.input(2, 0, 32768);
            let (x, log_det) = p.couplings(stack, 0, 1, z, 0);
            let _ = log_det;
            p.outputs(&[x, x]);
        });
        prop_assert!(x.iter().all(|x| x.unsigned_abs() <= 2048), "{x:?}");
    }
}

/// The output is the image followed by zeros. Nothing remains of the working memory.
#[test]
fn zeros_follow_the_image() {
    let stack = CouplingStack {
        couplings: 3,
        layers: 1,
        activation: HiddenActivation::Tanh,
        sixteen: false,
        inverse: false,
        normal: false,
        scale_log2: 0,
    };
    let case = Case::new(stack, 5, &[6], 9);
    let ([whole, image], _) =
        run_all(ProgramKind::Encode, &mut case.parts.clone(), &[&[4096, -4096, 0, 100, 8192]], |p| {
            let z = p.input(5, 12, 32768);
            let (image, _) = p.couplings(stack, 0, case.widest, z, 12);
            let whole = p.ops().iter().find(|op| op.opcode == Opcode::Couplings).map_or(0, |op| op.output);
            p.outputs(&[whole, image]);
        });
    assert_eq!(whole.len(), CouplingStack::output_len(5, 6));
    assert_eq!(whole[..5], image);
    assert!(whole[5..].iter().all(|q| *q == 0), "{whole:?}");
}
