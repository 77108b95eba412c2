//! The loops around an operation while a program is checked.

use crate::exact::product;
use crate::ops::record::{LOOP_DEPTH, OpRecord};
use crate::program::Op;

/// Largest number of iterations of a loop.
const MAX_ITERATIONS: u32 = 1 << 16;

/// The loops around an operation.
pub(super) struct Loops<'b> {
    ops: &'b [OpRecord],
    /// The numbers of their `Loop` operations, outermost first, and zeros.
    starts: [u16; LOOP_DEPTH],
    /// The `Loop` operation of the innermost loop, or 0, and the last operation.
    pub start: u16,
    pub end: u16,
    /// How often the body of the innermost loop runs, saturated.
    pub repeat: usize,
}

impl<'b> Loops<'b> {
    pub fn none(ops: &'b [OpRecord]) -> Self {
        Self { ops, starts: [0; LOOP_DEPTH], start: 0, end: u16::MAX, repeat: 1 }
    }

    /// The output of a loop, the number of its last operation, and how often it runs.
    pub fn read(&self, start: u16) -> (u16, u16, u32) {
        Op::loop_fields(self.ops, usize::from(start).wrapping_sub(1))
    }

    /// Opens the loop of operation `start`, which must end inside the innermost one.
    pub fn open(&mut self, start: u16) -> Option<()> {
        let (_, end, iterations) = self.read(start);
        let valid = (1..=MAX_ITERATIONS).contains(&iterations) && (start..self.end).contains(&end);
        *self.starts.iter_mut().find(|start| **start == 0).filter(|_| valid)? = start;
        self.enter();
        Some(())
    }

    /// Closes the innermost loop, which must end at operation `here`, and returns its output and how often it runs.
    pub fn close(&mut self, here: u16) -> Option<(u16, u32)> {
        let (output, end, iterations) = self.read(self.start);
        *self.starts.iter_mut().rfind(|start| **start != 0)? = 0;
        self.enter();
        (end == here).then_some((output, iterations))
    }

    /// Finds the end of the innermost loop and how often it runs.
    #[inline(never)]
    pub fn enter(&mut self) {
        (self.start, self.end, self.repeat) = (0, u16::MAX, 1);
        for &start in self.starts.iter().take_while(|start| **start != 0) {
            let (_, end, iterations) = Op::loop_fields(self.ops, usize::from(start).wrapping_sub(1));
            (self.start, self.end) = (start, end);
            self.repeat = product(iterations as usize, self.repeat);
        }
    }

    /// The last operation that reads a tensor which is written by operation `first` and read here; 0 if this is not
    /// known. A tensor that was written before a loop began is read until the outermost such loop ends, because every
    /// iteration reads what the first one reads. `None` if it is the output of an open loop, which is not yet
    /// completely written.
    pub fn read_until(&self, first: u16) -> Option<u16> {
        for &start in self.starts.iter().take_while(|start| **start != 0) {
            if start >= first {
                return (start > first).then(|| self.read(start).1);
            }
        }
        Some(0)
    }
}
