//! The rules in one line of the table of operations: types, lengths and scales of the operands, the fields of the
//! record that are used, and a second tensor that the operation may write.

use super::bounds::{EXP_FRAC, MIN_FRAC};
use super::machine::Step;
use super::{NORMAL_FRAC, Opcode};

use crate::ops::record::TensorKind;

/// The second tensor that an operation writes, to which its third reference points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    /// None: the third reference, if there is one, is an input.
    None,
    /// The log-determinant of the applied map, a scalar in nats.
    LogDet,
    /// Intermediate activations, which no other operation may read.
    Scratch,
}

/// A rule about the fractional bits of one tensor of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScaleRule {
    /// No rule.
    Any,
    /// The same number as the first input.
    SameAsFirst,
    /// The same number as the output.
    SameAsOutput,
    /// At least as many as the output, because the tensor is rounded to the output's scale.
    NotCoarserThanOutput,
    /// At least this number.
    AtLeast(u8),
    /// Exactly this number.
    Exactly(u8),
    /// At least 0 and at most this number, after the operation's parameter is added.
    ReadAtMost(u8),
}

impl ScaleRule {
    /// All rules that operations use. There are few enough for four bits to name one.
    const ALL: [Self; 12] = [
        Self::Any,
        Self::SameAsFirst,
        Self::SameAsOutput,
        Self::NotCoarserThanOutput,
        Self::AtLeast(1),
        Self::AtLeast(MIN_FRAC),
        Self::AtLeast(EXP_FRAC),
        Self::Exactly(0),
        Self::Exactly(NORMAL_FRAC),
        Self::Exactly(15),
        Self::ReadAtMost(16),
        Self::ReadAtMost(24),
    ];
    const BITS: u32 = 4;

    const fn index(self) -> u32 {
        let mut index = 0;
        loop {
            let same = match (Self::ALL[index as usize], self) {
                (Self::AtLeast(a), Self::AtLeast(b))
                | (Self::Exactly(a), Self::Exactly(b))
                | (Self::ReadAtMost(a), Self::ReadAtMost(b)) => a == b,
                (Self::Any, Self::Any)
                | (Self::SameAsFirst, Self::SameAsFirst)
                | (Self::SameAsOutput, Self::SameAsOutput)
                | (Self::NotCoarserThanOutput, Self::NotCoarserThanOutput) => true,
                _ => false,
            };
            if same {
                return index;
            }
            index += 1;
        }
    }

    fn at(index: u32) -> Self {
        static RULES: [ScaleRule; ScaleRule::ALL.len()] = ScaleRule::ALL;
        RULES.get(index as usize).copied().unwrap_or(Self::Any)
    }

    /// Whether the rule accepts a tensor of `frac` fractional bits. `first` is the number of the first input, `read`
    /// that at which the first input is read, and `output` that of the output.
    fn allows(self, frac: u32, first: u32, read: u32, output: u32) -> bool {
        match self {
            Self::Any => true,
            Self::SameAsFirst => frac == first,
            Self::SameAsOutput => frac == output,
            Self::NotCoarserThanOutput => frac >= output,
            Self::AtLeast(least) => frac >= least.into(),
            Self::Exactly(exact) => frac == exact.into(),
            Self::ReadAtMost(most) => read <= most.into(),
        }
    }
}

/// One line of the table, packed into a word. It describes an operation's operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules(u32);

impl Rules {
    // Two bits for the number of inputs, then two for their types: whether the first is nats, and whether the others are.
    const ONLY_FIRST_NATS: u32 = 1 << 2;
    const ANY_KIND: u32 = 2 << 2;
    const NATS: u32 = 3 << 2;
    const INPUT_KINDS: u32 = 3 << 2;
    const NATS_OUT: u32 = 1 << 4;
    const ONE_IN: u32 = 1 << 5;
    const SAME_LENGTH: u32 = 1 << 6;
    const IN_PLACE: u32 = 1 << 7;
    const PARAM: u32 = 1 << 8;
    const ARG: u32 = 1 << 9;
    const IMM: u32 = 1 << 10;
    const LOG_DET: u32 = 1 << 11;
    const SCRATCH: u32 = 1 << 12;
    const ANY_LENGTHS: u32 = 1 << 13;
    const NOISE: u32 = 1 << 14;
    const IN_LOOP: u32 = 1 << 15;
    /// First bit of the rules about the scales of `a`, `b`, `c` and `y`.
    const SCALES: u32 = 16;
    /// The bits of one of them.
    const SCALE: u32 = (1 << ScaleRule::BITS) - 1;

    pub(super) const INVALID: Self = Self(0);

    const fn with(self, flags: u32) -> Self {
        Self(self.0 | flags)
    }

    /// Activations from `inputs` vectors of activations of equal length.
    pub(super) const fn vectors(inputs: u32) -> Self {
        assert!(inputs <= 3);
        Self(inputs)
    }

    /// Activations computed element by element from `inputs` vectors of equal length. The output may overwrite an
    /// input.
    pub(super) const fn map(inputs: u32) -> Self {
        Self::vectors(inputs).same_length().with(Self::IN_PLACE)
    }

