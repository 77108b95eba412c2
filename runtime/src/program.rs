//! Programs: the operations of a model, the tensors they move and how both are read from flash one record at a time.
//!
//! Records have a fixed size in 32-bit words and their accessors are total: a record that does not decode is an
//! [`Opcode::Invalid`] operation or an empty tensor, which the verifier refuses and the interpreter skips.

#[cfg(feature = "flow")]
use crate::coupling::CouplingStack;
#[cfg(feature = "conv")]
use crate::kernel::ConvGeometry;
use crate::kernel::Packing;

/// Largest number of elements of one tensor.
pub const MAX_TENSOR_LEN: u32 = 1 << 16;
/// Largest nesting of loops.
pub const MAX_LOOP_DEPTH: usize = 4;
/// Reference to no tensor.
pub const NO_TENSOR: u16 = u16::MAX;

#[inline]
pub(crate) fn word(words: &[u32], index: usize) -> u32 {
    words.get(index).copied().unwrap_or(0)
}

/// The record of `N` words at `index` of a section; zeros past its end.
#[inline(always)]
fn record<const N: usize>(words: &[u32], index: usize) -> &[u32; N] {
    words.get(index.wrapping_mul(N)..).and_then(|rest| rest.first_chunk()).unwrap_or(const { &[0; N] })
}

fn halves(word: u32) -> [u16; 2] {
    [word as u16, (word >> 16) as u16]
}

/// What a program computes. A model carries each kind at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
#[non_exhaustive]
pub enum ProgramKind {
    /// noise -> x: draws a latent from the prior and decodes it.
    Sample = 1,
    /// z -> x: decodes a given latent.
    Decode = 2,
    /// x -> (mu, logvar): the posterior's parameters.
    Encode = 3,
    /// x -> x: decodes the posterior's mean.
    Reconstruct = 4,
    /// x -> -ELBO at the posterior's mean, in nats; deterministic.
    Score = 5,
    /// x, noise -> -ELBO, mean over L draws of the latent, in nats.
    ScoreMonteCarlo = 6,
    /// x, noise -> importance-weighted bound -log(1/K sum w_k) over K draws, in nats (Burda et al., arXiv 1509.00519).
    ScoreImportance = 7,
    /// class, noise -> x: draws from the model of one class. The class comes as a vector with a one at its place.
    SampleClass = 8,
    /// x, noise -> probability of every class, Q15.
    Classify = 9,
    /// x, mask, noise -> x: what the mask marks as observed (positive) stays, the rest is drawn from the model.
    Impute = 10,
    /// x -> z: the latent that [`ProgramKind::Decode`] takes to x, for a flow.
    Invert = 11,
    /// noise -> x, -log q(x): a draw with its negative log-density in nats.
    SampleDensity = 12,
}

/// The types of a program's inputs and outputs, fixed by its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Number of input vectors, 0 to 2.
    pub inputs: u8,
    /// Number of output vectors, 0 to 2.
    pub vectors: u8,
    /// Whether a scalar in nats follows the output vectors.
    pub scalar: bool,
    /// Whether the program may draw noise.
    pub noise: bool,
}

impl Signature {
    /// Number of output tensors, 1 or 2.
    pub fn outputs(&self) -> u8 {
        self.vectors + u8::from(self.scalar)
    }

    /// Type of output `slot`.
    pub fn output(&self, slot: u8) -> TensorKind {
        if slot < self.vectors { TensorKind::I16 } else { TensorKind::Nats }
    }
}

impl ProgramKind {
    /// Every kind, in the order of their codes.
    pub const ALL: [Self; 12] = [
        Self::Sample,
        Self::Decode,
        Self::Encode,
        Self::Reconstruct,
        Self::Score,
        Self::ScoreMonteCarlo,
        Self::ScoreImportance,
        Self::SampleClass,
        Self::Classify,
        Self::Impute,
        Self::Invert,
        Self::SampleDensity,
    ];

