//! Facts about operations that only tools read: the writer, the compiler, its reports and the fuzzers. The verifier and
//! the interpreter do not use them, so that a firmware does not contain them.

/// What the field `imm` of an operation's record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Immediate {
    /// Nothing: the field is 0.
    None,
    /// The number of iterations of a loop.
    Iterations,
    /// The index of an element.
    Index,
    /// The two ends of an interval, at the scale of the output: [`Op::interval`](crate::program::Op::interval).
    Interval,
    /// A constant in Q16 nats.
    Nats,
    /// A factor in Q15.
    Factor,
    /// A value at the scale of the output.
    Value,
    /// A [`ConvGeometry`](crate::kernel::ConvGeometry), together with the field `param`.
    Geometry,
    /// A [`CouplingStack`](crate::coupling::CouplingStack), together with the field `param`.
    Couplings,
    /// A layout of [`Bands`](crate::front::Bands).
    Bands,
    /// A set of [`Statistic`](crate::front::Statistic)s.
    Statistics,
}

/// How the length of an output follows from something else than the lengths of the operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// It does not: see [`Rules::output_len`](super::Rules::output_len).
    Operands,
    /// It is the number of rows of the operation's matrix.
    Rows,
    /// It is the number of pixels of the convolution's output, times the rows of its matrix.
    Pixels,
    /// It is the length of the operand, times the iterations of the loop that the operation closes.
    Iterations,
}

/// The interval in which all elements of an output lie, whatever the operands are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// Any number.
    Any,
    /// From 0 upwards.
    NonNegative,
    /// From 0 to 1.
    Unit,
    /// From -1 to 1.
    SignedUnit,
    /// The interval in the field `imm`.
    Interval,
}

/// How many fractional bits an output can have at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// The operation's [`ScaleRule`](super::ScaleRule)s decide alone.
    Rules,
    /// Those of the coarser of two operands, which are added.
    Sum,
    /// Those of the first two operands together, which are multiplied.
    Product,
    /// Those that the operation's matrices were quantised for.
    Matrices,
}

/// Where an operation stands with respect to loops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Inside,
    Opens,
    Closes,
}

/// The facts about one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    block: Block,
    imm: Immediate,
    length: Length,
    range: Range,
    precision: Precision,
    passes: bool,
    invertible: bool,
}

impl Facts {
    /// Those of an operation whose line in the table states none.
    pub(super) const NONE: Self = Self {
        block: Block::Inside,
        imm: Immediate::None,
        length: Length::Operands,
        range: Range::Any,
        precision: Precision::Rules,
        passes: false,
        invertible: false,
    };

    /// It opens a loop, and its output collects what the loop's end stores.
    pub(super) const fn opening_a_loop(self) -> Self {
        Self { block: Block::Opens, ..self }
    }

    /// It closes the innermost loop.
    pub(super) const fn closing_a_loop(self) -> Self {
        Self { block: Block::Closes, length: Length::Iterations, ..self }
    }

    /// What its field `imm` holds.
    pub(super) const fn holding(self, imm: Immediate) -> Self {
        Self { imm, ..self }
    }

    /// Its output is a product with the matrix that the record names.
    pub(super) const fn through_matrices(self, length: Length) -> Self {
        Self { length, precision: Precision::Matrices, ..self }
    }

    /// All elements of its output lie in this interval.
    pub(super) const fn within(self, range: Range) -> Self {
        Self { range, ..self }
    }

    /// How many fractional bits its output can have at most.
    pub(super) const fn as_precise_as(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Its output consists of elements of its operands, of means of such elements, and of zeros.
    pub(super) const fn passing_elements(self) -> Self {
        Self { passes: true, ..self }
    }

    /// It computes the inverse if its field `param` is 1.
    pub(super) const fn invertible(self) -> Self {
        Self { invertible: true, ..self }
    }

    /// Whether it opens a loop. The output of such an operation collects what the end of the loop stores.
    pub fn opens_loop(&self) -> bool {
        matches!(self.block, Block::Opens)
    }

    /// Whether it closes the innermost loop.
    pub fn closes_loop(&self) -> bool {
        matches!(self.block, Block::Closes)
    }

    /// What the field `imm` of its record holds.
    pub fn imm(&self) -> Immediate {
        self.imm
    }

    /// How the length of its output follows from something else than the lengths of the operands.
    pub fn length(&self) -> Length {
        self.length
    }

    /// The interval of its outputs.
    pub fn range(&self) -> Range {
        self.range
    }

    /// How many fractional bits its output can have at most.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Whether its output consists of elements of its operands, of means of such elements, and of zeros. The scale of
    /// the output then follows from those of the operands.
    pub fn passes_elements(&self) -> bool {
        self.passes
    }

    /// Whether it computes the inverse if the field `param` of its record is 1.
    pub fn is_invertible(&self) -> bool {
        self.invertible
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Opcode, ScaleRule};

    #[test]
    fn facts_agree_with_the_rules_of_the_table() {
        for opcode in Opcode::ALL {
            let (rules, facts) = (opcode.rules(), opcode.facts());
            assert_eq!(rules.uses_imm(), facts.imm() != Immediate::None, "{opcode:?}");
            if facts.length() != Length::Operands {
                assert_eq!(rules.output_len(1), None, "{opcode:?}");
            }
            if facts.precision() == Precision::Matrices {
                assert!(rules.uses_arg(), "{opcode:?}");
            }
            if matches!(facts.precision(), Precision::Sum | Precision::Product) {
                assert!(rules.inputs() >= 2 && rules.written_scale() == ScaleRule::Any, "{opcode:?}");
            }
            if facts.range() == Range::Interval {
                assert_eq!(facts.imm(), Immediate::Interval, "{opcode:?}");
            }
            if facts.is_invertible() {
                assert!(rules.uses_param(), "{opcode:?}");
            }
        }
    }

    #[test]
    fn one_operation_opens_loops_and_one_closes_them() {
        let of =
            |is: fn(&Facts) -> bool| Opcode::ALL.into_iter().filter(|o| is(&o.facts())).collect::<std::vec::Vec<_>>();
        assert_eq!((of(Facts::opens_loop), of(Facts::closes_loop)), (vec![Opcode::Loop], vec![Opcode::End]));
    }
}
