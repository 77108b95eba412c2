use candle_core::{DType, Device, Tensor};

use super::Posterior;
use crate::nn::Rng;
use crate::testing::values;

const CPU: Device = Device::Cpu;

/// Inverse and determinant by Gauss-Jordan elimination, of a positive definite matrix.
fn inverse(mut a: Vec<Vec<f64>>) -> (Vec<Vec<f64>>, f64) {
    let n = a.len();
    let mut inverse: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    let mut determinant = 1.0;
    for i in 0..n {
        let pivot = a[i][i];
        determinant *= pivot;
        for j in 0..n {
            a[i][j] /= pivot;
            inverse[i][j] /= pivot;
        }
        for k in (0..n).filter(|k| *k != i) {
            let factor = a[k][i];
            for j in 0..n {
                a[k][j] -= factor * a[i][j];
                inverse[k][j] -= factor * inverse[i][j];
            }
        }
    }
    (inverse, determinant)
}

/// The paper's covariance and its square root, built from `D` and `u` as it writes them.
#[test]
fn rank_one_is_the_papers_covariance() {
    let n = 6;
    for scale in [0.0, 1e-9, 0.5, 8.0] {
        let mut rng = Rng::new(21);
        let draw = |rng: &mut Rng, scale: f64| (rng.normal((1, n), DType::F64, &CPU).unwrap() * scale).unwrap();
        let (mu, logvar, v) = (draw(&mut rng, 1.0), draw(&mut rng, 1.5), draw(&mut rng, scale));
        let q = Posterior { mu: mu.clone(), logvar: logvar.clone(), v: Some(v.clone()) };
        let (mu, logvar, v) = (values(&mu), values(&logvar), values(&v));
        let d: Vec<f64> = logvar.iter().map(|l| (-l).exp()).collect();
        let u: Vec<f64> = d.iter().zip(&v).map(|(d, v)| d.sqrt() * v).collect();
        let precision =
            (0..n).map(|i| (0..n).map(|j| if i == j { d[i] } else { 0.0 } + u[i] * u[j]).collect()).collect();
        let (c, determinant) = inverse(precision);

        // The columns of R are the draws of unit noise, less the mean.
        let unit = Tensor::eye(n, DType::F64, &CPU).unwrap();
        let copies = q.repeat(n).unwrap();
        let r = copies.draw(&unit).unwrap().to_vec2::<f64>().unwrap();
        let r: Vec<Vec<f64>> = r.iter().map(|row| row.iter().zip(&mu).map(|(a, b)| a - b).collect()).collect();
        let s: f64 = u.iter().zip(&d).map(|(u, d)| u * u / d).sum();
        let eta = 1.0 / (1.0 + s);
        for i in 0..n {
            for j in 0..n {
                let product: f64 = (0..n).map(|k| r[k][i] * r[k][j]).sum();
                assert!((product - c[i][j]).abs() < 1e-10 * (1.0 + c[i][j].abs()), "{product} {}", c[i][j]);
                if s > 1e-6 {
                    let diagonal = if i == j { d[i].powf(-0.5) } else { 0.0 };
                    let paper = diagonal - (1.0 - eta.sqrt()) / s * (u[i] / d[i]) * (u[j] * d[j].powf(-0.5));
                    assert!((r[j][i] - paper).abs() < 1e-10, "{} {paper}", r[j][i]);
                }
            }
        }
        let trace: f64 = (0..n).map(|i| c[i][i]).sum();
        let norm: f64 = mu.iter().map(|m| m * m).sum();
        let want = 0.5 * (norm + trace + determinant.ln() - n as f64);
        let got = values(&q.kl().unwrap())[0];
        assert!((got - want).abs() < 1e-9 * (1.0 + want), "{got} {want}");

        // log q - log p by their densities.
        let eps = rng.normal((1, n), DType::F64, &CPU).unwrap();
        let xi = q.draw(&eps).unwrap();
        let point = values(&xi);
        let mut square = 0.0;
        for i in 0..n {
            for j in 0..n {
                let entry = if i == j { d[i] } else { 0.0 } + u[i] * u[j];
                square += (point[i] - mu[i]) * entry * (point[j] - mu[j]);
            }
        }
        let want = 0.5 * (determinant.ln() - square + point.iter().map(|x| x * x).sum::<f64>());
        let got = values(&q.log_ratio(&xi, &eps).unwrap())[0];
        assert!((got - want).abs() < 1e-8 * (1.0 + want.abs()), "{got} {want}");
    }
}