    /// The kind with this code.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.get((code as usize).wrapping_sub(1)).copied()
    }

    /// Snake-case name, as the tools print it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sample => "sample",
            Self::Decode => "decode",
            Self::Encode => "encode",
            Self::Reconstruct => "reconstruct",
            Self::Score => "score",
            Self::ScoreMonteCarlo => "score_monte_carlo",
            Self::ScoreImportance => "score_importance",
            Self::SampleClass => "sample_class",
            Self::Classify => "classify",
            Self::Impute => "impute",
            Self::Invert => "invert",
            Self::SampleDensity => "sample_density",
        }
    }

    /// What goes in and what comes out.
    pub fn signature(self) -> Signature {
        let (inputs, vectors, scalar, noise) = match self {
            Self::Sample => (0, 1, false, true),
            Self::Decode | Self::Reconstruct | Self::Invert => (1, 1, false, false),
            Self::Encode => (1, 2, false, false),
            Self::Score => (1, 0, true, false),
            Self::ScoreMonteCarlo | Self::ScoreImportance => (1, 0, true, true),
            Self::SampleClass | Self::Classify => (1, 1, false, true),
            Self::Impute => (2, 1, false, true),
            Self::SampleDensity => (0, 1, true, true),
        };
        Signature { inputs, vectors, scalar, noise }
    }
}

/// What an operation does. `a`, `b`, `c` are its inputs, `y` its output; `q` is a stored integer, `v = q 2^-frac` its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// Not an operation: refused by the verifier.
    Invalid = 0,
    /// y = requantize(W a + bias), the matrix given by `arg`.
    Dense = 1,
    /// y = max(a, 0), same scale.
    Relu = 2,
    /// y = tanh(a 2^-param), Q15.
    Tanh = 3,
    /// y = sigmoid(a 2^-param), Q15.
    Sigmoid = 4,
    /// y = exp(a 2^-param), saturated to 16 bits at y's scale.
    Exp = 5,
    /// y = a b + c, one rounding.
    Fma = 6,
    /// y ~ N(0, I), Q3.12, drawn in order of dimension.
    Normal = 7,
    /// y = sum softplus(a) - b a: Bernoulli negative log-likelihood of b under logits a, nats.
    BernoulliNll = 8,
    /// y = 1/2 sum (c - a)^2 exp(-b) + b + ln 2 pi: Gaussian negative log-likelihood of c under mean a, log-variance b, nats.
    GaussianNll = 9,
    /// y = 1/2 sum a^2 + exp(b) - 1 - b: KL(N(a, exp b) || N(0, I)), nats.
    Kl = 10,
    /// y = 1/2 sum a^2, nats.
    HalfSumSq = 11,
    /// y = sum a 2^-param, nats.
    Sum = 12,
    /// y = a + b, scalars.
    Add = 13,
    /// y = a - b, scalars.
    Sub = 14,
    /// y = -a, scalar.
    Neg = 15,
    /// Runs the operations up to the matching [`Opcode::End`] `imm` times; y collects what each iteration gives.
    Loop = 16,
    /// Stores a, a scalar or a vector, into the loop's tensor at the iteration's slot, and repeats.
    End = 17,
    /// y = mean of the scalars of a.
    Mean = 18,
    /// y = ln(1/n sum exp(a_i)).
    LogMeanExp = 19,
    /// y = a rounded to y's scale and clamped to the interval whose ends, at y's scale, are the halfwords of `imm`.
    Clamp = 20,
    /// y = a b, one rounding.
    Mul = 21,
    /// y = a + b of vectors, one rounding.
    AddVec = 22,
    /// y = a - b of vectors, one rounding.
    SubVec = 23,
    /// y = a followed by b, both rounded to y's scale.
    Concat = 24,
    /// y = the elements of a from index `imm` on.
    Slice = 25,
    /// y = a where c is positive, b elsewhere.
    Select = 26,
    /// y = the integer `imm` at the index of the innermost loop's iteration, 0 elsewhere.
    OneHot = 27,
    /// y = softmax(a), Q15.
    Softmax = 28,
    /// y_j = mean over i of a_(i m + j), for an output of m elements: the mean of a loop's vectors.
    MeanVec = 29,
    /// y = sum p_i (a_i + ln p_i) with p = softmax(b), a in nats: a negative bound with the class summed out.
    FreeEnergy = 30,
    /// y = a + `imm`, scalar, `imm` a signed Q16 constant.
    Offset = 31,
    /// y = a - kappa b (b.a): noise of covariance (I + b b^T)^-1 from noise a (Rezende et al., arXiv 1401.4082).
    RankOne = 32,
    /// y = 1/2 ln(1 + |a|^2), nats: minus the log-determinant that [`Opcode::RankOne`] applies.
    HalfLogDet = 33,
    /// y = 1/2 ln(1 + |a|^2) - 1/2 |b|^2 / (1 + |a|^2), nats: what a rank-one covariance adds to a diagonal KL.
    RankOneKl = 34,
    /// y = planar flow of a with parameters b, inverted where `param` is 1; the log-determinant goes to c.
    Planar = 35,
    /// y = radial flow of a with parameters b, inverted where `param` is 1; the log-determinant goes to c.
    Radial = 36,
    /// y = convolution or transposed convolution of a with the matrices from `arg` on, geometry `imm`; c is scratch.
    Conv = 37,
    /// y = discretised-logistic negative log-likelihood of c under mean a, log-scale b, nats.
    LogisticNll = 38,
    /// y = a through affine couplings with the matrices from `arg` on, shape `imm` and `param`, then zeros; the
    /// log-determinant goes to c: see [`CouplingStack`](crate::coupling::CouplingStack).
    Couplings = 39,
}

