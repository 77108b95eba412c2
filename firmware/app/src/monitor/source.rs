//! Where live samples come from.

use core::ops::RangeInclusive;

use crate::board::Board;
use crate::lis3dh::{FIFO_RANGE, Queued};

/// What a source of samples has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A sample, which has been written.
    Sample,
    /// None yet.
    Nothing,
    /// At least this many samples were lost before the next one.
    Lost(u32),
    /// The sensor does not answer.
    Failed,
}

/// A source of samples on a board `B`. It is asked often, and answers at once.
pub trait Samples<B> {
    /// Writes the next sample, a value for each channel.
    fn next(&mut self, board: &mut B, sample: &mut [i16]) -> Next;

    /// The values that the sensor can give.
    fn range(&self) -> RangeInclusive<i16> {
        i16::MIN..=i16::MAX
    }
}

/// A converter that samples at a fixed rate and keeps what it has converted, for example by DMA.
pub trait Adc {
    /// The oldest conversion that has not been read, one value for each channel.
    fn read(&mut self, sample: &mut [i16]) -> Next;

    /// The values that it can give.
    fn range(&self) -> RangeInclusive<i16>;
}

/// The samples of a converter.
#[derive(Debug)]
pub struct Converted<A>(pub A);

impl<B, A: Adc> Samples<B> for Converted<A> {
    fn next(&mut self, _: &mut B, sample: &mut [i16]) -> Next {
        self.0.read(sample)
    }

    fn range(&self) -> RangeInclusive<i16> {
        self.0.range()
    }
}

/// The accelerometer of the board: x, y and z, 200 times a second, in thousandths of g. Its queue of 32 samples bridges
/// the time in which a window is judged, 160 ms.
#[derive(Debug, Default)]
pub struct Accelerometer {
    started: bool,
}

impl<B: Board> Samples<B> for Accelerometer {
    fn next(&mut self, board: &mut B, sample: &mut [i16]) -> Next {
        let Some(device) = board.accelerometer() else { return Next::Failed };
        if !self.started {
            if device.start_queue().is_err() {
                return Next::Failed;
            }
            self.started = true;
        }
        match device.queued() {
            Ok(Queued::Sample(axes)) => {
                for (value, axis) in sample.iter_mut().zip([axes.x, axes.y, axes.z]) {
                    *value = axis;
                }
                Next::Sample
            }
            Ok(Queued::Nothing) => Next::Nothing,
            Ok(Queued::Overrun) => Next::Lost(1),
            Err(_) => {
                self.started = false;
                Next::Failed
            }
        }
    }

    fn range(&self) -> RangeInclusive<i16> {
        FIFO_RANGE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lis3dh::Axes;
    use crate::test_board::TestBoard;

    #[test]
    fn the_queue_of_the_accelerometer_is_emptied_and_its_overrun_reported() {
        let (mut board, mut source, mut sample) = (TestBoard::new(&[]), Accelerometer::default(), [0; 3]);
        assert_eq!(source.next(&mut board, &mut sample), Next::Nothing);
        let device = |board: &mut TestBoard, at| {
            board.accelerometer().unwrap().bus_mut().measure(Axes { x: at, y: -at, z: 1000 });
        };
        (1..=3).for_each(|at| device(&mut board, at));
        for at in 1..=3 {
            assert_eq!((source.next(&mut board, &mut sample), sample), (Next::Sample, [at, -at, 1000]));
        }
        assert_eq!(source.next(&mut board, &mut sample), Next::Nothing);
        // 40 samples in a queue of 32: the oldest eight are gone.
        (1..=40).for_each(|at| device(&mut board, at));
        assert_eq!(source.next(&mut board, &mut sample), Next::Lost(1));
        for at in 9..=40 {
            assert_eq!((source.next(&mut board, &mut sample), sample[0]), (Next::Sample, at));
        }
        assert_eq!(source.next(&mut board, &mut sample), Next::Nothing);
    }

    struct Ramp(i16);

    impl Adc for Ramp {
        fn read(&mut self, sample: &mut [i16]) -> Next {
            self.0 += 1;
            sample.fill(self.0);
            Next::Sample
        }

        fn range(&self) -> RangeInclusive<i16> {
            0..=4095
        }
    }

    #[test]
    fn a_converter_passes_its_samples_and_its_range() {
        let (mut source, mut sample) = (Converted(Ramp(4)), [0; 2]);
        assert_eq!((source.next(&mut (), &mut sample), sample), (Next::Sample, [5, 5]));
        assert_eq!(Samples::<()>::range(&source), 0..=4095);
    }
}
