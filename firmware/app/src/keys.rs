//! Keys that tilt an emulated board: `w` `a` `s` `d` by five degrees, `f` for flat, or a line `x y z` in thousandths of
//! g.

use micromath::F32Ext;

use crate::lis3dh::Axes;
use heapless::String;

const STEP: f32 = 5.0 * core::f32::consts::PI / 180.0;
/// The largest angle. Beyond it the board would lie on its side.
const STEEPEST: f32 = 80.0 * core::f32::consts::PI / 180.0;

/// The position of the board after the keys so far.
#[derive(Debug, Default)]
pub struct Keys {
    roll: f32,
    pitch: f32,
    line: String<24>,
}

impl Keys {
    /// Handles one key. Returns the new measurement of the accelerometer if it has changed.
    pub fn press(&mut self, key: u8) -> Option<Axes> {
        match key {
            b'a' => self.roll -= STEP,
            b'd' => self.roll += STEP,
            b's' => self.pitch -= STEP,
            b'w' => self.pitch += STEP,
            b'f' => (self.roll, self.pitch) = (0.0, 0.0),
            b'0'..=b'9' | b'-' | b' ' => {
                // A line that is too long is not a reading. It is dropped at its end.
                let _ = self.line.push(char::from(key));
                return None;
            }
            b'\r' | b'\n' => {
                let reading = axes(&self.line);
                self.line.clear();
                return reading;
            }
            _ => return None,
        }
        self.roll = self.roll.clamp(-STEEPEST, STEEPEST);
        self.pitch = self.pitch.clamp(-STEEPEST, STEEPEST);
        let [x, y, z] = [
            F32Ext::sin(self.roll),
            F32Ext::cos(self.roll) * F32Ext::sin(self.pitch),
            F32Ext::cos(self.roll) * F32Ext::cos(self.pitch),
        ]
        .map(|g| (g * 1000.0) as i16);
        Some(Axes { x, y, z })
    }
}

fn axes(line: &str) -> Option<Axes> {
    let mut numbers = line.split_ascii_whitespace().map(str::parse::<i16>);
    let mut next = || numbers.next()?.ok();
    let axes = Axes { x: next()?, y: next()?, z: next()? };
    numbers.next().is_none().then_some(axes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tilt::Tilt;

    fn typed(keys: &[u8]) -> Option<Axes> {
        let mut state = Keys::default();
        keys.iter().fold(None, |last, key| state.press(*key).or(last))
    }

    #[test]
    fn six_steps_are_thirty_degrees() {
        let tilt = Tilt::from_gravity(typed(b"dddddd").unwrap());
        assert!((tilt.roll.to_degrees() - 30.0).abs() < 0.6, "{}", tilt.roll.to_degrees());
        assert!(tilt.pitch.abs() < 0.01);
        let tilt = Tilt::from_gravity(typed(b"ssss").unwrap());
        assert!((tilt.pitch.to_degrees() + 20.0).abs() < 0.6, "{}", tilt.pitch.to_degrees());
    }

    #[test]
    fn a_board_cannot_be_tilted_over() {
        let tilt = Tilt::from_gravity(typed(&[b'w'; 100]).unwrap());
        assert!((tilt.pitch.to_degrees() - 80.0).abs() < 1.0, "{}", tilt.pitch.to_degrees());
    }

    #[test]
    fn a_line_is_a_reading() {
        assert_eq!(typed(b"-707 12 707\n"), Some(Axes { x: -707, y: 12, z: 707 }));
    }

    #[test]
    fn nonsense_is_ignored() {
        for keys in
            [&b"12 13\n"[..], b"1 2 3 4\n", b"1 2 99999\n", b"\n", b"x?\x80", b"1 2 3 000000000000000000000000000\n"]
        {
            assert_eq!(
                typed(keys),
                None,
                "{}",
                String::<32>::try_from(&*std::string::String::from_utf8_lossy(keys)).unwrap()
            );
        }
        assert_eq!(typed(b"12 13\n1 2 3\n"), Some(Axes { x: 1, y: 2, z: 3 }));
    }
}
