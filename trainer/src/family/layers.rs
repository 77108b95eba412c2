/// A dense layer as plain numbers, for the compiler: `y = W x + b`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DenseLayer {
    /// Weights, row-major, `[out, inp]`.
    pub w: Vec<f32>,
    /// Bias, `[out]`.
    pub b: Vec<f32>,
    /// Number of outputs.
    pub out: usize,
    /// Number of inputs.
    pub inp: usize,
}