impl Opcode {
    /// Every valid operation, in the order of their codes.
    pub const ALL: [Self; 39] = [
        Self::Dense,
        Self::Relu,
        Self::Tanh,
        Self::Sigmoid,
        Self::Exp,
        Self::Fma,
        Self::Normal,
        Self::BernoulliNll,
        Self::GaussianNll,
        Self::Kl,
        Self::HalfSumSq,
        Self::Sum,
        Self::Add,
        Self::Sub,
        Self::Neg,
        Self::Loop,
        Self::End,
        Self::Mean,
        Self::LogMeanExp,
        Self::Clamp,
        Self::Mul,
        Self::AddVec,
        Self::SubVec,
        Self::Concat,
        Self::Slice,
        Self::Select,
        Self::OneHot,
        Self::Softmax,
        Self::MeanVec,
        Self::FreeEnergy,
        Self::Offset,
        Self::RankOne,
        Self::HalfLogDet,
        Self::RankOneKl,
        Self::Planar,
        Self::Radial,
        Self::Conv,
        Self::LogisticNll,
        Self::Couplings,
    ];

    #[inline]
    fn from_code(code: u32) -> Self {
        Self::ALL.get((code as usize).wrapping_sub(1)).copied().unwrap_or(Self::Invalid)
    }

    /// What its record holds and its operands are.
    #[inline]
    pub(crate) fn form(self) -> Form {
        static FORMS: [Form; Opcode::ALL.len() + 1] = Form::table();
        FORMS.get(self as usize).copied().unwrap_or(Form(0))
    }

    /// Number of input tensors.
    pub fn inputs(self) -> usize {
        self.form().inputs()
    }

    /// Whether the third reference is a tensor that the operation writes: a second result, or scratch.
    pub fn writes_third(self) -> bool {
        self.form().has(Form::WRITES_THIRD)
    }

    /// Whether this build of the runtime has the operation: see the crate's features.
    #[allow(clippy::match_like_matches_macro, reason = "the arms differ in builds with some of the features")]
    pub const fn compiled(self) -> bool {
        match self {
            Self::OneHot | Self::Softmax | Self::MeanVec | Self::FreeEnergy => cfg!(feature = "adgm"),
            Self::Select | Self::RankOne | Self::HalfLogDet | Self::RankOneKl => cfg!(feature = "dlgm"),
            Self::Planar | Self::Radial | Self::Couplings => cfg!(feature = "flow"),
            Self::Conv => cfg!(feature = "conv"),
            Self::LogisticNll => cfg!(feature = "logistic"),
            _ => true,
        }
    }

    /// Whether the output may take the place of an input that dies here.
    pub fn in_place(self) -> bool {
        self.form().has(Form::IN_PLACE)
    }
}

/// What an operation's record holds and what its operands have in common: a number of inputs and flags.
///
/// One line of a table for each opcode, so that the verifier, the bounds and the compiler agree on it.
#[derive(Clone, Copy)]
pub(crate) struct Form(u16);

