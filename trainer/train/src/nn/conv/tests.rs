use candle_core::{DType, Device, Tensor, Var};

use super::super::tests::{compare_within, noise};
use super::super::{Activation, Rng, composed, conv_transpose2d, conv2d};
use super::Window;
use crate::testing::{assert_gradient_is_slope, scalar};

const CPU: Device = Device::Cpu;
const ACTIVATIONS: [Activation; 3] = [Activation::Identity, Activation::Relu, Activation::Tanh];

type Form = fn(&Tensor, &Tensor, &Tensor, Window, Activation) -> candle_core::Result<Tensor>;

fn window(kernel: usize, stride: usize, pad: usize, output_padding: usize) -> Window {
    Window { kernel, stride, pad, output_padding }
}

/// Windows that fit an image of 5 by 4 both ways.
fn windows() -> Vec<Window> {
    let mut windows = Vec::new();
    for kernel in 1..=5 {
        for stride in 1..=3 {
            for pad in 0..=2 {
                let all = (0..stride).map(|extra| window(kernel, stride, pad, extra));
                windows.extend(all.filter(|w| w.output_side(4) > 0 && w.transposed_output_side(4) > 0));
            }
        }
    }
    windows
}

/// The text-book's sums, with no patches: a convolution gathers, a transposed one lets every input pixel add its
/// kernel.
fn naive(x: &Tensor, w: &Tensor, bias: &Tensor, window: Window, transposed: bool) -> Vec<f64> {
    let (b, h, wd, c) = x.dims4().unwrap();
    let o = w.dim(0).unwrap();
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap();
    let (xs, ws, bias) = (flat(x), flat(w), flat(bias));
    let Window { kernel: k, stride, pad, output_padding } = window;
    let side = |n: usize| match transposed {
        false => (n + 2 * pad - k) / stride + 1,
        true => (n - 1) * stride + k + output_padding - 2 * pad,
    };
    let (rows, cols) = (side(h), side(wd));
    let mut y: Vec<f64> = (0..b * rows * cols * o).map(|i| bias[i % o]).collect();
    for (n, iy, ix) in (0..b * h * wd).map(|i| (i / h / wd, i / wd % h, i % wd)) {
        for (ky, kx) in (0..k * k).map(|i| (i / k, i % k)) {
            let reach = |i: usize, k: usize, outputs: usize| {
                let at = match transposed {
                    false => (i + pad).checked_sub(k).filter(|at| at % stride == 0).map(|at| at / stride),
                    true => (i * stride + k).checked_sub(pad),
                };
                at.filter(|at| *at < outputs)
            };
            let (Some(oy), Some(ox)) = (reach(iy, ky, rows), reach(ix, kx, cols)) else { continue };
            for (ch, out) in (0..c * o).map(|i| (i / o, i % o)) {
                let x = xs[((n * h + iy) * wd + ix) * c + ch];
                y[((n * rows + oy) * cols + ox) * o + out] += x * ws[((out * k + ky) * k + kx) * c + ch];
            }
        }
    }
    y
}

#[test]
fn both_forms_equal_the_textbook() {
    let mut rng = Rng::new(1);
    for w in windows() {
        for (transposed, (b, c, o)) in [(false, (2, 3, 2)), (true, (2, 3, 2)), (false, (1, 1, 4)), (true, (1, 4, 1))] {
            let x = noise(&mut rng, &[b, 5, 4, c], 1.0);
            let (weight, bias) = (noise(&mut rng, &[o, w.kernel, w.kernel, c], 1.0), noise(&mut rng, &[o], 1.0));
            let expected = naive(&x, &weight, &bias, w, transposed);
            let forms: [Form; 2] = match transposed {
                false => [conv2d, composed::conv2d],
                true => [conv_transpose2d, composed::conv_transpose2d],
            };
            for form in forms {
                let got = form(&x, &weight, &bias, w, Activation::Identity).unwrap();
                let got: Vec<f32> = got.flatten_all().unwrap().to_vec1().unwrap();
                assert_eq!(got.len(), expected.len(), "{w:?} {transposed}");
                let close = got.iter().zip(&expected).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-4);
                assert!(close, "{w:?}, transposed {transposed}");
            }
        }
    }
}

