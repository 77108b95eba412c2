//! The macro that generates everything that covers all operations from their table.

macro_rules! operations {
    ($(
        [$cfg:meta] $group:ident {$(
            $(#[doc = $doc:literal])+
            $name:ident = $code:literal, $class:ident, $rules:expr $(, $facts:expr)?;
        )+}
    )+) => {
        /// The code of an operation. `a`, `b` and `c` are its inputs and `y` is its output. `q` is a stored integer and
        /// `v = q 2^-frac` its value.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Opcode {
            /// Not an operation: the verifier refuses it.
            Invalid = 0,
            $($(
                $(#[doc = $doc])+
                $name = $code,
            )+)+
        }

        impl Opcode {
            /// Every valid operation in the order of the codes, which count from 1 without gaps.
            pub const ALL: [Self; [$($($code),+),+].len()] = {
                let mut all = [Self::Invalid; [$($($code),+),+].len()];
                $($(
                    assert!(matches!(all[$code - 1], Self::Invalid), "two operations have one code");
                    all[$code - 1] = Self::$name;
                )+)+
                all
            };

            /// The operation with this code. The codes have no gaps, so that this is no table but a comparison.
            #[inline]
            pub(crate) const fn from_code(code: u32) -> Self {
                match code {
                    $($($code => Self::$name,)+)+
                    _ => Self::Invalid,
                }
            }

            const RULES: [Rules; Self::ALL.len() + 1] = {
                let mut rules = [Rules::INVALID; Self::ALL.len() + 1];
                $($(rules[$code] = $rules;)+)+
                rules
            };

            /// Whether an operation of this build writes something besides its output.
            const WRITE_EXTRA: bool = $($((cfg!($cfg) && Self::RULES[$code].is_extra())) ||+) ||+;

            /// The fields of its record and the rules for its operands.
            #[inline]
            pub fn rules(self) -> Rules {
                static RULES: [Rules; Opcode::ALL.len() + 1] = Opcode::RULES;
                RULES.get(self as usize).copied().unwrap_or(Rules::INVALID)
            }

            /// Whether this build of the runtime includes the operation: see the crate's features.
            pub const fn compiled(self) -> bool {
                match self {
                    Self::Invalid => false,
                    $($(Self::$name => cfg!($cfg),)+)+
                }
            }

            /// The bound of the second tensor that it writes, or 0 if there is none.
            pub(crate) const fn extra_bound(self) -> u16 {
                match self {
                    Self::Invalid => 0,
                    $($(
                        #[cfg($cfg)]
                        Self::$name => $group::$name::EXTRA_BOUND,
                        #[cfg(not($cfg))]
                        Self::$name => 0,
                    )+)+
                }
            }

            #[inline]
            fn steps(self) -> Steps {
                static STEPS: [Steps; Opcode::ALL.len() + 1] = {
                    let mut steps = [Steps::NONE; Opcode::ALL.len() + 1];
                    $($(
                        #[cfg($cfg)]
                        { steps[$code] = $group::$name::STEPS; }
                    )+)+
                    steps
                };
                STEPS.get(self as usize).copied().unwrap_or(Steps::NONE)
            }

            /// The same as [`compiled`](Self::compiled), from a table that a firmware contains in any case.
            #[inline]
            pub(crate) fn included(self) -> bool {
                self.steps() != Steps::NONE
            }

            /// The features each of which enables it; none if every build has it.
            pub fn features(self) -> impl Iterator<Item = &'static str> {
                let cfg = match self {
                    Self::Invalid => "",
                    $($(Self::$name => stringify!($cfg),)+)+
                };
                // Names are what stands between quotation marks.
                cfg.split('"').skip(1).step_by(2)
            }

            /// The error of its results and their limit, as the specification of the format states them. `None` if it is
            /// exact, or if this build does not include it.
            pub fn error(self) -> Option<[&'static str; 2]> {
                let stated = match self {
                    Self::Invalid => [""; 2],
                    $($(
                        #[cfg($cfg)]
                        Self::$name => [$group::$name::ERROR, $group::$name::LIMIT],
                        #[cfg(not($cfg))]
                        Self::$name => [""; 2],
                    )+)+
                };
                (!stated[0].is_empty()).then_some(stated)
            }

            /// The facts about it that only tools need.
            pub const fn facts(self) -> Facts {
                match self {
                    Self::Invalid => Facts::NONE,
                    $($(Self::$name => operations!(@facts $($facts)?),)+)+
                }
            }

            /// Its name in the specification of the format.
            pub const fn name(self) -> &'static str {
                match self {
                    Self::Invalid => "Invalid",
                    $($(Self::$name => stringify!($name),)+)+
                }
            }

            /// What it computes, as stated in the specification of the format.
            pub const fn description(self) -> &'static str {
                match self {
                    Self::Invalid => "",
                    $($(Self::$name => concat!($($doc),+),)+)+
                }
            }
        }

        /// The bound of the output. Adds to `cost` what an execution costs besides its [`Steps`].
        #[inline(never)]
        fn prove(o: &Step<'_>, matrices: &Matrices<'_>, cost: &mut Count) -> Verdict {
            match o.op.opcode {
                Opcode::Invalid => Verdict::of(Err(OperandError::Kind)),
                $($(
                    #[cfg($cfg)]
                    Opcode::$name => Verdict::of($group::$name::prove(o, matrices, cost)),
                    #[cfg(not($cfg))]
                    Opcode::$name => Verdict::of(Err(OperandError::Kind)),
                )+)+
            }
        }

        /// Halfwords of scratch that an operation needs. `None` if it needs none or its matrices do not exist.
        pub fn scratch_len(op: &Op, matrices: &Matrices<'_>) -> Option<u32> {
            match op.opcode {
                Opcode::Invalid => None,
                $($(
                    #[cfg($cfg)]
                    Opcode::$name => $group::$name::scratch_len(op, matrices),
                    #[cfg(not($cfg))]
                    Opcode::$name => None,
                )+)+
            }
        }

        /// The cost of one execution.
        #[inline(never)]
        fn cost(o: &Step<'_>, matrices: &Matrices<'_>) -> Count {
            let mut cost = match o.op.opcode {
                Opcode::Invalid => Count::default(),
                $($(
                    #[cfg($cfg)]
                    Opcode::$name => $group::$name::cost(o, matrices),
                    #[cfg(not($cfg))]
                    Opcode::$name => Count::default(),
                )+)+
            };
            cost.add(o.steps());
            cost
        }

        /// Runs one operation of a verified program.
        #[inline(never)]
        pub(crate) fn run(machine: &mut Machine<'_, '_>, step: &Step<'_>) {
            match step.op.opcode {
                Opcode::Invalid => {}
                $($(
                    #[cfg($cfg)]
                    Opcode::$name => operations!(@run $class $group $name machine step),
                    #[cfg(not($cfg))]
                    Opcode::$name => {}
                )+)+
            }
        }

        fn reduce(machine: &mut Machine<'_, '_>, step: &Step<'_>) {
            let values = Values::new(machine.arena, step);
            let nats = match step.op.opcode {
                Opcode::Invalid => return,
                $($(
                    #[cfg($cfg)]
                    Opcode::$name => operations!(@nats $class $group $name values),
                    #[cfg(not($cfg))]
                    Opcode::$name => return,
                )+)+
            };
            machine::write_scalar(machine.arena, step.y(), 0, nats);
        }
    };
    (@facts) => { Facts::NONE };
    (@facts $facts:expr) => { $facts };
    (@run transform $group:ident $name:ident $machine:ident $step:ident) => { $group::$name::run($machine, $step) };
    (@run reduction $group:ident $name:ident $machine:ident $step:ident) => { reduce($machine, $step) };
    (@nats transform $group:ident $name:ident $values:ident) => { return };
    (@nats reduction $group:ident $name:ident $values:ident) => { $group::$name::nats(&$values) };
}