impl Form {
    /// The inputs are nats, not activations.
    pub const NATS_IN: u16 = 1 << 2;
    /// The output is nats.
    pub const NATS_OUT: u16 = 1 << 3;
    /// Every input has one element; without it, all have as many as the first.
    pub const ONE_IN: u16 = 1 << 4;
    /// The output has one element.
    pub const ONE_OUT: u16 = 1 << 5;
    /// The output has as many elements as the inputs.
    pub const SAME_LENGTH: u16 = 1 << 6;
    /// The output may take the place of an input that dies here.
    pub const IN_PLACE: u16 = 1 << 7;
    /// `param` is used.
    pub const PARAM: u16 = 1 << 8;
    /// `arg` is used.
    pub const ARG: u16 = 1 << 9;
    /// `imm` is used.
    pub const IMM: u16 = 1 << 10;
    /// The third reference is a tensor that the operation writes.
    pub const WRITES_THIRD: u16 = 1 << 11;
    /// Inputs may have any lengths.
    pub const ANY_LENGTHS: u16 = 1 << 12;
    /// Input and output are of either type.
    pub const ANY_KIND: u16 = 1 << 13;
    /// Only the first input is nats.
    pub const MIXED: u16 = 1 << 14;

    /// y_i = f(a_i, ...).
    const MAP: u16 = Self::SAME_LENGTH | Self::IN_PLACE;
    /// Nats from activations.
    const REDUCE: u16 = Self::NATS_OUT | Self::ONE_OUT;
    /// Nats from several.
    const COMBINE: u16 = Self::NATS_IN | Self::REDUCE;
    /// A scalar from scalars.
    const SCALAR: u16 = Self::COMBINE | Self::ONE_IN;

    const fn table() -> [Self; Opcode::ALL.len() + 1] {
        let mut forms = [Self(0); Opcode::ALL.len() + 1];
        let mut index = 0;
        while index < Opcode::ALL.len() {
            let opcode = Opcode::ALL[index];
            forms[opcode as usize] = Self(match opcode {
                Opcode::Invalid | Opcode::Normal => 0,
                Opcode::Dense => 1 | Self::ARG,
                Opcode::Relu => 1 | Self::MAP,
                Opcode::Tanh | Opcode::Sigmoid | Opcode::Exp => 1 | Self::MAP | Self::PARAM,
                Opcode::Clamp => 1 | Self::MAP | Self::IMM,
                Opcode::Mul | Opcode::AddVec | Opcode::SubVec => 2 | Self::MAP,
                Opcode::Fma | Opcode::Select => 3 | Self::MAP,
                Opcode::RankOne => 2 | Self::SAME_LENGTH,
                Opcode::Softmax => 1 | Self::SAME_LENGTH,
                Opcode::Concat => 2 | Self::ANY_LENGTHS,
                Opcode::Slice => 1 | Self::IMM,
                Opcode::OneHot => Self::IMM,
                Opcode::MeanVec => 1,
                Opcode::BernoulliNll | Opcode::Kl | Opcode::RankOneKl => 2 | Self::REDUCE,
                Opcode::GaussianNll | Opcode::LogisticNll => 3 | Self::REDUCE,
                Opcode::HalfSumSq | Opcode::HalfLogDet => 1 | Self::REDUCE,
                Opcode::Sum => 1 | Self::REDUCE | Self::PARAM,
                Opcode::Add | Opcode::Sub => 2 | Self::SCALAR,
                Opcode::Neg => 1 | Self::SCALAR,
                Opcode::Offset => 1 | Self::SCALAR | Self::IMM,
                Opcode::Loop => Self::ANY_KIND | Self::IMM,
                Opcode::End => 1 | Self::ANY_KIND,
                Opcode::Mean | Opcode::LogMeanExp => 1 | Self::COMBINE,
                Opcode::FreeEnergy => 2 | Self::COMBINE | Self::MIXED,
                Opcode::Planar | Opcode::Radial => {
                    2 | Self::SAME_LENGTH | Self::ANY_LENGTHS | Self::PARAM | Self::WRITES_THIRD
                }
                Opcode::Conv | Opcode::Couplings => 1 | Self::PARAM | Self::ARG | Self::IMM | Self::WRITES_THIRD,
            });
            index += 1;
        }
        forms
    }

    #[inline]
    pub fn inputs(self) -> usize {
        usize::from(self.0 & 3)
    }

    #[inline]
    pub fn has(self, flag: u16) -> bool {
        self.0 & flag != 0
    }

