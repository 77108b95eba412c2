//! Loads a model from a flash address and scores arbitrary contents of RAM. With the feature `vae` it runs every program
//! of a VAE, with `all` every kind of program, and with `detect` all that turns scores into alarms. Nothing else is linked,
//! so the size of the image is that of the runtime. With the feature `monitor` it is the application `monitor`, without
//! drivers.
#![no_std]
#![no_main]

#[cfg(feature = "monitor")]
mod monitor;

use core::hint::black_box;
use core::panic::PanicInfo;

// The critical section that stands in for atomic swaps on cores without them.
use cortex_m as _;
#[cfg(feature = "vae")]
use elbo::Session;
#[cfg(feature = "vae")]
use elbo::rng::Xoshiro128PlusPlus;
#[cfg(not(feature = "monitor"))]
use elbo::{Arena, Limits, Model, SessionError};
#[cfg(not(feature = "monitor"))]
use elbo_model::{ARENA, VALUES, blob};
#[cfg(not(feature = "monitor"))]
use static_cell::ConstStaticCell;

/// All memory of the firmware.
#[cfg(not(feature = "monitor"))]
struct Memory {
    arena: Arena<ARENA>,
    input: [i16; VALUES],
    #[cfg(feature = "vae")]
    output: [i16; VALUES],
}

#[cfg(not(feature = "monitor"))]
static MEMORY: ConstStaticCell<Memory> = ConstStaticCell::new(Memory {
    arena: Arena::new(),
    input: [0; VALUES],
    #[cfg(feature = "vae")]
    output: [0; VALUES],
});

#[cortex_m_rt::entry]
fn main() -> ! {
    #[cfg(feature = "monitor")]
    monitor::run();
    #[cfg(not(feature = "monitor"))]
    score();
    #[cfg(feature = "panics")]
    black_box(black_box(&[1, 2, 3])[black_box(2)]);
    #[cfg(feature = "floats")]
    black_box(black_box(1.5f32) * black_box(2.5));
    end()
}

#[cfg(not(feature = "monitor"))]
fn score() {
    let Some(memory) = MEMORY.try_take() else { end() };
    if let Ok(model) = Model::load(blob(), Limits { max_work: 1 << 28 }) {
        black_box(run(&model, black_box(memory)).is_ok());
    }
}

#[cfg(not(feature = "monitor"))]
fn run(model: &Model<'_>, memory: &mut Memory) -> Result<(), SessionError> {
    let mut session = model.session(memory.arena.as_mut_slice())?;
    black_box(session.score(&memory.input)?);
    #[cfg(feature = "detect")]
    detect::run(model, &mut session, &memory.input);
    #[cfg(feature = "vae")]
    run_vae(&mut session, &mut memory.input, &mut memory.output)?;
    Ok(())
}

#[cfg(feature = "vae")]
fn run_vae(session: &mut Session<'_, '_>, input: &mut [i16], output: &mut [i16]) -> Result<(), SessionError> {
    let mut rng = Xoshiro128PlusPlus::new(1);
    session.sample(&mut rng, output)?;
    session.decode(input, output)?;
    session.reconstruct(input, output)?;
    let (mu, logvar) = output.split_at_mut_checked(VALUES / 2).unwrap_or_default();
    session.encode(input, mu, logvar)?;
    black_box(session.score_monte_carlo(input, &mut rng)?);
    black_box(session.score_importance(input, &mut rng)?);
    #[cfg(feature = "all")]
    {
        session.sample_class(black_box(1), &mut rng, output)?;
        for kind in elbo::ProgramKind::ALL {
            let (first, second) = output.split_at_mut_checked(black_box(VALUES / 2)).unwrap_or_default();
            black_box(session.run(kind, &[input, input], &mut [first, second], &mut rng)?);
        }
    }
    Ok(())
}

#[cfg(feature = "detect")]
mod detect {
    use core::hint::black_box;
    use elbo::detector::{Detector, DetectorConfig, Drift, DriftConfig, Rule};
    use elbo::{Commissioned, Commissioning, Model, Nats, ProgramKind, Rate, Session};

    /// Commissions the device and judges a window by every rule.
    pub fn run(model: &Model<'_>, session: &mut Session<'_, '_>, input: &[i16]) {
        let Ok(score) = session.score(input) else { return };
        let (mut memory, mut record) = ([Nats::default(); 99], [0; 512]);
        let mut commissioning = Commissioning::new(&mut memory);
        commissioning.observe(score);
        black_box(commissioning.record(model, ProgramKind::Score, &mut record).is_ok());
        let commissioned = Commissioned::read(black_box(&record), model, ProgramKind::Score);
        let of_blob = || model.meta().ok().and_then(|meta| meta.calibrations.get(ProgramKind::Score));
        let calibration = commissioned.ok().map(|commissioned| commissioned.calibration()).or_else(of_blob);
        let calibration = calibration.unwrap_or_default();
        black_box(calibration.threshold(black_box(Rate::ONE_IN_100)).is_ok());
        let [low, high] = black_box([Nats::from_bits(1 << 17), Nats::from_bits(1 << 18)]);
        let rate = black_box(Rate::ONE_IN_10);
        for rule in [
            Rule::Threshold { alarm: rate, clear: rate },
            Rule::Count { rate, window: 3, alarm: 2, clear: 1 },
            Rule::Ewma { shift: 3, alarm: high, clear: low },
            Rule::Cusum { reference: low, alarm: high, clear: low },
        ] {
            if let Ok(mut detector) =
                Detector::new(calibration, DetectorConfig { rule: black_box(rule), latching: false })
            {
                black_box(detector.observe(score));
                detector.reset();
            }
        }
        if let Ok(mut drift) = Drift::new(&calibration, black_box(DriftConfig { block: 100, limit: 1 << 20 })) {
            black_box(drift.observe(calibration.p_value(score)));
        }
    }
}

fn end() -> ! {
    loop {
        black_box(());
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    black_box(info);
    end()
}
