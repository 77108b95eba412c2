//! Sensors that do not work.

use core::ops::RangeInclusive;

use elbo_link::SensorFault;

/// The first channel of a window that shows a fault of the sensor. `window` holds the channels one after another, `length`
/// samples each, and the sensor gives values in `range`.
///
/// A channel is stuck if all its samples are equal: the noise of a working sensor moves the last digit. It is saturated if
/// an eighth of its samples lie at an end of the range, because a clipped spectrum is not the machine's.
pub fn examine(window: &[i16], length: usize, range: &RangeInclusive<i16>) -> Option<(usize, SensorFault)> {
    window.chunks_exact(length.max(1)).enumerate().find_map(|(number, channel)| {
        let (first, rest) = channel.split_first()?;
        let clipped = channel.iter().filter(|value| *value <= range.start() || *value >= range.end()).count();
        let fault = if clipped.saturating_mul(8) >= channel.len() {
            SensorFault::Saturated
        } else if !rest.is_empty() && rest.iter().all(|value| value == first) {
            SensorFault::Stuck
        } else {
            return None;
        };
        Some((number, fault))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: RangeInclusive<i16> = -2048..=2047;

    #[test]
    fn a_working_sensor_has_no_fault() {
        let noise: Vec<i16> = (0..64).map(|at| 1000 + at % 2).collect();
        assert_eq!(examine(&noise, 32, &RANGE), None);
        // Three of 32 samples are clipped, as by a blow.
        let mut blow = noise.clone();
        blow[3..6].fill(2047);
        assert_eq!(examine(&blow, 32, &RANGE), None);
        assert_eq!(examine(&[5], 1, &RANGE), None);
    }

    #[test]
    fn the_channel_with_a_fault_is_named() {
        let mut window: Vec<i16> = (0..96).map(|at| at % 3).collect();
        window[32..64].fill(7);
        assert_eq!(examine(&window, 32, &RANGE), Some((1, SensorFault::Stuck)));
        for end in [-2048, 2047, i16::MAX, i16::MIN] {
            window[32..64].fill(end);
            assert_eq!(examine(&window, 32, &RANGE), Some((1, SensorFault::Saturated)));
        }
        window[32..64].iter_mut().enumerate().for_each(|(at, value)| *value = if at < 4 { 2047 } else { at as i16 });
        assert_eq!(examine(&window, 32, &RANGE), Some((1, SensorFault::Saturated)));
    }
}