    /// The type of input `slot`.
    #[inline]
    pub fn input_kind(self, slot: usize) -> TensorKind {
        let nats = self.has(Self::NATS_IN) && (slot == 0 || !self.has(Self::MIXED));
        if nats { TensorKind::Nats } else { TensorKind::I16 }
    }

    /// The type of the output.
    #[inline]
    pub fn output_kind(self) -> TensorKind {
        if self.has(Self::NATS_OUT) { TensorKind::Nats } else { TensorKind::I16 }
    }
}

/// Number of words of an operation's record.
pub const OP_WORDS: usize = 4;

/// One operation, decoded. Tensor references count from the program's first tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    /// What to do.
    pub opcode: Opcode,
    /// Small signed parameter: extra fractional bits with which `a` is read.
    pub param: i8,
    /// Output tensor; [`NO_TENSOR`] for `End`.
    pub output: u16,
    /// Input tensors; unused ones are [`NO_TENSOR`]. The third may be a tensor that is written: [`Opcode::writes_third`].
    pub inputs: [u16; 3],
    /// Matrix of a `Dense`, first matrix of a `Conv` or of `Couplings`, else 0.
    pub arg: u16,
    /// Iterations of a `Loop`, interval of a `Clamp`, start of a `Slice`, value of a `OneHot`, constant of
    /// an `Offset`, geometry of a `Conv`, shape of `Couplings`, else 0.
    pub imm: u32,
}

impl Op {
    /// Whether it writes this tensor.
    #[inline]
    pub fn writes(&self, tensor: u16) -> bool {
        self.output == tensor || (self.opcode.writes_third() && self.inputs[2] == tensor)
    }

    /// Whether the operation at `index` of a section writes this tensor. Most do as their output, and one word tells.
    #[inline]
    pub(crate) fn read_writes(ops: &[u32], index: usize, tensor: u16) -> bool {
        let [_, output] = halves(word(ops, index.wrapping_mul(OP_WORDS)));
        output == tensor || Self::read(ops, index).writes(tensor)
    }

    /// The ends of a `Clamp`'s interval, lowest first.
    #[inline]
    pub fn interval(&self) -> (i16, i16) {
        (self.imm as i16, (self.imm >> 16) as i16)
    }

    /// The `imm` of a `Clamp` to `[low, high]`.
    pub fn interval_imm(low: i16, high: i16) -> u32 {
        u32::from(low as u16) | u32::from(high as u16) << 16
    }

    /// The operation at `index` of a section of records.
    #[inline(never)]
    pub fn read(ops: &[u32], index: usize) -> Self {
        let [w0, w1, w2, imm] = *record::<OP_WORDS>(ops, index);
        let ([a, b], [c, arg]) = (halves(w1), halves(w2));
        Self {
            opcode: Opcode::from_code(w0 & 0xFF),
            param: (w0 >> 8) as i8,
            output: (w0 >> 16) as u16,
            inputs: [a, b, c],
            arg,
            imm,
        }
    }

    /// The record's words.
    pub fn encode(&self) -> [u32; OP_WORDS] {
        [
            u32::from(self.opcode as u8) | u32::from(self.param as u8) << 8 | u32::from(self.output) << 16,
            u32::from(self.inputs[0]) | u32::from(self.inputs[1]) << 16,
            u32::from(self.inputs[2]) | u32::from(self.arg) << 16,
            self.imm,
        ]
    }
}

/// Type of a tensor's elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum TensorKind {
    /// Not a tensor: refused by the verifier.
    #[default]
    Invalid = 0,
    /// 16-bit activations, one halfword each.
    I16 = 1,
    /// 64-bit Q16 nats, four halfwords each.
    Nats = 2,
}

/// Number of words of a tensor's record.
pub const TENSOR_WORDS: usize = 4;

/// One tensor: where it lies in the arena, how to read it and when it lives. The compiler's claim, the verifier's certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tensor {
    /// Element type.
    pub kind: TensorKind,
    /// Fractional bits: 0..=15 for activations, 16 for nats.
    pub frac: u8,
    /// Activations: largest |q|, at most 32768. Nats: |q| is at most 2^bound.
    pub bound: u16,
    /// Number of elements.
    pub len: u32,
    /// First halfword in the arena, a multiple of four.
    pub offset: u32,
    /// The operation that writes it, counted from 1; 0 for a program's input.
    pub first: u16,
    /// The last operation that may read it; the number of operations + 1 for a program's output.
    pub last: u16,
}

