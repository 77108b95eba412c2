//! `elbo replay` streams a recording to a board, and compares what the board says with what this computer says.

mod stream;
mod text;

use anyhow::{Context, Result, ensure};
use clap::Args;
use elbo::Nats;
use elbo::detector::{DetectorConfig, Rule};
use elbo_app::monitor::{DEFAULT, Sizes, Watch, WatchMemory};
use elbo_compiler::host::{Blob, HostArena, quantize};
use elbo_link::host::{Application, Board, Client, Emulator, Firmware, Placement};
use elbo_link::{Bench, Explain, MonitorConfig, Reply, Request, Source, StackUse, write_frame};
use elbo_trainer::data::Reading;

use crate::backtest::Order;
use crate::blob::{load, read};
use crate::output::{noteln, out, outln};
use crate::scorer::{Scored, Scoring};

pub use stream::Stream;
pub use text::Shown;

/// Options of `elbo replay`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  elbo replay machine.elbo --data machine --split test --board mps2-an386
  elbo replay machine.elbo --data machine --split test --board mps2-an386 --confirm 3/4 --changes
  elbo replay fan.elbo --data recordings --false-alarms 0.1% --board microbit --json

The board runs the application `monitor` with the model. Each recording is sent over its serial port, sample by
sample, and the board answers with a verdict for each window: the score, the share of normal windows that score as
high, whether there is an alarm, and the features that contribute most. This computer runs the same monitor on the
same samples. Every byte that the board sends must be the same, or the command fails and names the window.")]
pub struct Replay {
    #[command(flatten)]
    pub scoring: Scoring,
    /// An emulated board.
    #[arg(long)]
    pub board: String,
    /// Finds the causes of every window, and not only of those in an alarm.
    #[arg(long)]
    pub explain: bool,
    /// Writes a JSON object for each verdict, one on a line, instead of text.
    #[arg(long)]
    pub json: bool,
    /// Writes only the verdicts at which an alarm begins or ends, and the windows in which the sensor does not work.
    #[arg(long)]
    pub changes: bool,
    /// An alarm needs K of the last N windows to be rare, for example 3/4. It ends when none of them is.
    #[arg(long, value_name = "K/N", value_parser = confirm)]
    pub confirm: Option<(u8, u8)>,
}

fn confirm(text: &str) -> Result<(u8, u8), String> {
    let numbers = text.split_once('/').and_then(|(k, n)| Some((k.trim().parse().ok()?, n.trim().parse().ok()?)));
    let valid = numbers.filter(|(k, n)| (1..=*n).contains(k) && *n <= 32);
    valid.ok_or_else(|| "expected two numbers such as 3/4, of at most 32 windows".to_owned())
}

/// A monitor on this computer.
pub struct HostMonitor {
    blob: Blob,
    arena: HostArena,
    sizes: Sizes,
    ring: Vec<i16>,
    window: Vec<i16>,
    rows: Vec<i16>,
    nats: Vec<Nats>,
}

impl HostMonitor {
    /// Memory for a monitor of this model.
    ///
    /// # Errors
    /// The model is not one for a monitor.
    pub fn new(blob: Blob) -> Result<Self> {
        let model = blob.load(elbo_app::LIMITS)?;
        let sizes = Sizes::of(&model).map_err(|reason| anyhow::anyhow!("{}", reason.as_str()))?;
        let arena = HostArena::new(&model);
        let Sizes { ring, window, features, .. } = sizes;
        let (ring, window, rows) = (vec![0; ring], vec![0; window], vec![0; 2 * features]);
        Ok(Self { blob, arena, sizes, ring, window, rows, nats: vec![Nats::default(); features] })
    }

    /// Halfwords of memory.
    pub fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// The monitor.
    ///
    /// # Errors
    /// The model is refused.
    pub fn start(&mut self) -> Result<Watch<'_, '_>> {
        let memory = WatchMemory {
            arena: self.arena.as_mut_slice(),
            ring: &mut self.ring,
            window: &mut self.window,
            rows: &mut self.rows,
            nats: &mut self.nats,
        };
        Watch::new(self.blob.bytes(), memory).map_err(|reason| anyhow::anyhow!("{}", reason.as_str()))
    }
}