#[test]
fn fused_gradients_equal_the_definition() {
    let mut rng = Rng::new(2);
    let mut check = |(b, side, c, o): (usize, usize, usize, usize), w: Window, activation: Activation| {
        // Sums over thousands of pixels in another order differ by more.
        let tolerance = if b > 3 { 1e-4 } else { 1e-5 };
        let scale = 1.0 / (c as f64).sqrt() / w.kernel as f64;
        let inputs = [
            noise(&mut rng, &[b, side, side, c], 1.0),
            noise(&mut rng, &[o, w.kernel, w.kernel, c], scale),
            noise(&mut rng, &[o], 1.0),
        ];
        compare_within(
            tolerance,
            &inputs,
            |t| conv2d(&t[0], &t[1], &t[2], w, activation),
            |t| composed::conv2d(&t[0], &t[1], &t[2], w, activation),
        );
        compare_within(
            tolerance,
            &inputs,
            |t| conv_transpose2d(&t[0], &t[1], &t[2], w, activation),
            |t| composed::conv_transpose2d(&t[0], &t[1], &t[2], w, activation),
        );
    };
    for w in windows() {
        check((3, 4, 2, 3), w, Activation::Tanh);
    }
    for activation in ACTIVATIONS {
        // On two threads, in several chunks of images, and an odd number of them.
        check((33, 14, 8, 6), window(4, 2, 1, 0), activation);
        check((7, 9, 1, 16), window(5, 2, 2, 1), activation);
    }
}

/// Gradients of the definition against slopes, in `f64`.
#[test]
fn finite_differences_agree() {
    let mut rng = Rng::new(3);
    let f64s =
        |rng: &mut Rng, shape: &[usize]| Var::from_tensor(&rng.normal(shape, DType::F64, &CPU).unwrap()).unwrap();
    for transposed in [false, true] {
        for w in [window(3, 2, 1, 1), window(4, 2, 1, 0), window(2, 1, 0, 0)] {
            let vars =
                [f64s(&mut rng, &[2, 4, 3, 2]), f64s(&mut rng, &[3, w.kernel, w.kernel, 2]), f64s(&mut rng, &[3])];
            let loss = || {
                let [x, weight, bias] = [0, 1, 2].map(|i: usize| vars[i].as_tensor());
                let y = match transposed {
                    false => conv2d(x, weight, bias, w, Activation::Tanh),
                    true => conv_transpose2d(x, weight, bias, w, Activation::Tanh),
                };
                y.unwrap().sqr().unwrap().sum_all().unwrap()
            };
            let grads = loss().backward().unwrap();
            for var in &vars {
                assert_gradient_is_slope(&format!("{w:?}"), var, grads.get(var).unwrap(), 7, || scalar(&loss()));
            }
        }
    }
}

#[test]
fn threads_change_no_bit() {
    let run = || {
        let mut rng = Rng::new(4);
        let x = Var::from_tensor(&noise(&mut rng, &[17, 12, 12, 6], 1.0)).unwrap();
        let weight = Var::from_tensor(&noise(&mut rng, &[8, 4, 4, 6], 1.0)).unwrap();
        let bias = noise(&mut rng, &[8], 1.0);
        let y = conv2d(x.as_tensor(), weight.as_tensor(), &bias, window(4, 2, 1, 0), Activation::Relu).unwrap();
        let grads = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        [grads.get(&x).unwrap(), grads.get(&weight).unwrap()]
            .map(|g| g.flatten_all().unwrap().to_vec1::<f32>().unwrap())
    };
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let two = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    assert_eq!(one.install(run), two.install(run));
}

#[test]
fn what_does_not_match_is_refused() {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &CPU).unwrap();
    let (x, weight, bias) = (zeros(&[1, 4, 4, 2]), zeros(&[3, 3, 3, 2]), zeros(&[3]));
    let try_with = |x: &Tensor, w: &Tensor, b: &Tensor, win| conv2d(x, w, b, win, Activation::Relu);
    assert!(try_with(&x, &weight, &bias, window(3, 1, 1, 0)).is_ok());
    assert!(try_with(&x, &weight, &bias, window(4, 1, 1, 0)).is_err());
    assert!(try_with(&zeros(&[1, 4, 4, 1]), &weight, &bias, window(3, 1, 1, 0)).is_err());
    assert!(try_with(&zeros(&[4, 4, 2]), &weight, &bias, window(3, 1, 1, 0)).is_err());
    assert!(try_with(&x, &weight, &zeros(&[2]), window(3, 1, 1, 0)).is_err());
    assert!(try_with(&zeros(&[1, 2, 2, 2]), &weight, &bias, window(3, 1, 0, 0)).is_err());
    assert!(try_with(&x, &weight, &bias, window(3, 0, 1, 0)).is_err());
    assert!(conv_transpose2d(&x, &weight, &bias, window(3, 1, 1, 1), Activation::Relu).is_err());
}