impl Tensor {
    /// The tensor at `index` of a section of records.
    #[inline(never)]
    pub fn read(tensors: &[u32], index: usize) -> Self {
        let [w0, len, offset, lifetime] = *record::<TENSOR_WORDS>(tensors, index);
        let [first, last] = halves(lifetime);
        Self {
            kind: match w0 & 0xFF {
                1 => TensorKind::I16,
                2 => TensorKind::Nats,
                _ => TensorKind::Invalid,
            },
            frac: (w0 >> 8) as u8,
            bound: (w0 >> 16) as u16,
            len,
            offset,
            first,
            last,
        }
    }

    /// `first` and `last` of a record.
    #[inline]
    pub(crate) fn lifetime(record: &[u32; TENSOR_WORDS]) -> (u16, u16) {
        let [first, last] = halves(record[3]);
        (first, last)
    }

    /// The record's words.
    pub fn encode(&self) -> [u32; TENSOR_WORDS] {
        [
            u32::from(self.kind as u8) | u32::from(self.frac) << 8 | u32::from(self.bound) << 16,
            self.len,
            self.offset,
            u32::from(self.first) | u32::from(self.last) << 16,
        ]
    }

    /// Halfwords that the tensor occupies: its elements rounded up to a multiple of eight bytes.
    #[inline(never)]
    pub fn extent(&self) -> u32 {
        match self.kind {
            TensorKind::I16 => self.len.saturating_add(3) & !3,
            TensorKind::Nats => self.len.saturating_mul(4),
            TensorKind::Invalid => 0,
        }
    }
}

/// Number of words of a matrix's record.
pub const MATRIX_WORDS: usize = 6;

/// One dense layer's constants. Its data are the parameters of its rows, then its weights, both in the data section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// Outputs.
    pub rows: u32,
    /// Inputs.
    pub cols: u32,
    /// Order of the weights; `None` when the code is unknown.
    pub packing: Option<Packing>,
    /// Largest |q| of the activations it may be given, for which no accumulator overflows.
    pub input_bound: u16,
    /// Largest |q| that then comes out.
    pub output_bound: u16,
    /// First word of the parameters in the data section.
    pub params: u32,
    /// First word of the weights in the data section.
    pub weights: u32,
}

impl Matrix {
    /// The matrix at `index` of a section of records.
    #[inline(never)]
    pub fn read(matrices: &[u32], index: usize) -> Self {
        let [rows, cols, packing, bounds, params, weights] = *record::<MATRIX_WORDS>(matrices, index);
        let [input_bound, output_bound] = halves(bounds);
        Self { rows, cols, packing: Packing::from_tag(packing), input_bound, output_bound, params, weights }
    }

    /// The record's words.
    pub fn encode(&self) -> [u32; MATRIX_WORDS] {
        [
            self.rows,
            self.cols,
            self.packing.map_or(u32::MAX, |packing| packing as u32),
            u32::from(self.input_bound) | u32::from(self.output_bound) << 16,
            self.params,
            self.weights,
        ]
    }

    /// Words of the parameters: bias and multiplier of every row, rows rounded up to four.
    pub fn params_len(&self) -> u32 {
        (self.rows.saturating_add(3) & !3).saturating_mul(2)
    }

    /// Words of one row of weights.
    pub fn row_words(&self) -> u32 {
        self.cols.div_ceil(4)
    }

    /// Words of the weights.
    pub fn weights_len(&self) -> u32 {
        let rows = match self.packing {
            Some(Packing::Dsp4) => self.rows.saturating_add(3) & !3,
            _ => self.rows,
        };
        rows.saturating_mul(self.row_words())
    }
}

/// Number of words of a program's record.
pub const PROGRAM_WORDS: usize = 12;

