//! Linear algebra for small symmetric matrices in `f64`, row-major.

/// The lower Cholesky factor `L` of a symmetric matrix `a` `[d, d]`, with `L L^T = a` and zeros above the diagonal.
/// `None` if `a` is not positive definite to working precision.
#[must_use]
pub fn cholesky(a: &[f64], d: usize) -> Option<Vec<f64>> {
    let mut l = vec![0.0; d * d];
    for i in 0..d {
        for j in 0..=i {
            let (row, other) = (&l[i * d..i * d + j], &l[j * d..j * d + j]);
            let rest = a[i * d + j] - dot(row, other);
            if i == j {
                // A smaller pivot would consist only of rounding errors.
                if !rest.is_finite() || rest <= a[i * d + i] * 1e-14 {
                    return None;
                }
                l[i * d + i] = rest.sqrt();
            } else {
                l[i * d + j] = rest / l[j * d + j];
            }
        }
    }
    Some(l)
}

/// The inverse of a lower triangular matrix with a positive diagonal. It is also lower triangular.
#[must_use]
pub fn invert_lower(l: &[f64], d: usize) -> Vec<f64> {
    let mut inverse = vec![0.0; d * d];
    for column in 0..d {
        inverse[column * d + column] = 1.0 / l[column * d + column];
        for row in column + 1..d {
            let sum: f64 = (column..row).map(|at| l[row * d + at] * inverse[at * d + column]).sum();
            inverse[row * d + column] = -sum / l[row * d + row];
        }
    }
    inverse
}

/// `L y` for a lower triangular `l`.
#[must_use]
pub fn lower_product(l: &[f64], y: &[f64]) -> Vec<f64> {
    let d = y.len();
    (0..d).map(|row| dot(&l[row * d..=row * d + row], &y[..=row])).collect()
}

/// The dot product.
#[must_use]
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `B B^T + 1/100 I` of a square `B`: positive definite.
    fn definite(b: &[f64], d: usize) -> Vec<f64> {
        let mut a = vec![0.0; d * d];
        for i in 0..d {
            for j in 0..d {
                a[i * d + j] = dot(&b[i * d..][..d], &b[j * d..][..d]) + if i == j { 0.01 } else { 0.0 };
            }
        }
        a
    }

    proptest! {
        #[test]
        fn factor_and_inverse(b in prop::collection::vec(-2f64..2.0, 36), d in 1usize..=6) {
            let a = definite(&b[..d * d], d);
            let l = cholesky(&a, d).unwrap();
            let inverse = invert_lower(&l, d);
            for i in 0..d {
                for j in 0..d {
                    let product = dot(&l[i * d..][..d], &l[j * d..][..d]);
                    prop_assert!((product - a[i * d + j]).abs() < 1e-12 * (1.0 + a[i * d + i].abs() + a[j * d + j].abs()));
                    let one: f64 = (0..d).map(|k| inverse[i * d + k] * l[k * d + j]).sum();
                    let identity = f64::from(u8::from(i == j));
                    prop_assert!((one - identity).abs() < 1e-9);
                }
                prop_assert!(l[i * d + i + 1..(i + 1) * d].iter().all(|v| *v == 0.0));
            }
            let y: Vec<f64> = b[..d].to_vec();
            let back: Vec<f64> = lower_product(&inverse, &lower_product(&l, &y));
            prop_assert!(back.iter().zip(&y).all(|(a, b)| (a - b).abs() < 1e-9));
        }
    }

    #[test]
    fn what_is_not_positive_definite_has_no_factor() {
        assert_eq!(cholesky(&[1.0, 1.0, 1.0, 1.0], 2), None);
        assert_eq!(cholesky(&[1.0, 2.0, 2.0, 1.0], 2), None);
        assert_eq!(cholesky(&[0.0], 1), None);
        assert_eq!(cholesky(&[f64::NAN], 1), None);
        assert_eq!(cholesky(&[4.0, 2.0, 2.0, 2.0], 2), Some(vec![2.0, 0.0, 1.0, 1.0]));
    }
}
