//! Data sets of windows: recordings are cut into windows, and a front end turns each window into a row of features.
//!
//! The features are those that a board computes: the integer program of the front end runs on every window. They are
//! standardised by the train rows, and then computed once more with that standardisation as part of the program.

mod recipe;

use std::path::Path;

use elbo_compiler::front::Front;
use elbo_compiler::stimulus::InputRange;
use serde::{Deserialize, Serialize};

pub use recipe::{BandScale, Features, FrontRecipe, Shape, StatisticName, TaperName};

use super::dataset::Dataset;
use super::error::DataError;
use super::kind::Kind;
use super::options::{CalibrationRows, DataOptions, Reading};
use super::recordings::{WindowOptions, WindowPlace, WindowReading, Windows, load_windows};
use super::scaling::Standardise;
use super::split::{Part, Split};
use super::values::Values;

/// Recordings of a few windows that stay together, because neighbours resemble each other.
const NEIGHBOURS: usize = 16;
/// The range of standardised features on a board.
const RANGE: InputRange = InputRange::Real(15.99);

/// How windows were cut, so that other recordings are cut alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cut {
    /// Samples of a window, in each channel.
    pub window: usize,
    /// Samples from the start of a window to that of the next.
    pub hop: usize,
    /// How the recordings were read.
    #[serde(flatten)]
    pub recordings: WindowReading,
}

/// Loads windows as rows. With a recipe the rows are features of windows. Without one they are the windows themselves, for
/// a compiled model, whose programs contain the front end.
///
/// # Errors
/// Those of [`load`](super::load).
pub(super) fn load(spec: &str, data_dir: Option<&Path>, options: &DataOptions) -> Result<Dataset, DataError> {
    let known = options.reading.as_ref().and_then(|reading| reading.cut.as_ref());
    let recipe = options.front.as_ref();
    let (window, hop) = match (known, recipe) {
        (Some(cut), _) => (cut.window, cut.hop),
        (None, Some(recipe)) => (recipe.window, recipe.hop()),
        (None, None) => (0, 0),
    };
    let FrontRecipe { rate, time_column, group_column, normal, gaps, .. } = recipe.cloned().unwrap_or_default();
    let reading = known.map(|cut| cut.recordings.clone());
    let group_column = options.group_column.clone().or(group_column);
    let cut = WindowOptions { window, hop, rate, time_column, group_column, normal, gaps, reading };
    // What is said of columns beside the options is for tables of rows.
    let options = &DataOptions { group_column: None, ..options.clone() };
    let windows = load_windows(spec, data_dir, options, &cut)?;
    match recipe {
        Some(recipe) => of_features(Path::new(spec), windows, hop, recipe, options),
        None => Ok(of_samples(windows, hop, options)),
    }
}

/// The windows that train, validate, calibrate and test. Where the source marks none that calibrate, they are taken from
/// the end of those of each recording that train, and the windows that overlap them are left out.
fn parts(windows: &Windows, hop: usize, options: &DataOptions) -> [Vec<usize>; 4] {
    let all = [Part::Train, Part::Validation, Part::Calibration, Part::Test];
    let mut parts: [Vec<usize>; 4] = all.map(|part| windows.of(part).collect());
    let [train, _, calibration, _] = &mut parts;
    let share = match options.calibration {
        CalibrationRows::ShareOfLarge { small, .. } if train.len() < small => 0.0,
        CalibrationRows::ShareOfLarge { share, .. } | CalibrationRows::Share(share) => f64::from(share),
    };
    if share == 0.0 || !calibration.is_empty() {
        return parts;
    }
    let all: Vec<usize> = std::mem::take(train);
    if windows.recordings.len() * 10 > windows.len() {
        // Recordings of a few windows have no end of their own: runs of neighbours are taken evenly from all of them.
        for (at, run) in all.chunks(NEIGHBOURS).enumerate() {
            let taken = ((at + 1) as f64 * share) as usize > (at as f64 * share) as usize;
            if taken { calibration.extend(run) } else { train.extend(run) }
        }
        return parts;
    }
    let recording = |at: &usize| windows.starts[*at].recording;
    let overlap = windows.window.div_ceil(hop.max(1)) - 1;
    for of_recording in all.chunk_by(|a, b| recording(a) == recording(b)) {
        let taken = (of_recording.len() as f64 * share) as usize;
        let (kept, taken) = of_recording.split_at(of_recording.len() - taken);
        train.extend(&kept[..kept.len() - if taken.is_empty() { 0 } else { overlap.min(kept.len()) }]);
        calibration.extend(taken);
    }
    parts
}

/// The rows of these windows.
fn gather(windows: &Windows, chosen: &[usize], row: impl Fn(usize) -> Vec<f32>) -> Split {
    Split {
        x: chosen.iter().flat_map(|at| row(*at)).collect(),
        n: chosen.len(),
        labels: windows.labels.as_ref().map(|labels| chosen.iter().map(|at| labels[*at]).collect()),
        rows: chosen.to_vec(),
        windows: chosen.iter().flat_map(|at| windows.samples_of(*at)).copied().collect(),
    }
}

