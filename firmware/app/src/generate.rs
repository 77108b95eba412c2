//! The free-running generator: a sample of the model every half second, as text.

use elbo::rng::Xoshiro128PlusPlus;
use elbo::{Limits, Model, ProgramKind};
use embedded_io::Write;
use rand_core::SeedableRng;

use crate::board::{Board, Memory};
use crate::show::{Screen, explain};

/// Pause between samples.
const PAUSE_MS: u32 = 500;

/// Draws samples until the serial port fails or `most` are drawn; a reason why the model draws none is written instead.
///
/// # Errors
/// The serial port fails.
pub fn generate<B: Board>(
    board: &mut B,
    blob: &[u8],
    memory: Memory<'_>,
    seed: u64,
    most: u32,
) -> Result<(), <B::Serial as embedded_io::ErrorType>::Error> {
    let model = match Model::load(blob, Limits::default()) {
        Ok(model) => model,
        Err(error) => return explain(board.serial(), error),
    };
    let Some(info) = model.program(ProgramKind::Sample).and_then(|program| program.outputs[0]) else {
        return explain(board.serial(), "the model has no program `sample`");
    };
    let Some(image) = memory.output.get_mut(..info.len) else {
        return explain(board.serial(), "a sample does not fit the board's memory");
    };
    let mut session = match model.session(memory.arena) {
        Ok(session) => session,
        Err(error) => return explain(board.serial(), error),
    };
    let mut rng = Xoshiro128PlusPlus::seed_from_u64(seed);
    for number in 0..most {
        if let Err(error) = session.sample(&mut rng, image) {
            return explain(board.serial(), error);
        }
        Screen::of(&model).draw(board.serial(), image)?;
        board.serial().write_all(b"\r\n")?;
        if number + 1 < most {
            board.delay_ms(PAUSE_MS);
        }
    }
    board.serial().flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::{self, Recipe};
    use crate::test_board::{Buffers, TestBoard};

    #[test]
    fn draws_the_samples_that_the_runtime_draws() {
        let blob = synthetic::blob(&Recipe::default());
        let mut board = TestBoard::new(&[]);
        generate(&mut board, &blob, Buffers::default().memory(), 3, 2).unwrap();
        let model = Model::load(&blob, Limits::default()).unwrap();
        let mut buffers = Buffers::default();
        let memory = buffers.memory();
        let mut session = model.session(memory.arena).unwrap();
        let mut rng = Xoshiro128PlusPlus::seed_from_u64(3);
        let mut expected = Vec::new();
        for _ in 0..2 {
            let mut image = [0; 64];
            session.sample(&mut rng, &mut image).unwrap();
            Screen::of(&model).draw(&mut expected, &image).unwrap();
            expected.extend(b"\r\n");
        }
        assert_eq!(board.sent(), expected);
        assert_eq!(expected.iter().filter(|byte| **byte == b'\n').count(), 2 * 9);
    }

    #[test]
    fn a_refused_blob_is_explained() {
        let mut blob = synthetic::blob(&Recipe::default());
        let last = blob.len() - 1;
        blob[last] ^= 1;
        let mut board = TestBoard::new(&[]);
        generate(&mut board, &blob, Buffers::default().memory(), 3, 2).unwrap();
        assert!(board.sent().starts_with(b"the checksum does not match"));
    }

    #[test]
    fn too_small_an_arena_is_explained() {
        let blob = synthetic::blob(&Recipe::default());
        let mut board = TestBoard::new(&[]);
        let mut buffers = Buffers::default();
        let memory = Memory { arena: &mut [], ..buffers.memory() };
        generate(&mut board, &blob, memory, 3, 2).unwrap();
        assert!(board.sent().starts_with(b"the model needs"));
    }
}