/// One program's record: ranges of operations and tensors, inputs and outputs, and what a run costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramRecord {
    /// Code of a [`ProgramKind`].
    pub kind: u32,
    /// First operation in the operations section.
    pub ops_start: u32,
    /// Number of operations.
    pub ops_len: u32,
    /// First tensor in the tensor section.
    pub tensors_start: u32,
    /// Number of tensors.
    pub tensors_len: u32,
    /// Input tensors.
    pub inputs: [u16; 2],
    /// Output tensors.
    pub outputs: [u16; 2],
    /// Elementary steps of one run: multiply-accumulates and elements touched, loops included.
    pub work: u64,
    /// Multiply-accumulates of one run, loops included.
    pub macs: u64,
}

impl ProgramRecord {
    /// The program at `index` of a section of records.
    #[inline(never)]
    pub fn read(programs: &[u32], index: usize) -> Self {
        let [kind, ops_start, ops_len, tensors_start, tensors_len, inputs, outputs, reserved, w0, w1, m0, m1] =
            *record::<PROGRAM_WORDS>(programs, index);
        let long = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        Self {
            // Bits that must be zero make a kind that there is none of.
            kind: if reserved == 0 { kind } else { 0 },
            ops_start,
            ops_len,
            tensors_start,
            tensors_len,
            inputs: halves(inputs),
            outputs: halves(outputs),
            work: long(w0, w1),
            macs: long(m0, m1),
        }
    }

    /// The record's words.
    pub fn encode(&self) -> [u32; PROGRAM_WORDS] {
        let pair = |v: [u16; 2]| u32::from(v[0]) | u32::from(v[1]) << 16;
        [
            self.kind,
            self.ops_start,
            self.ops_len,
            self.tensors_start,
            self.tensors_len,
            pair(self.inputs),
            pair(self.outputs),
            0,
            self.work as u32,
            (self.work >> 32) as u32,
            self.macs as u32,
            (self.macs >> 32) as u32,
        ]
    }
}

/// What one execution of an operation costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Elementary steps: multiply-accumulates and rows of matrices, elements of everything else, and one for itself.
    pub work: u64,
    /// Multiply-accumulates of matrices, padding to whole words not counted.
    pub macs: u64,
}

/// The cost of one execution of `op`, `len` being the length of its first input, or of its output when it has none.
/// `params` is the length of its second input: a flow's parameters, or what a `Concat` appends.
#[inline(never)]
pub fn op_cost(op: &Op, len: u32, params: u32, matrices: &dyn Fn(u16) -> Option<Matrix>) -> Cost {
    let (work, macs) = match op.opcode {
        Opcode::Loop => (0, 0),
        // A scalar is what the operation itself counts for; a vector is copied.
        Opcode::End => (u64::from(len.saturating_sub(1)), 0),
        Opcode::Concat => (u64::from(len) + u64::from(params), 0),
        Opcode::Dense => matrices(op.arg).map_or((0, 0), |matrix| {
            let macs = matrix_macs(&matrix);
            (macs + u64::from(matrix.rows), macs)
        }),
        #[cfg(feature = "conv")]
        Opcode::Conv => matrices(op.arg).map_or((0, 0), |matrix| {
            let geometry = ConvGeometry::unpack(op.imm, op.param);
            let channels = matrix.cols.checked_div(geometry.taps(0)).unwrap_or(0);
            let macs = geometry.macs(channels, matrix.rows);
            (macs.saturating_add(u64::from(geometry.output_len(matrix.rows).unwrap_or(0))), macs)
        }),
        #[cfg(feature = "flow")]
        Opcode::Couplings => CouplingStack::needs(op, len, matrices)
            .map_or((0, 0), |needs| (needs.macs.saturating_add(needs.rows), needs.macs)),
        // An inverted planar step is a search of so many steps.
        Opcode::Planar if op.param != 0 => (u64::from(params) << 5, 0),
        Opcode::Planar | Opcode::Radial => (u64::from(params), 0),
        _ => (u64::from(len), 0),
    };
    Cost { work: work.saturating_add(1), macs }
}

