//! The operations. The table [`operations!`] defines all of them: code, name, meaning, and what each requires of its
//! operands. Everything that covers all operations is generated from it: the codes, the dispatch of the verifier and of
//! the interpreter, the compiler's rules about scales, the fuzzers' choices, and the table in `docs/blob-format.md`. A
//! line may end with facts that only such tools need; they take no space in a firmware.
//! The file of each group contains the rest: bounds, costs, evaluation and arithmetic. A disabled feature leaves out
//! whole files.

#[macro_use]
mod generate;

pub mod bounds;
mod facts;
pub(crate) mod machine;
mod rules;

mod activation;
#[cfg(feature = "loops")]
mod average;
#[cfg(feature = "bernoulli")]
mod bernoulli;
#[cfg(feature = "adgm")]
mod categorical;
#[cfg(feature = "conv")]
mod conv;
#[cfg(feature = "flow")]
mod coupling;
mod dense;
mod density;
#[cfg(feature = "elementwise")]
mod elementwise;
#[cfg(feature = "flow")]
pub mod flow;
#[cfg(feature = "gaussian")]
mod gaussian;
#[cfg(feature = "logistic")]
mod logistic;
#[cfg(feature = "loops")]
mod loops;
#[cfg(feature = "mixture")]
mod mixture;
#[cfg(all(test, feature = "bernoulli", feature = "gaussian", feature = "logistic", feature = "robust"))]
mod monotone;
#[cfg(any(feature = "adgm", feature = "mixture"))]
mod probabilities;
#[cfg(feature = "dlgm")]
mod rank_one;
mod rearrange;
pub(crate) mod record;
#[cfg(feature = "robust")]
mod robust;
#[cfg(feature = "sampling")]
mod sampling;
mod scalar;
pub(crate) mod scope;
#[cfg(any(feature = "dlgm", feature = "mixture"))]
mod select;
#[cfg(feature = "tanh")]
mod sigmoid;
#[cfg(feature = "front")]
mod spectrum;
#[cfg(feature = "front")]
mod statistics;

pub use facts::{Facts, Immediate, Length, Precision, Range};
pub use rules::{Extra, Rules, ScaleRule};

use crate::exact::product;
use crate::normal;
use crate::ops::record::{Matrix, Op, Operand, Tensor};
use ScaleRule::{Any, AtLeast, Exactly, NotCoarserThanOutput, ReadAtMost, SameAsFirst, SameAsOutput};
use bounds::{EXP_FRAC, MIN_FRAC, OperandError, Verdict};
use machine::{Machine, Step, Values};

/// Fractional bits of noise.
const NORMAL_FRAC: u8 = normal::FRAC as u8;

/// Finds a matrix by its index in the blob.
pub type Matrices<'m> = dyn Fn(u16) -> Option<Matrix> + 'm;

/// The cost of one execution of an operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost<N = u64> {
    /// Steps, which predict the time: one takes about five instructions of a Cortex-M4.
    pub work: N,
    /// Multiply-accumulates of matrices, without the padding to whole words.
    pub macs: N,
}

/// A cost as this machine counts it. Its steps are saturated. If they are `usize::MAX`, its numbers mean nothing.
pub(crate) type Count = Cost<usize>;

impl Count {
    /// Steps without multiply-accumulates.
    #[inline(always)]
    const fn of_steps(work: usize) -> Self {
        Self { work, macs: 0 }
    }

    /// Adds what something else costs.
    #[inline(always)]
    pub fn add(&mut self, more: Self) {
        self.work = self.work.saturating_add(more.work);
        // There are at least as many steps.
        self.macs = self.macs.wrapping_add(more.macs);
    }

    /// The cost of `repeat` executions.
    #[inline(always)]
    pub fn times(self, repeat: usize) -> Self {
        Self { work: product(self.work, repeat), macs: self.macs.wrapping_mul(repeat) }
    }
}

/// The steps of an operation: a number for every execution, and one for each [element](Step::elements). `cargo xtask
/// bench --work` compares the steps of all operations with the instructions that they take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Steps(u16);

impl Steps {
    /// Those of no operation.
    const NONE: Self = Self(0);

    /// `each` steps for an element, and `fixed`, a multiple of four, for the execution itself.
    const fn of(fixed: u16, each: u16) -> Self {
        assert!(fixed > 0 && fixed.is_multiple_of(4) && fixed < 1024 && each < 256);
        Self((fixed / 4) << 8 | each)
    }

    /// The steps of an execution, and those of an element.
    fn parts(self) -> (u32, u32) {
        (u32::from(self.0 >> 8) * 4, u32::from(self.0 & 0xFF))
    }
}

/// The requirements of an operation that its line in the table does not state, the bound of its result, and its cost.
trait Operation {
    /// What an execution costs.
    const STEPS: Steps;