    /// One scalar in nats from `inputs` vectors of activations of equal length.
    pub(super) const fn reduce(inputs: u32) -> Self {
        Self::vectors(inputs).with(Self::NATS_OUT)
    }

    /// One scalar in nats from `inputs` vectors of nats of equal length.
    pub(super) const fn reduce_nats(inputs: u32) -> Self {
        Self::reduce(inputs).of_nats()
    }

    /// One scalar in nats from `inputs` scalars in nats.
    pub(super) const fn scalars(inputs: u32) -> Self {
        Self::reduce_nats(inputs).with(Self::ONE_IN)
    }

    /// The output has as many elements as the first input.
    pub(super) const fn same_length(self) -> Self {
        self.with(Self::SAME_LENGTH)
    }

    /// The inputs may have different lengths.
    pub(super) const fn any_lengths(self) -> Self {
        self.with(Self::ANY_LENGTHS)
    }

    /// The inputs and the output have the same type, which may be activations or nats.
    pub(super) const fn any_kind(self) -> Self {
        self.with(Self::ANY_KIND)
    }

    /// Inputs are nats.
    pub(super) const fn of_nats(self) -> Self {
        self.with(Self::NATS)
    }

    /// Only the first input is nats; the others are activations.
    pub(super) const fn only_first_nats(self) -> Self {
        Self(self.0 & !Self::INPUT_KINDS | Self::ONLY_FIRST_NATS)
    }

    /// The record's field `param` is used.
    pub(super) const fn param(self) -> Self {
        self.with(Self::PARAM)
    }

    /// The record's field `arg` is used.
    pub(super) const fn arg(self) -> Self {
        self.with(Self::ARG)
    }

    /// The record's field `imm` is used.
    pub(super) const fn imm(self) -> Self {
        self.with(Self::IMM)
    }

    /// The operation also writes a log-determinant.
    pub(super) const fn log_det(self) -> Self {
        self.with(Self::LOG_DET)
    }

    /// The operation needs scratch.
    pub(super) const fn scratch(self) -> Self {
        self.with(Self::SCRATCH)
    }

    /// The operation draws noise.
    pub(super) const fn noise(self) -> Self {
        self.with(Self::NOISE)
    }

    /// The operation must stand inside a loop.
    pub(super) const fn in_loop(self) -> Self {
        self.with(Self::IN_LOOP)
    }

    /// The rules about the scales of its inputs, in order. Inputs without a rule may have any scale.
    pub(super) const fn scales<const N: usize>(mut self, rules: [ScaleRule; N]) -> Self {
        let mut slot = 0;
        while slot < N {
            self = self.scale(slot, rules[slot]);
            slot += 1;
        }
        self
    }

    /// The rule about the scale of its output.
    pub(super) const fn output_scale(self, rule: ScaleRule) -> Self {
        self.scale(3, rule)
    }

    const fn scale(self, slot: usize, rule: ScaleRule) -> Self {
        self.with(rule.index() << (Self::SCALES + slot as u32 * ScaleRule::BITS))
    }

    const fn rule(self, slot: usize) -> u32 {
        self.0 >> (Self::SCALES + slot as u32 * ScaleRule::BITS) & Self::SCALE
    }

    /// Whether it writes a second tensor, regardless of the features of this build.
    pub(crate) const fn is_extra(self) -> bool {
        self.0 & (Self::LOG_DET | Self::SCRATCH) != 0
    }

    fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }

    /// Number of input tensors.
    #[inline]
    pub fn inputs(self) -> usize {
        self.0 as usize & 3
    }

    /// The type of input `slot`, or `None` if it must equal that of the output.
    #[inline]
    pub fn input_kind(self, slot: usize) -> Option<TensorKind> {
        match self.0 & Self::INPUT_KINDS {
            0 => Some(TensorKind::I16),
            Self::NATS => Some(TensorKind::Nats),
            Self::ONLY_FIRST_NATS => Some(if slot == 0 { TensorKind::Nats } else { TensorKind::I16 }),
            _ => None,
        }
    }

    /// The codes of the types of the first input and of the others, for an output of type `output`.
    #[inline]
    pub(crate) fn input_kinds(self, output: u32) -> [u32; 2] {
        const _: () = assert!(TensorKind::I16 as u32 == 1 && TensorKind::Nats as u32 == 2);
        let kinds = self.0 >> 2;
        if self.takes_any_kind() { [output; 2] } else { [1 + (kinds & 1), 1 + (kinds >> 1 & 1)] }
    }

    /// The type of the output, or `None` if both types are allowed.
    #[inline]
    pub fn output_kind(self) -> Option<TensorKind> {
        let kind = if self.has(Self::NATS_OUT) { TensorKind::Nats } else { TensorKind::I16 };
        (!self.takes_any_kind()).then_some(kind)
    }

    /// Whether its tensors may have any type, as long as all have the same.
    #[inline]
    pub(crate) fn takes_any_kind(self) -> bool {
        self.0 & Self::INPUT_KINDS == Self::ANY_KIND
    }

    /// The code of the type of the output, unless both types are allowed.
    #[inline]
    pub(crate) fn output_code(self) -> u32 {
        const _: () = assert!(TensorKind::I16 as u32 == 1 && TensorKind::Nats as u32 == 2);
        1 + u32::from(self.has(Self::NATS_OUT))
    }

    /// The length that an input must have if the first input has the length `first`; `None` if every length is allowed.
    #[inline]
    pub(crate) fn input_len(self, first: u32) -> Option<u32> {
        (!self.has(Self::ANY_LENGTHS)).then_some(if self.has(Self::ONE_IN) { 1 } else { first })
    }

    /// The length that the output must have if the first input has the length `first`; `None` if the operation itself
    /// decides.
    #[inline]
    pub fn output_len(self, first: u32) -> Option<u32> {
        if self.has(Self::SAME_LENGTH) { Some(first) } else { self.has(Self::NATS_OUT).then_some(1) }
    }

    /// Whether an execution goes through all elements of the output, because they are as many as those of the first
    /// input or because there is no input.
    #[inline]
    pub(crate) fn fills_output(self) -> bool {
        self.has(Self::SAME_LENGTH) || self.inputs() == 0
    }

    /// The rule about the scale of input `slot`.
    pub fn input_scale(self, slot: usize) -> ScaleRule {
        ScaleRule::at(self.rule(slot.min(2)))
    }

    /// The rule about the scale of the output.
    pub fn written_scale(self) -> ScaleRule {
        ScaleRule::at(self.rule(3))
    }

    /// Whether the fractional bits of an operation's tensors follow all rules.
    pub(super) fn scales_hold(self, step: &Step<'_>) -> bool {
        let mut rules = self.0 >> Self::SCALES;
        // Most operations have few rules.
        if rules == 0 {
            return true;
        }
        let (first, read, output) = (step.frac(0), step.read(), step.output_frac());
        for tensor in &step.tensors {
            if rules == 0 {
                break;
            }
            if !ScaleRule::at(rules & Self::SCALE).allows(tensor.frac(), first, read, output) {
                return false;
            }
            rules >>= ScaleRule::BITS;
        }
        true
    }

    /// The second tensor that it writes.
    #[inline]
    pub fn extra(self) -> Extra {
        if self.has(Self::LOG_DET) {
            Extra::LogDet
        } else if self.has(Self::SCRATCH) {
            Extra::Scratch
        } else {
            Extra::None
        }
    }

    /// Whether it writes a second tensor.
    #[inline]
    pub fn writes_extra(self) -> bool {
        Opcode::WRITE_EXTRA && self.is_extra()
    }

    /// Whether the output may overwrite an input that no later operation reads.
    #[inline]
    pub fn in_place(self) -> bool {
        self.has(Self::IN_PLACE)
    }

    /// Whether the record's field `param` is used.
    #[inline]
    pub fn uses_param(self) -> bool {
        self.has(Self::PARAM)
    }

    /// Whether the record's field `arg` is used.
    #[inline]
    pub fn uses_arg(self) -> bool {
        self.has(Self::ARG)
    }

    /// Whether the record's field `imm` is used.
    #[inline]
    pub fn uses_imm(self) -> bool {
        self.has(Self::IMM)
    }

    /// Whether it draws noise.
    #[inline]
    pub fn draws_noise(self) -> bool {
        self.has(Self::NOISE)
    }

    /// Whether it must stand inside a loop.
    #[inline]
    pub fn only_in_loop(self) -> bool {
        self.has(Self::IN_LOOP)
    }

    /// Whether operands with the right lengths for one operation have the right number and types for the other.
    pub fn takes_the_same(self, other: Self) -> bool {
        const OPERANDS: u32 =
            3 | Rules::INPUT_KINDS | Rules::NATS_OUT | Rules::ONE_IN | Rules::LOG_DET | Rules::SCRATCH;
        (self.0 ^ other.0) & OPERANDS == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_as_they_were_written() {
        use ScaleRule::{Any, AtLeast, Exactly, ReadAtMost, SameAsFirst, SameAsOutput};
        let rules = Rules::reduce(3).scales([AtLeast(MIN_FRAC), AtLeast(EXP_FRAC), SameAsFirst]);
        assert_eq!([0, 1, 2].map(|slot| rules.input_scale(slot)), [AtLeast(MIN_FRAC), AtLeast(EXP_FRAC), SameAsFirst]);
        assert_eq!(rules.written_scale(), Any);
        let rules = Rules::map(1).param().scales([ReadAtMost(16)]).output_scale(Exactly(15));
        assert_eq!((rules.input_scale(0), rules.input_scale(1)), (ReadAtMost(16), Any));
        assert_eq!(rules.written_scale(), Exactly(15));
        assert_eq!(Rules::map(3).scales([SameAsOutput, SameAsOutput]).input_scale(2), Any);
        assert_eq!(ScaleRule::ALL.map(|rule| ScaleRule::at(rule.index())), ScaleRule::ALL);
    }
}