/// Multiply-accumulates of one execution of a dense layer, padding not counted. A host may load 2^32 weights, whose
/// number 32 bits do not hold.
#[inline]
pub(crate) fn matrix_macs(matrix: &Matrix) -> u64 {
    u64::from(matrix.rows) * u64::from(matrix.cols)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_their_positions() {
        for (index, opcode) in Opcode::ALL.into_iter().enumerate() {
            assert_eq!(opcode as usize, index + 1);
            assert_eq!(Opcode::from_code(index as u32 + 1), opcode);
        }
        assert_eq!(Opcode::from_code(0), Opcode::Invalid);
        assert_eq!(Opcode::from_code(Opcode::ALL.len() as u32 + 1), Opcode::Invalid);
        for kind in ProgramKind::ALL {
            assert_eq!(ProgramKind::from_code(kind as u32), Some(kind));
        }
    }

    #[test]
    fn records_survive_a_round_trip() {
        let op = Op { opcode: Opcode::Fma, param: -3, output: 7, inputs: [1, 65535, 3], arg: 9, imm: 0xDEAD_BEEF };
        assert_eq!(Op::read(&op.encode(), 0), op);
        let tensor = Tensor { kind: TensorKind::Nats, frac: 16, bound: 40, len: 3, offset: 8, first: 2, last: 9 };
        assert_eq!(Tensor::read(&tensor.encode(), 0), tensor);
        let matrix = Matrix {
            rows: 10,
            cols: 5,
            packing: Some(Packing::Dsp4),
            input_bound: 32768,
            output_bound: 77,
            params: 4,
            weights: 28,
        };
        assert_eq!(Matrix::read(&matrix.encode(), 0), matrix);
        let program = ProgramRecord {
            kind: 3,
            ops_start: 1,
            ops_len: 2,
            tensors_start: 3,
            tensors_len: 4,
            inputs: [0, NO_TENSOR],
            outputs: [2, 3],
            work: 1 << 40,
            macs: 12345,
        };
        assert_eq!(ProgramRecord::read(&program.encode(), 0), program);
    }

    #[test]
    fn work_is_what_an_operation_touches() {
        let matrix = |rows, cols| {
            move |_: u16| {
                let (packing, input_bound, output_bound) = (Some(Packing::RowMajor), 1, 1);
                Some(Matrix { rows, cols, packing, input_bound, output_bound, params: 0, weights: 0 })
            }
        };
        let op = |opcode| Op { opcode, param: 0, output: 0, inputs: [0; 3], arg: 0, imm: 0 };
        let cost = |opcode| op_cost(&op(opcode), 10, 100, &matrix(3, 5));
        let work = |opcode| cost(opcode).work;
        assert_eq!((work(Opcode::Relu), work(Opcode::Loop), work(Opcode::End)), (11, 1, 10));
        assert_eq!(op_cost(&op(Opcode::End), 1, 0, &matrix(3, 5)).work, 1);
        assert_eq!((work(Opcode::Concat), work(Opcode::Radial), work(Opcode::Planar)), (111, 101, 101));
        assert_eq!(op_cost(&Op { param: 1, ..op(Opcode::Planar) }, 10, 100, &matrix(3, 5)).work, 3201);
        assert_eq!(cost(Opcode::Dense), Cost { work: 19, macs: 15 });
        // More weights than 32 bits count.
        let most = op_cost(&op(Opcode::Dense), 1, 0, &matrix(1 << 16, 1 << 16));
        assert_eq!(most, Cost { work: (1 << 32) + (1 << 16) + 1, macs: 1 << 32 });
    }

    #[cfg(feature = "conv")]
    #[test]
    fn work_of_the_largest_convolution_fits() {
        let geometry =
            ConvGeometry { height: 255, width: 255, kernel: 15, stride: 1, up: 15, pad: 0, output_padding: 14 };
        let (imm, param) = geometry.pack();
        let op = Op { opcode: Opcode::Conv, param, output: 0, inputs: [0; 3], arg: 0, imm };
        for size in [1 << 16, u32::MAX] {
            let packing = Some(Packing::RowMajor);
            let matrix =
                Matrix { rows: size, cols: size, packing, input_bound: 1, output_bound: 1, params: 0, weights: 0 };
            let cost = op_cost(&op, 1, 0, &|_| Some(matrix));
            assert!(cost.work > cost.macs || cost.macs == u64::MAX, "{cost:?}");
        }
    }

    #[test]
    fn reading_past_the_end_gives_nothing_valid() {
        assert_eq!(Op::read(&[], 5).opcode, Opcode::Invalid);
        assert_eq!(Tensor::read(&[], 5).kind, TensorKind::Invalid);
        assert_eq!(Tensor::read(&[], usize::MAX).extent(), 0);
    }
}
