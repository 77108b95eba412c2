//! The generator draws a sample of the model every half second and prints it as text. If the model only samples given
//! classes, the classes take turns.

use core::num::NonZeroUsize;

use elbo::rng::Xoshiro128PlusPlus;
use elbo::{Model, ProgramKind};
use embedded_io::Write;
use rand_core::SeedableRng;

use crate::LIMITS;
use crate::board::{Board, Memory};
use crate::show::{Screen, explain};

/// Pause between samples.
const PAUSE_MS: u32 = 500;

/// Draws samples until the serial port fails or `most` are drawn. If the model cannot sample, it writes the reason
/// instead.
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
    let model = match Model::load(blob, LIMITS) {
        Ok(model) => model,
        Err(error) => return explain(board.serial(), error),
    };
    let Some(source) = Source::of(&model) else {
        return explain(board.serial(), "the model has no program `sample` and none `sample_class`");
    };
    let Some(image) = memory.output.get_mut(..source.len) else {
        return explain(board.serial(), "a sample does not fit the board's memory");
    };
    let mut session = match model.session(memory.arena) {
        Ok(session) => session,
        Err(error) => return explain(board.serial(), error),
    };
    let mut rng = Xoshiro128PlusPlus::seed_from_u64(seed);
    for number in 0..most {
        let drawn = match source.classes {
            None => session.sample(&mut rng, image),
            Some(classes) => session.sample_class(number as usize % classes, &mut rng, image),
        };
        if let Err(error) = drawn {
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

/// The source of the samples.
struct Source {
    /// Number of elements of a sample.
    len: usize,
    /// The number of classes that take turns, or `None` if the model samples without a class.
    classes: Option<NonZeroUsize>,
}

impl Source {
    fn of(model: &Model<'_>) -> Option<Self> {
        if let Some(program) = model.program(ProgramKind::Sample) {
            return Some(Self { len: program.outputs[0]?.len, classes: None });
        }
        let program = model.program(ProgramKind::SampleClass)?;
        Some(Self { len: program.outputs[0]?.len, classes: NonZeroUsize::new(program.inputs[0]?.len) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::{self, Recipe};
    use crate::test_board::{Buffers, TestBoard};
    use elbo::Session;

    /// The text that the generator sends, and the text of the images that `draw` gives.
    fn sent_and_drawn(
        programs: &'static [ProgramKind],
        images: usize,
        mut draw: impl FnMut(&mut Session<'_, '_>, usize, &mut Xoshiro128PlusPlus, &mut [i16]),
    ) -> (Vec<u8>, Vec<u8>) {
        let blob = synthetic::blob(&Recipe { programs, classes: 3, ..Recipe::default() });
        let mut board = TestBoard::new(&[]);
        generate(&mut board, &blob, Buffers::default().memory(), 3, images as u32).unwrap();
        let model = Model::load(&blob, LIMITS).unwrap();
        let mut buffers = Buffers::default();
        let mut session = model.session(buffers.memory().arena).unwrap();
        let mut rng = Xoshiro128PlusPlus::seed_from_u64(3);
        let mut expected = Vec::new();
        for number in 0..images {
            let mut image = [0; 64];
            draw(&mut session, number, &mut rng, &mut image);
            Screen::of(&model).draw(&mut expected, &image).unwrap();
            expected.extend(b"\r\n");
        }
        (board.sent().to_vec(), expected)
    }

    #[test]
    fn draws_the_samples_that_the_runtime_draws() {
        let (sent, expected) = sent_and_drawn(&ProgramKind::ALL, 2, |session, _, rng, image| {
            session.sample(rng, image).unwrap();
        });
        assert_eq!(sent, expected);
        assert_eq!(expected.iter().filter(|byte| **byte == b'\n').count(), 2 * 9);
    }

    #[test]
    fn classes_take_turns_in_a_model_that_draws_by_class_only() {
        let (sent, expected) = sent_and_drawn(&[ProgramKind::SampleClass], 5, |session, number, rng, image| {
            session.sample_class([0, 1, 2, 0, 1][number], rng, image).unwrap();
        });
        assert_eq!(sent, expected);
        let (other, _) = sent_and_drawn(&ProgramKind::ALL, 5, |_, _, _, _| ());
        assert_ne!(sent, other);
    }

    #[test]
    fn a_model_that_cannot_draw_is_explained() {
        let (sent, _) = sent_and_drawn(&[ProgramKind::Score], 1, |_, _, _, _| ());
        assert_eq!(sent, b"the model has no program `sample` and none `sample_class`\r\n");
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
