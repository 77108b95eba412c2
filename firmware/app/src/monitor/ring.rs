//! Collects samples into windows.

/// The latest samples, channel by channel, with room for a window and a hop.
///
/// A complete window is copied out, and judged from the copy. Samples of the next hop are taken meanwhile, for example by
/// an interrupt. If a whole hop more arrives before the window is taken, samples are lost: they are counted, and no
/// window extends over the gap.
#[derive(Debug)]
pub struct Ring<'m> {
    memory: &'m mut [i16],
    channels: usize,
    window: usize,
    hop: usize,
    /// Samples of each channel that fit.
    capacity: usize,
    /// The place of the oldest sample that is needed, and how many there are.
    start: usize,
    pending: usize,
    /// Where hops are longer than windows: samples since the start of the newest window, modulo the hop.
    phase: usize,
    /// Whether samples were lost behind those that are pending.
    broken: bool,
    lost: u32,
}

impl<'m> Ring<'m> {
    /// Halfwords of memory for these windows; `None` if a length is 0 or the number is too large.
    pub fn room(channels: usize, window: usize, hop: usize) -> Option<usize> {
        let all = window.checked_add(hop.min(window))?.checked_mul(channels)?;
        (channels > 0 && window > 0 && hop > 0).then_some(all)
    }

    /// An empty ring, or `None` if the memory is too small or a length is 0.
    pub fn new(memory: &'m mut [i16], channels: usize, window: usize, hop: usize) -> Option<Self> {
        let memory = memory.get_mut(..Self::room(channels, window, hop)?)?;
        let capacity = window + hop.min(window);
        Some(Self { memory, channels, window, hop, capacity, start: 0, pending: 0, phase: 0, broken: false, lost: 0 })
    }

    /// Takes one sample, a value for each channel. Returns false if it is lost.
    pub fn push(&mut self, sample: &[i16]) -> bool {
        if self.hop > self.window {
            let phase = self.phase;
            self.phase = if phase + 1 == self.hop { 0 } else { phase + 1 };
            if phase >= self.window {
                return true;
            }
        }
        if self.pending >= self.capacity || self.broken {
            self.broken = true;
            self.lost = self.lost.saturating_add(1);
            return false;
        }
        let place = self.wrapped(self.start + self.pending);
        for (channel, value) in self.memory.chunks_exact_mut(self.capacity.max(1)).zip(sample) {
            if let Some(slot) = channel.get_mut(place) {
                *slot = *value;
            }
        }
        self.pending += 1;
        true
    }

    /// Whether a window is complete.
    pub fn is_complete(&self) -> bool {
        self.pending >= self.window
    }

    /// Copies the oldest complete window to `out`: all samples of the first channel, then all of the second, and so on.
    /// Returns false if there is none, or if `out` does not have its length.
    pub fn take(&mut self, out: &mut [i16]) -> bool {
        if !self.is_complete() || out.len() != self.channels * self.window {
            return false;
        }
        let first = self.window.min(self.capacity - self.start);
        for (channel, out) in
            self.memory.chunks_exact(self.capacity.max(1)).zip(out.chunks_exact_mut(self.window.max(1)))
        {
            let older = channel.get(self.start..self.start + first).unwrap_or_default();
            for (out, value) in out.iter_mut().zip(older.iter().chain(channel)) {
                *out = *value;
            }
        }
        let step = self.hop.min(self.window);
        (self.start, self.pending) = (self.wrapped(self.start + step), self.pending - step);
        if self.broken && !self.is_complete() {
            self.restart();
        }
        true
    }

    /// Forgets all samples, because what follows does not continue them.
    pub fn restart(&mut self) {
        (self.start, self.pending, self.phase, self.broken) = (0, 0, 0, false);
    }

    /// Samples that were lost because no window was taken in time. The count begins anew.
    pub fn take_lost(&mut self) -> u32 {
        core::mem::take(&mut self.lost)
    }

    /// A place in a channel, which is less than twice the capacity.
    fn wrapped(&self, place: usize) -> usize {
        if place >= self.capacity { place - self.capacity } else { place }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Sample `at` of a channel.
    fn value(channel: usize, at: usize) -> i16 {
        (1000 * channel + at) as i16
    }

    fn expected(channels: usize, window: usize, begin: usize) -> Vec<i16> {
        (0..channels).flat_map(|channel| (begin..begin + window).map(move |at| value(channel, at))).collect()
    }

    fn push(ring: &mut Ring<'_>, channels: usize, at: usize) -> bool {
        ring.push(&(0..channels).map(|channel| value(channel, at)).collect::<Vec<_>>())
    }

    proptest! {
        /// Windows follow one another at the distance of a hop, however late within a hop each is taken.
        #[test]
        fn no_sample_is_lost(
            channels in 1usize..4, window in 1usize..20, hop in 1usize..50,
            late in proptest::collection::vec(0usize..50, 1..20),
        ) {
            let mut memory = vec![0; Ring::room(channels, window, hop).unwrap()];
            let mut ring = Ring::new(&mut memory, channels, window, hop).unwrap();
            let mut out = vec![0; channels * window];
            let mut next = 0;
            for (number, late) in late.into_iter().enumerate() {
                let end = number * hop + window;
                // A ring without pauses holds one hop beyond a window.
                let stop = end + late % hop.min(window);
                while next < stop {
                    prop_assert!(push(&mut ring, channels, next));
                    next += 1;
                }
                prop_assert!(ring.take(&mut out));
                prop_assert_eq!(&out, &expected(channels, window, number * hop));
            }
            prop_assert_eq!(ring.take_lost(), 0);
        }
    }

    #[test]
    fn an_overrun_is_counted_and_no_window_extends_over_it() {
        let mut memory = [0; 6];
        let mut ring = Ring::new(&mut memory, 1, 4, 2).unwrap();
        let mut out = [0; 4];
        let kept = (0..9).filter(|at| push(&mut ring, 1, *at)).count();
        assert_eq!(kept, 6);
        // Both complete windows are there, and the rest begins anew.
        assert!(ring.take(&mut out));
        assert_eq!(out, [0, 1, 2, 3]);
        assert!(ring.take(&mut out));
        assert_eq!(out, [2, 3, 4, 5]);
        assert_eq!(ring.take_lost(), 3);
        assert!((9..12).all(|at| push(&mut ring, 1, at)) && !ring.is_complete());
        assert!(push(&mut ring, 1, 12) && ring.take(&mut out));
        assert_eq!(out, [9, 10, 11, 12]);
        assert_eq!(ring.take_lost(), 0);
    }

    #[test]
    fn samples_between_windows_are_passed_over() {
        let mut memory = [0; 4];
        let mut ring = Ring::new(&mut memory, 1, 2, 5).unwrap();
        let mut found = Vec::new();
        for at in 0..17 {
            assert!(push(&mut ring, 1, at));
            let mut out = [0; 2];
            if ring.take(&mut out) {
                found.push(out);
            }
        }
        assert_eq!(found, [[0, 1], [5, 6], [10, 11], [15, 16]]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(Ring::new(&mut [0; 5], 1, 4, 2).is_none());
        for [channels, window, hop] in [[0, 4, 2], [1, 0, 2], [1, 4, 0], [usize::MAX, 4, 4]] {
            assert!(Ring::new(&mut [0; 20], channels, window, hop).is_none());
        }
        let mut memory = [0; 6];
        let mut ring = Ring::new(&mut memory, 1, 4, 2).unwrap();
        (0..4).for_each(|at| assert!(push(&mut ring, 1, at)));
        assert!(!ring.take(&mut [0; 3]) && ring.take(&mut [0; 4]));
    }
}