    /// The bound of the second tensor that it writes: the largest |q| of activations, or log2 of the largest magnitude
    /// of nats.
    const EXTRA_BOUND: u16 = 0;

    /// What its result differs from its definition by, at most, as the specification of the format states it. Empty if
    /// it is exact.
    const ERROR: &'static str = "";

    /// The largest result or contribution of an element, in the same place.
    const LIMIT: &'static str = "none";

    /// The bound of the output, in the same units.
    fn bound(o: &Step<'_>, matrices: &Matrices<'_>) -> Result<u16, OperandError>;

    /// Halfwords of scratch that it needs, or `None` if its matrices do not exist.
    fn scratch_len(_: &Op, _: &Matrices<'_>) -> Option<u32> {
        None
    }

    /// What an execution costs besides [`STEPS`](Self::STEPS).
    #[inline(always)]
    fn cost(_: &Step<'_>, _: &Matrices<'_>) -> Count {
        Count::of_steps(0)
    }

    /// The [bound](Self::bound) of the output. Adds what [`cost`](Self::cost) gives to `cost`. An operation with matrices
    /// reads each of them once for both.
    #[inline(always)]
    fn prove(o: &Step<'_>, matrices: &Matrices<'_>, cost: &mut Count) -> Result<u16, OperandError> {
        cost.add(Self::cost(o, matrices));
        Self::bound(o, matrices)
    }
}

/// The cost of one execution of `op` with the given operands. A machine of 32 bits gives `u64::MAX` steps if they are too
/// many for it to count.
pub fn op_cost(op: &Op, inputs: &[Tensor; 3], output: &Tensor, matrices: &Matrices<'_>) -> Cost {
    let [a, b, c] = inputs;
    let records = [a, b, c, output].map(Tensor::encode);
    let Count { work, macs } = cost(&Step { op: *op, tensors: records.each_ref().map(Operand) }, matrices);
    Cost { work: if work == usize::MAX { u64::MAX } else { work as u64 }, macs: macs as u64 }
}

