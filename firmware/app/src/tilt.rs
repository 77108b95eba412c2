//! Maps tilt to a latent. A flat board shows one draw of the prior, and tilting blends two others in.

use elbo::normal::fill_normal;
use elbo::rng::Xoshiro128PlusPlus;
use micromath::F32Ext;
use rand_core::SeedableRng;

use crate::lis3dh::Axes;

/// The angles of a board from the horizontal, in radians.
///
/// micromath's approximations have an error of about 0.2 degrees, which is good enough for a board tilted by hand.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tilt {
    /// To the right.
    pub roll: f32,
    /// Away from the user.
    pub pitch: f32,
}

impl Tilt {
    /// The tilt of a board that measures only gravity.
    #[must_use]
    pub fn from_gravity(axes: Axes) -> Self {
        let [x, y, z] = [axes.x, axes.y, axes.z].map(f32::from);
        // The trait is named explicitly: with std, f32 has methods of the same names that give other bits.
        Self { roll: F32Ext::atan2(x, z), pitch: F32Ext::atan2(y, z) }
    }

    /// The weights of the three draws in Q15. Their squares sum to about 1, so that the blend is also a typical draw.
    fn weights(self) -> [i32; 3] {
        let (sin_roll, cos_roll) = (F32Ext::sin(self.roll), F32Ext::cos(self.roll));
        let (sin_pitch, cos_pitch) = (F32Ext::sin(self.pitch), F32Ext::cos(self.pitch));
        [sin_roll, cos_roll * sin_pitch, cos_roll * cos_pitch].map(|weight| (weight * 32768.0) as i32)
    }
}

/// Fills `latent`, at `frac` fractional bits, with a blend of three draws of the prior according to `tilt`. Another
/// `seed` gives three other draws. The result is the same on every machine.
pub fn steer_latent(tilt: Tilt, seed: u64, frac: u32, latent: &mut [i16]) {
    let weights = tilt.weights();
    let mut rng = Xoshiro128PlusPlus::seed_from_u64(seed);
    // Q15 times Q12.
    let shift = 27u32.saturating_sub(frac);
    for z in latent {
        let mut draws = [0; 3];
        fill_normal(&mut rng, &mut draws);
        let sum: i32 = draws.iter().zip(weights).map(|(&draw, weight)| (i32::from(draw) * weight) >> 2).sum();
        *z = (sum >> shift.saturating_sub(2)).clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn degrees(axes: [i16; 3]) -> (f32, f32) {
        let tilt = Tilt::from_gravity(Axes { x: axes[0], y: axes[1], z: axes[2] });
        (tilt.roll.to_degrees(), tilt.pitch.to_degrees())
    }

    #[test]
    fn angles_of_known_positions() {
        for (axes, roll, pitch) in [
            ([0, 0, 1000], 0.0, 0.0),
            ([707, 0, 707], 45.0, 0.0),
            ([-500, 0, 866], -30.0, 0.0),
            ([0, 866, 500], 0.0, 60.0),
            ([1000, 0, 0], 90.0, 0.0),
        ] {
            let (found_roll, found_pitch) = degrees(axes);
            assert!((found_roll - roll).abs() < 0.5, "{axes:?}: roll {found_roll}, expected {roll}");
            if axes[2] != 0 {
                assert!((found_pitch - pitch).abs() < 0.5, "{axes:?}: pitch {found_pitch}, expected {pitch}");
            }
        }
    }

    #[test]
    fn flat_is_the_third_draw() {
        let mut latent = [0; 8];
        steer_latent(Tilt::default(), 5, 12, &mut latent);
        let mut rng = Xoshiro128PlusPlus::seed_from_u64(5);
        for z in latent {
            let mut draws = [0; 3];
            fill_normal(&mut rng, &mut draws);
            assert!((i32::from(z) - i32::from(draws[2])).abs() <= 2, "{z} is not {}", draws[2]);
        }
    }

    #[test]
    fn any_tilt_gives_a_latent_of_the_priors_size() {
        let mut latent = [0; 4096];
        for degrees in [0, 20, 45, 70] {
            let tilt = Tilt { roll: (degrees as f32).to_radians(), pitch: (degrees as f32).to_radians() };
            steer_latent(tilt, 1, 11, &mut latent);
            let power: f64 = latent.iter().map(|&z| (f64::from(z) / 2048.0).powi(2)).sum::<f64>() / 4096.0;
            assert!((power - 1.0).abs() < 0.1, "{degrees} degrees: {power}");
        }
    }

    #[test]
    fn extremes_stay_in_range() {
        let mut latent = [0; 64];
        let tilt = Tilt::from_gravity(Axes { x: i16::MIN, y: i16::MAX, z: i16::MIN });
        steer_latent(tilt, 0, 15, &mut latent);
        steer_latent(Tilt { roll: f32::NAN, pitch: f32::INFINITY }, 0, 0, &mut latent);
    }
}
