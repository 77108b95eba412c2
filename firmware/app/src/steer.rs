//! The steered generator decodes a latent that follows the tilt of the board.

use elbo::{Model, ProgramKind};
use embedded_io::{ErrorType, Read, ReadReady, Write};

use crate::LIMITS;
use crate::board::{Board, Memory};
use crate::console::STEER_SEED;
use crate::keys::Keys;
use crate::lis3dh::Axes;
use crate::show::{Screen, explain};
use crate::tilt::{Tilt, steer_latent};

/// Pause between readings.
const PAUSE_MS: u32 = 50;
/// The smallest change of an axis, in thousandths of g, after which the image is drawn again. It is slightly above the
/// noise of the sensor.
const NOTICEABLE: u16 = 12;
/// Moves the cursor to the top left corner, so that an image overwrites the previous one.
const HOME: &[u8] = b"\x1b[H\x1b[J";

/// Repeatedly shows the decoded latent for the current tilt. On an emulated board, keys change the tilt; the
/// application prints which. It ends when the serial port ends, or with a reason if the model cannot be steered.
///
/// # Errors
/// The serial port fails.
pub fn steer<B: Board>(board: &mut B, blob: &[u8], memory: Memory<'_>) -> Result<(), <B::Serial as ErrorType>::Error> {
    let model = match Model::load(blob, LIMITS) {
        Ok(model) => model,
        Err(error) => return explain(board.serial(), error),
    };
    let Some(info) = model.program(ProgramKind::Decode) else {
        return explain(board.serial(), "the model has no program `decode`");
    };
    let (Some(z), Some(x)) = (info.inputs[0], info.outputs[0]) else {
        return explain(board.serial(), "the model has no program `decode`");
    };
    let (Some(latent), Some(image)) = (memory.input.get_mut(..z.len), memory.output.get_mut(..x.len)) else {
        return explain(board.serial(), "an image does not fit the board's memory");
    };
    let mut session = match model.session(memory.arena) {
        Ok(session) => session,
        Err(error) => return explain(board.serial(), error),
    };
    let mut keys = Keys::default();
    let mut shown: Option<Axes> = None;
    loop {
        let Some(axes) = board.accelerometer().and_then(|device| device.axes().ok()) else {
            return explain(board.serial(), "the accelerometer does not answer");
        };
        if shown.is_none_or(|shown| noticeable(shown, axes)) {
            steer_latent(Tilt::from_gravity(axes), STEER_SEED, z.frac, latent);
            if let Err(error) = session.decode(latent, image) {
                return explain(board.serial(), error);
            }
            board.serial().write_all(HOME)?;
            Screen::of(&model).draw(board.serial(), image)?;
            let Axes { x, y, z } = axes;
            explain(board.serial(), format_args!("x {x} y {y} z {z} mg   w a s d tilt, f flat, or type x y z"))?;
            shown = Some(axes);
        }
        while board.serial().read_ready()? {
            let mut key = [0];
            if board.serial().read(&mut key)? == 0 {
                return Ok(());
            }
            if let Some(axes) = keys.press(key[0]) {
                board.feed(axes);
            }
        }
        board.delay_ms(PAUSE_MS);
    }
}

fn noticeable(before: Axes, now: Axes) -> bool {
    [(before.x, now.x), (before.y, now.y), (before.z, now.z)].into_iter().any(|(a, b)| a.abs_diff(b) >= NOTICEABLE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::{self, Recipe};
    use crate::test_board::{Buffers, TestBoard};

    #[test]
    fn keys_change_the_image_through_the_accelerometer() {
        let blob = synthetic::blob(&Recipe::default());
        let mut board = TestBoard::new(b"-866 0 500\n");
        steer(&mut board, &blob, Buffers::default().memory()).unwrap();
        let text = String::from_utf8(board.sent().to_vec()).unwrap();
        let images: Vec<&str> = text.split("\x1b[H\x1b[J").skip(1).collect();
        // The flat position before the line is read, then the position that the line states.
        let [flat, tilted] = images[..] else { panic!("{} images", images.len()) };
        assert!(flat.contains("x 0 y 0 z 1000 mg"));
        assert!(tilted.contains("x -866 y 0 z 500 mg"));
        assert_eq!(image_of(&blob, Axes { x: 0, y: 0, z: 1000 }), flat.lines().take(8).collect::<Vec<_>>());
        assert_eq!(image_of(&blob, Axes { x: -866, y: 0, z: 500 }), tilted.lines().take(8).collect::<Vec<_>>());
        assert_ne!(flat.lines().take(8).collect::<Vec<_>>(), tilted.lines().take(8).collect::<Vec<_>>());
    }

    fn image_of(blob: &[u8], axes: Axes) -> Vec<String> {
        let model = Model::load(blob, LIMITS).unwrap();
        let mut buffers = Buffers::default();
        let mut session = model.session(buffers.memory().arena).unwrap();
        let mut latent = [0; 8];
        let frac = model.program(ProgramKind::Decode).unwrap().inputs[0].unwrap().frac;
        steer_latent(Tilt::from_gravity(axes), STEER_SEED, frac, &mut latent);
        let mut image = [0; 64];
        session.decode(&latent, &mut image).unwrap();
        let mut text = Vec::new();
        Screen::of(&model).draw(&mut text, &image).unwrap();
        String::from_utf8(text).unwrap().lines().map(String::from).collect()
    }

    #[test]
    fn a_model_that_cannot_decode_is_explained() {
        let blob = synthetic::blob(&Recipe { programs: &[ProgramKind::Sample], ..Recipe::default() });
        let mut board = TestBoard::new(&[]);
        steer(&mut board, &blob, Buffers::default().memory()).unwrap();
        assert_eq!(board.sent(), b"the model has no program `decode`\r\n");
    }

    #[test]
    fn noise_of_the_sensor_draws_nothing() {
        let still = Axes { x: 0, y: 0, z: 1000 };
        assert!(!noticeable(still, Axes { x: 11, y: -11, z: 989 }));
        assert!(noticeable(still, Axes { x: 0, y: 12, z: 1000 }));
    }
}
