//! Checks of losses and gradients that the tests of several modules share.

use candle_core::{DType, Device, Tensor, Var};

/// The elements of a tensor in row-major order, in double precision.
pub(crate) fn values(t: &Tensor) -> Vec<f64> {
    t.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

/// The value of a scalar tensor in double precision.
pub(crate) fn scalar(t: &Tensor) -> f64 {
    t.to_dtype(DType::F64).unwrap().to_scalar().unwrap()
}

/// Asserts that the loss has a finite gradient for every variable, and that no gradient is zero.
pub(crate) fn assert_every_variable_learns(vars: &[(String, Var)], loss: &Tensor) {
    let grads = loss.backward().unwrap();
    for (name, var) in vars {
        let g = grads.get(var).unwrap_or_else(|| panic!("{name} has no gradient"));
        let size = scalar(&g.abs().unwrap().sum_all().unwrap());
        assert!(size > 0.0 && size.is_finite(), "{name}: {size}");
    }
}

/// Asserts that the gradient of a loss in double precision agrees with central differences, in at most `elements`
/// elements of the variable.
pub(crate) fn assert_gradient_is_slope(
    name: &str,
    var: &Var,
    gradient: &Tensor,
    elements: usize,
    loss: impl Fn() -> f64,
) {
    let (gradient, start) = (values(gradient), values(var));
    let step = 1e-6;
    for i in (0..start.len()).step_by(start.len() / elements + 1) {
        let at = |difference: f64| {
            let mut shifted = start.clone();
            shifted[i] += difference;
            var.set(&Tensor::from_vec(shifted, var.shape(), &Device::Cpu).unwrap()).unwrap();
            loss()
        };
        let slope = (at(step) - at(-step)) / (2.0 * step);
        at(0.0);
        let error = (slope - gradient[i]).abs();
        assert!(error < 1e-6 * (1.0 + slope.abs()), "{name}[{i}]: slope {slope}, gradient {}", gradient[i]);
    }
}

/// Asserts that the loss has a gradient for every variable, and that all gradients agree with central differences (see
/// [`assert_gradient_is_slope`]).
pub(crate) fn assert_gradients_are_slopes(vars: &[(String, Var)], elements: usize, loss: impl Fn() -> Tensor) {
    let grads = loss().backward().unwrap();
    for (name, var) in vars {
        let gradient = grads.get(var).unwrap_or_else(|| panic!("{name} has no gradient"));
        assert_gradient_is_slope(name, var, gradient, elements, || scalar(&loss()));
    }
}