/// What a board needed for its verdicts.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Memory used by all windows.
    pub memory: StackUse,
    /// Instructions of the score, the p-value and the rule of one window.
    pub judge: f64,
    /// The same with the causes; `None` if the model has no causes.
    pub explain: Option<f64>,
}

/// A board and this computer, which answer the same requests.
pub struct Pair<'b, 'm> {
    client: Client,
    host: Watch<'b, 'm>,
    /// Frames that were the same.
    pub same: usize,
}

impl<'b, 'm> Pair<'b, 'm> {
    /// Takes a connected board that runs the application `monitor`, and waits until it listens.
    ///
    /// # Errors
    /// The board does not answer.
    pub fn new(mut client: Client, host: Watch<'b, 'm>) -> Result<Self> {
        // What a live sensor says comes first, and is passed over.
        client.post(&Request::Reset(Source::Link))?;
        let mut done = Vec::new();
        ensure!(write_frame(&mut done, &Reply::Done).is_ok(), "a reply is longer than a frame");
        while client.next_frame()? != done {}
        let mut pair = Self { client, host, same: 0 };
        pair.host.answer(&Request::Reset(Source::Link), &mut Vec::new()).ok().context("the host's monitor failed")?;
        Ok(pair)
    }

    /// Sends requests to both, and returns the frames that both answer with.
    ///
    /// # Errors
    /// The board's bytes differ from the host's, or the board does not answer.
    pub fn ask(&mut self, requests: &[Request<'_>]) -> Result<Vec<Vec<u8>>> {
        let mut frames = Vec::new();
        for request in requests {
            self.client.post(request)?;
            let mut expected = Vec::new();
            ensure!(
                self.host.answer(request, &mut expected).is_ok(),
                "an answer of the monitor is longer than a frame"
            );
            for frame in expected.split_inclusive(|byte| *byte == 0) {
                frames.push(frame.to_vec());
            }
        }
        for expected in &frames {
            let given = self.client.next_frame()?;
            ensure!(
                given == *expected,
                "the board's answer {} differs from the host's: {given:02x?} instead of {expected:02x?}",
                self.same
            );
            self.same += 1;
        }
        Ok(frames)
    }

    /// Measures the work on the last window.
    ///
    /// # Errors
    /// The board does not answer.
    pub fn cost(&mut self) -> Result<Cost> {
        let judge = self.client.instructions(Bench::Judge { explain: false }, 5)?;
        let explain = self.client.instructions(Bench::Judge { explain: true }, 2).ok();
        Ok(Cost { memory: self.client.memory_use()?, judge, explain })
    }
}

/// Starts the application `monitor` on an emulated board.
///
/// # Errors
/// The toolchain or the emulator is missing, or the firmware cannot be built.
pub fn start(board: &'static Board, model: &std::path::Path) -> Result<Client> {
    let image = Firmware::new(board, Application::Monitor, Placement::Linked(model.to_owned())).build()?;
    Emulator::start(board, &image)?.connect()
}

/// Runs `elbo replay`.
///
/// # Errors
/// The model or the data do not fit, a byte differs between the board and the host, or the board does not answer.
pub fn replay(args: &Replay) -> Result<()> {
    let board = Board::find(&args.board)?;
    let path = &args.scoring.model;
    let blob = read(path)?;
    let scored = args.scoring.run(load(&blob, path)?, |options| options)?;
    let windows = scored.model.windows()?.context(
        "the model has no front end: it reads rows, not samples. Train one with --front, or use `elbo check`.",
    )?;
    let names = Reading::of_model(&scored.model)?.columns;
    let order = Order::of(&scored);
    let input = scored.model.program(elbo::ProgramKind::Score).and_then(|program| program.inputs[0]);
    let input = input.context("the model has no program `score`")?;
    let rows: Vec<Vec<i16>> = order.rows.iter().map(|at| quantize(&scored.rows[*at], &input)).collect();
    let streams: Vec<Stream> =
        order.sequences.iter().flat_map(|part| Stream::of(&rows[part.clone()], &windows)).collect();

    noteln!("building the monitor for {} ({})", board.name, board.core);
    let client = start(board, path)?;
    let mut host = HostMonitor::new(read(path)?)?;
    let sizes = host.sizes();
    let mut pair = Pair::new(client, host.start()?)?;
    pair.ask(&[Request::Configure(config(args, &scored)?)])?;
    let mut seen = Seen::default();
    let (mut at, mut alarm) = (0, false);
    for stream in &streams {
        for frame in pair.ask(&stream.requests())? {
            let Some(shown) = Shown::of(&frame, &names) else { continue };
            let row = order.rows[at];
            seen.count(&shown, scored.split().labels.as_deref().map(|labels| labels[row] > 0));
            if let Some(score) = shown.score() {
                ensure!(score == scored.scores[row], "window {at}: the monitor's score differs from that of the row");
            }
            let changes = shown.is_alarm() != std::mem::replace(&mut alarm, shown.is_alarm());
            if !args.changes || changes || shown.score().is_none() {
                let name = scored.id(row).unwrap_or("");
                if args.json { outln!("{}", shown.json(name)) } else { out!("{}", shown.line(name)) }?;
            }
            at += 1;
        }
    }
    ensure!(at == rows.len(), "{at} of {} windows have an answer", rows.len());
    pair.ask(&[Request::Monitor])?;
    let cost = pair.cost()?;
    let summary = format!(
        "{}\n{} frames of {} equal the host's, byte for byte\n{}",
        seen.text(),
        pair.same,
        board.name,
        cost_text(&cost, &sizes)
    );
    if args.json {
        noteln!("{summary}");
    } else {
        outln!("{summary}")?;
    }
    Ok(())
}

/// What was seen in all windows.
#[derive(Default)]
struct Seen {
    windows: usize,
    alarms: usize,
    faults: usize,
    normal: [usize; 2],
    anomalous: [usize; 2],
    labelled: bool,
}

impl Seen {
    fn count(&mut self, shown: &Shown, anomalous: Option<bool>) {
        self.windows += 1;
        self.alarms += usize::from(shown.is_alarm());
        self.faults += usize::from(shown.score().is_none());
        if let Some(anomalous) = anomalous {
            self.labelled = true;
            let counts = if anomalous { &mut self.anomalous } else { &mut self.normal };
            counts[usize::from(shown.is_alarm())] += 1;
        }
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{} windows, {} in alarm, {} without a verdict because of the sensor",
            self.windows, self.alarms, self.faults
        );
        if self.labelled {
            let share = |[quiet, alarm]: [usize; 2]| format!("{alarm} of {}", quiet + alarm);
            text += &format!("; of normal windows {}, of anomalous ones {}", share(self.normal), share(self.anomalous));
        }
        text
    }
}

/// The rule that the options ask for.
fn config(args: &Replay, scored: &Scored<'_>) -> Result<MonitorConfig> {
    let explain = if args.explain { Explain::Always } else { Explain::Alarms };
    let alarm = scored.judged.alarm_or_default().with_context(|| {
        "the blob's calibration does not support a false-alarm rate of 1 %. Ask for a larger one with --false-alarms, or train with more rows."
    })?;
    let rule = match args.confirm {
        None => Rule::Threshold { alarm: alarm.rate, clear: alarm.rate },
        Some((needed, window)) => Rule::Count { rate: alarm.rate, window, alarm: needed, clear: 1 },
    };
    Ok(MonitorConfig { detector: DetectorConfig { rule, ..DEFAULT.detector }, explain, ..DEFAULT })
}

fn cost_text(cost: &Cost, sizes: &Sizes) -> String {
    let explain = cost.explain.map_or_else(String::new, |all| format!(", {all:.0} with causes"));
    format!(
        "{:.0} instructions for a window{explain}; RAM: {} bytes static (model and windows {}), {} stack",
        cost.judge,
        cost.memory.static_bytes,
        2 * (sizes.arena + sizes.ring + sizes.window) + 12 * sizes.features,
        cost.memory.stack_bytes
    )
}