/// The group of each window: as the source says, else the recording, if there are several with several windows.
fn groups(windows: &Windows) -> Option<Vec<String>> {
    let recordings = &windows.recordings;
    let named = recordings.iter().any(|recording| recording.group.is_some());
    let name = |place: &WindowPlace| {
        let recording = &recordings[place.recording];
        recording.group.clone().filter(|_| named).unwrap_or_else(|| recording.name.clone())
    };
    let several = recordings.len() > 1 && recordings.len() * 2 <= windows.len();
    (named || several).then(|| windows.starts.iter().map(name).collect())
}

/// Whether each window follows the one before it: in a recording by its first sample, and from recording to recording of
/// the same group where each is one window, as in an array of windows.
fn follows(windows: &Windows, hop: usize) -> Vec<bool> {
    let recordings = &windows.recordings;
    let single = recordings.iter().all(|recording| recording.samples < windows.window + hop);
    let follows = |pair: &[WindowPlace]| {
        let [before, after] = [pair[0], pair[1]];
        let group = |place: WindowPlace| recordings[place.recording].group.as_ref();
        match before.recording == after.recording {
            true => before.start + hop == after.start,
            false => single && before.recording + 1 == after.recording && group(before) == group(after),
        }
    };
    std::iter::once(false).chain(windows.starts.windows(2).map(follows)).collect()
}

fn dataset(
    windows: Windows,
    hop: usize,
    shape: [usize; 2],
    splits: [Split; 4],
    reading: Reading,
    front: Option<Front>,
) -> Dataset {
    let [train, validation, calibration, test] = splits;
    // A window is named by its recording, if there are several, and by the time or the number of its first sample.
    let place = |at: usize| {
        let place = windows.starts[at];
        let start = place.time.map_or_else(|| place.start.to_string(), |time| time.to_string());
        match windows.recordings.as_slice() {
            [_] => start,
            several => format!("{} {start}", several[place.recording].name),
        }
    };
    let ids = (0..windows.len()).map(place).collect();
    Dataset {
        groups: groups(&windows),
        follows: Some(follows(&windows, hop)),
        name: windows.name,
        kind: Kind::Table,
        shape,
        dim: shape[0] * shape[1],
        train,
        validation,
        calibration,
        test,
        reading,
        ids: Some(ids),
        notes: windows.notes,
        crc32: windows.crc32,
        front,
    }
}

/// The windows as rows of samples.
fn of_samples(windows: Windows, hop: usize, options: &DataOptions) -> Dataset {
    let samples = |at: usize| windows.samples_of(at).iter().map(|sample| f32::from(*sample)).collect();
    let splits = parts(&windows, hop, options).map(|chosen| gather(&windows, &chosen, samples));
    let shape = [windows.channels.len(), windows.window];
    let reading = options.reading.clone().unwrap_or_default();
    dataset(windows, hop, shape, splits, reading, None)
}

/// Rows of features.
fn of_features(
    path: &Path,
    windows: Windows,
    hop: usize,
    recipe: &FrontRecipe,
    options: &DataOptions,
) -> Result<Dataset, DataError> {
    let shape = Shape { channels: windows.channels.len(), window: windows.window, rate: windows.rate };
    let parts_of_front = recipe.parts(&shape)?;
    let mut front = Front { channels: shape.channels, window: shape.window, parts: parts_of_front, standardise: None };
    let dim = front.len();
    let chosen = parts(&windows, hop, options);
    let columns = recipe::names(&front, &windows.channels, windows.rate);
    let known = options.reading.as_ref().and_then(|reading| reading.standardise.clone());
    let standardise = match known {
        Some(known) => known,
        None => {
            let values = Values::Single(front.rows(&windows.samples, RANGE)?);
            Standardise::fit(&values, dim, &chosen[0], options.scaling).map_err(|e| DataError::Unscalable {
                path: path.to_owned(),
                column: columns[e.column].clone(),
                deviation: e.deviation,
            })?
        }
    };
    let single = |values: &[f64]| values.iter().map(|value| *value as f32).collect::<Vec<f32>>();
    front.standardise = Some([single(&standardise.mean), single(&standardise.std)]);
    let rows = front.rows(&windows.samples, RANGE)?;
    let splits = chosen.map(|chosen| gather(&windows, &chosen, |at| rows[at * dim..(at + 1) * dim].to_vec()));
    let reading = match &options.reading {
        Some(reading) => reading.clone(),
        None => Reading {
            kind: Kind::Table,
            shape: [1, dim],
            columns,
            dropped: windows.reading.dropped.clone(),
            label: windows.reading.label.clone(),
            split: windows.reading.split.clone(),
            standardise: Some(standardise),
            cut: Some(Cut { window: windows.window, hop, recordings: windows.reading.clone() }),
            ..Reading::default()
        },
    };
    Ok(dataset(windows, hop, [1, dim], splits, reading, Some(front)))
}