/// An operation that works on the arena.
trait Transform: Operation {
    fn run(machine: &mut Machine<'_, '_>, step: &Step<'_>);
}

/// An operation whose result is one scalar in nats.
trait Reduction: Operation {
    fn nats(values: &Values<'_>) -> i64;
}

operations! {
    [all()] dense {
        /// W a + bias, requantised; W is the matrix that the record names
        Dense = 1, transform, Rules::vectors(1).arg(), Facts::NONE.through_matrices(Length::Rows);
    }
    [all()] activation {
        /// max(a, 0)
        Relu = 2, transform, Rules::map(1).scales([SameAsOutput]),
            Facts::NONE.within(Range::NonNegative).passing_elements();
        /// a where a >= 0, otherwise a times the slope in word 3 (Q15, below 1), rounded half up
        LeakyRelu = 40, transform, Rules::map(1).imm().scales([SameAsOutput]), Facts::NONE.holding(Immediate::Factor);
        /// exp(a 2^-parameter), saturated at 16 bits
        Exp = 5, transform, Rules::map(1).param().scales([ReadAtMost(16)]), Facts::NONE.within(Range::NonNegative);
        /// a rounded to the output's scale and clamped to the interval in word 3
        Clamp = 20, transform, Rules::map(1).imm().scales([NotCoarserThanOutput]),
            Facts::NONE.holding(Immediate::Interval).within(Range::Interval);
    }
    [feature = "tanh"] sigmoid {
        /// tanh(a 2^-parameter)
        Tanh = 3, transform, Rules::map(1).param().scales([ReadAtMost(16)]).output_scale(Exactly(15)),
            Facts::NONE.within(Range::SignedUnit);
        /// 1 / (1 + exp(-a 2^-parameter))
        Sigmoid = 4, transform, Rules::map(1).param().scales([ReadAtMost(16)]).output_scale(Exactly(15)),
            Facts::NONE.within(Range::Unit);
        /// 1/2 + a times the slope in word 3 (Q15, below 1), rounded half up, clamped to 0 and 1; one is 32767
        HardSigmoid = 44, transform, Rules::map(1).imm().output_scale(Exactly(15)),
            Facts::NONE.holding(Immediate::Factor).within(Range::Unit);
    }
    [feature = "elementwise"] elementwise {
        /// a b + c, rounded half up once, saturated; every intermediate fits 32 bits
        Fma = 6, transform, Rules::map(3), Facts::NONE.as_precise_as(Precision::Product);
        /// a b, rounded half up once, saturated; every intermediate fits 32 bits
        Mul = 21, transform, Rules::map(2), Facts::NONE.as_precise_as(Precision::Product);
        /// a + b, rounded half up once, saturated; the sum fits 32 bits at the finer scale
        AddVec = 22, transform, Rules::map(2), Facts::NONE.as_precise_as(Precision::Sum);
        /// a - b, rounded half up once, saturated; the difference fits 32 bits at the finer scale
        SubVec = 23, transform, Rules::map(2), Facts::NONE.as_precise_as(Precision::Sum);
    }
    [all()] rearrange {
        /// a followed by b, both rounded to the output's scale
        Concat = 24, transform, Rules::vectors(2).any_lengths().scales([NotCoarserThanOutput, NotCoarserThanOutput]),
            Facts::NONE.passing_elements();
        /// consecutive elements of a, starting at the index in word 3
        Slice = 25, transform, Rules::vectors(1).imm().scales([SameAsOutput]),
            Facts::NONE.holding(Immediate::Index).passing_elements();
    }
    [feature = "sampling"] sampling {
        /// independent draws of N(0, 1)
        Normal = 7, transform, Rules::vectors(0).noise().output_scale(Exactly(NORMAL_FRAC));
    }
    [feature = "loops"] loops {
        /// repeats the operations up to its End, whose number is in word 2; the output collects the results of all iterations
        Loop = 16, transform, Rules::vectors(0).any_kind().arg().imm(),
            Facts::NONE.opening_a_loop().holding(Immediate::Iterations).passing_elements();
        /// stores a, a scalar or a vector, in the output of its Loop at the position of the current iteration
        End = 17, transform, Rules::vectors(1).any_kind().scales([SameAsOutput]), Facts::NONE.closing_a_loop();
    }
    [feature = "bernoulli"] bernoulli {
        /// sum softplus(a) - b a: Bernoulli negative log-likelihood of b under logits a
        BernoulliNll = 8, reduction, Rules::reduce(2).scales([AtLeast(1)]);
    }
    [feature = "gaussian"] gaussian {
        /// 1/2 sum (c - a)^2 exp(-b) + b + ln 2 pi: Gaussian negative log-likelihood of c under mean a, log-variance b
        GaussianNll = 9, reduction, Rules::reduce(3).scales([AtLeast(MIN_FRAC), AtLeast(EXP_FRAC), SameAsFirst]);
    }
    [feature = "loops"] average {
        /// arithmetic mean of the scalars in a
        Mean = 18, reduction, Rules::reduce_nats(1);
        /// ln(1/n sum exp(a)) over the n scalars in a
        LogMeanExp = 19, reduction, Rules::reduce_nats(1);
    }
    [all()] density {
        /// 1/2 sum a^2 + exp(b) - 1 - b: KL(N(a, exp b) || N(0, I))
        Kl = 10, reduction, Rules::reduce(2).scales([Any, AtLeast(EXP_FRAC)]);
        /// 1/2 sum a^2
        HalfSumSq = 11, reduction, Rules::reduce(1);
        /// sum a 2^-parameter
        Sum = 12, reduction, Rules::reduce(1).param().scales([ReadAtMost(24)]);
    }
    [all()] scalar {
        /// sum a + b of two scalars
        Add = 13, reduction, Rules::scalars(2);
        /// difference a - b of two scalars
        Sub = 14, reduction, Rules::scalars(2);
        /// -a of a scalar
        Neg = 15, reduction, Rules::scalars(1);
        /// a + word 3: a scalar plus a signed constant in Q16
        Offset = 31, reduction, Rules::scalars(1).imm(), Facts::NONE.holding(Immediate::Nats);
    }
    [feature = "adgm"] categorical {
        /// one-hot vector: the value in word 3 at the index of the innermost loop's iteration, 0 elsewhere
        OneHot = 27, transform, Rules::vectors(0).imm().in_loop(), Facts::NONE.holding(Immediate::Value);
        /// softmax(a)
        Softmax = 28, transform, Rules::vectors(1).same_length().output_scale(Exactly(15)),
            Facts::NONE.within(Range::Unit);
        /// elementwise mean of the vectors stored one after another in a, each of the output's length
        MeanVec = 29, transform, Rules::vectors(1).scales([SameAsOutput]), Facts::NONE.passing_elements();
        /// sum p (a + ln p) with p = softmax(b): the negative bound of an unlabelled row, from the negative bounds a of all classes
        FreeEnergy = 30, reduction, Rules::reduce_nats(2).only_first_nats();
    }
    [any(feature = "dlgm", feature = "mixture")] select {
        /// a where c > 0, b elsewhere
        Select = 26, transform, Rules::map(3).scales([SameAsOutput, SameAsOutput]), Facts::NONE.passing_elements();
    }
    [feature = "dlgm"] rank_one {
        /// a - kappa b (b.a), kappa = 1 / (1 + s + sqrt(1 + s)), s = b.b: noise of covariance (I + b b^T)^-1 from noise a
        RankOne = 32, transform,
            Rules::vectors(2).same_length().scales([SameAsOutput, AtLeast(MIN_FRAC)]).output_scale(Exactly(NORMAL_FRAC));
        /// 1/2 ln(1 + a.a): the negative log-determinant of RankOne's linear map
        HalfLogDet = 33, reduction, Rules::reduce(1).scales([AtLeast(MIN_FRAC)]);
        /// 1/2 ln(1 + a.a) - 1/2 b.b / (1 + a.a): the term that a rank-one covariance adds to the KL of a diagonal one
        RankOneKl = 34, reduction, Rules::reduce(2).scales([AtLeast(MIN_FRAC), AtLeast(MIN_FRAC)]);
    }
    [feature = "flow"] flow {
        /// planar flow of a with the parameters b of one or more steps; inverted if the parameter is 1; at most 1024 elements
        Planar = 35, transform, Rules::vectors(2).same_length().any_lengths().param().log_det()
            .scales([SameAsOutput, AtLeast(MIN_FRAC)]).output_scale(AtLeast(MIN_FRAC)), Facts::NONE.invertible();
        /// radial flow of a with the parameters b of one or more steps; inverted if the parameter is 1; at most 1024 elements
        Radial = 36, transform, Rules::vectors(2).same_length().any_lengths().param().log_det()
            .scales([SameAsOutput, AtLeast(MIN_FRAC)]).output_scale(AtLeast(MIN_FRAC)), Facts::NONE.invertible();
    }
    [feature = "conv"] conv {
        /// convolution or transposed convolution of a; the record names the first matrix; see the geometry below
        Conv = 37, transform, Rules::vectors(1).param().arg().imm().scratch(),
            Facts::NONE.holding(Immediate::Geometry).through_matrices(Length::Pixels);
    }
    [feature = "logistic"] logistic {
        /// discretised logistic negative log-likelihood of c under mean a, log-scale b
        LogisticNll = 38, reduction, Rules::reduce(3).scales([AtLeast(MIN_FRAC), AtLeast(EXP_FRAC), SameAsFirst]);
    }
    [feature = "robust"] robust {
        /// Student-t negative log-likelihood of c under location a and squared scale exp(b), with 2^parameter degrees of freedom; the parameter is 0 to 6
        StudentTNll = 41, reduction, Rules::reduce(3).param().scales([AtLeast(MIN_FRAC), AtLeast(EXP_FRAC), SameAsFirst]);
        /// sum |c - a| exp(-b) + b + ln 2: Laplace negative log-likelihood of c under location a, log-scale b
        LaplaceNll = 45, reduction, Rules::reduce(3).scales([AtLeast(MIN_FRAC), AtLeast(EXP_FRAC), SameAsFirst]);
    }
    [feature = "flow"] coupling {
        /// stack of affine couplings of a, followed by zeros; the record names the first matrix; see the shape below
        Couplings = 39, transform, Rules::vectors(1).param().arg().imm().log_det(),
            Facts::NONE.holding(Immediate::Couplings);
    }
    [feature = "front"] spectrum {
        /// logarithms of the band energies of the samples a, for bands with the edges b; see the layout below
        LogBands = 46, transform, Rules::vectors(2).any_lengths().imm().scratch().scales([Any, Exactly(0)]),
            Facts::NONE.holding(Immediate::Bands);
    }
    [feature = "front"] statistics {
        /// statistics of the samples a: those of the set in word 3; see the list below
        Statistics = 47, transform, Rules::vectors(1).imm(), Facts::NONE.holding(Immediate::Statistics);
    }
    [feature = "mixture"] mixture {
        /// a - 1/2 |b|^2 of each element of a and the equal part of b that belongs to it
        GaussianLogits = 42, transform, Rules::reduce(2).same_length().any_lengths();
        /// softmax(a) of scalars a
        Posterior = 43, transform, Rules::vectors(1).of_nats().same_length().output_scale(Exactly(15)),
            Facts::NONE.within(Range::Unit);
    }
}

impl Opcode {
    /// The part of its work that is linear in a length: the steps of an execution, and those of an element of the first
    /// input, or of the output if there is no input.
    pub fn work(self) -> (u32, u32) {
        self.steps().parts()
    }

    /// Number of input tensors.
    pub fn inputs(self) -> usize {
        self.rules().inputs()
    }

    /// Whether the third reference is a second tensor that the operation writes.
    pub fn writes_extra(self) -> bool {
        self.rules().writes_extra()
    }

    /// Whether the output may overwrite an input that no later operation reads.
    pub fn in_place(self) -> bool {
        self.rules().in_place()
    }
}

#[cfg(test)]
mod tests;
