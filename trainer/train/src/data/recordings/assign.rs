//! Which windows are to fit on, to choose by and to report on.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use super::super::error::DataError;
use super::super::options::DataOptions;
use super::super::split::Part;
use super::cut::Cut;
use super::recording::Recording;

/// Shares of the parts, in the order of time; the rest is to report on.
const SHARES: [(Part, f64); 2] = [(Part::Train, 0.6), (Part::Validation, 0.15)];
/// Recordings of at most so many windows are short.
const SHORT: usize = 8;
/// So many short recordings are assigned as wholes.
const MANY: usize = 8;

/// Assigns each window to a part.
///
/// As the source marks its samples, if it does: a window is in a part if all its samples are. Where the source marks
/// train samples but no validation samples, the last of the train windows become validation windows. Without marks, time
/// decides: see [`load_windows`](super::load_windows). Windows with a labelled anomaly are only test windows if the options
/// leave them out of the training.
///
/// # Errors
/// `Empty` if no train window is left, but for a model that is trained already.
pub(super) fn assign(
    path: &Path,
    recordings: &[Recording],
    cuts: &[Cut],
    window: usize,
    options: &DataOptions,
    notes: &mut Vec<String>,
) -> Result<Vec<Part>, DataError> {
    if options.unsplit {
        return Ok(vec![Part::Test; cuts.len()]);
    }
    let mut say = |text: String| notes.push(format!("{}: {text}", path.display()));
    let whole = recordings.len() >= MANY && recordings.iter().all(|recording| recording.n <= SHORT * window);
    let validates = options.validation_fraction > 0.0;
    let marked = recordings.iter().any(|recording| !recording.parts.is_none());
    let mut parts = vec![Part::Unused; cuts.len()];
    if marked {
        let mut mixed = 0;
        for (cut, part) in cuts.iter().zip(&mut parts) {
            let marks = &recordings[cut.recording].parts;
            let first = marks.at(cut.start).unwrap_or(Part::Unused);
            let same = (cut.start..cut.start + window).all(|sample| marks.at(sample) == Some(first));
            *part = if same { first } else { Part::Unused };
            mixed += usize::from(!same);
        }
        let unused = parts.iter().filter(|part| **part == Part::Unused).count() - mixed;
        if unused > 0 {
            say(format!("{unused} windows are left out as unused"));
        }
        if mixed > 0 {
            say(format!("{mixed} windows are left out because their samples are in several parts"));
        }
        if validates && !parts.contains(&Part::Validation) {
            hold_out(recordings, cuts, window, whole, &mut parts);
            say("no samples are marked for validation: the last of the train windows are taken, by time".to_owned());
        }
    } else if whole {
        let of = whole_recordings(recordings, cuts, options.leave_out_anomalies, validates);
        cuts.iter().zip(&mut parts).for_each(|(cut, part)| *part = of[cut.recording]);
        say("the recordings are short, and each as a whole is in one part: the first are train, the next validation, and the \
             last test recordings"
            .to_owned());
    } else {
        let blocks: Vec<_> = recordings.iter().map(|recording| blocks(recording.n, window, validates)).collect();
        for (cut, part) in cuts.iter().zip(&mut parts) {
            let inside = |block: &Range<usize>| block.start <= cut.start && cut.start + window <= block.end;
            let found = blocks[cut.recording].iter().find(|(_, block)| inside(block));
            *part = found.map_or(Part::Unused, |(part, _)| *part);
        }
        let between = parts.iter().filter(|part| **part == Part::Unused).count();
        say(format!(
            "each recording is split by time: its beginning is for training, then come validation and test; {between} \
             windows between these are left out"
        ));
    }
    if options.leave_out_anomalies {
        let mut left_out = 0;
        for (cut, part) in cuts.iter().zip(&mut parts) {
            if cut.anomalous && matches!(part, Part::Train | Part::Validation | Part::Calibration) {
                *part = Part::Unused;
                left_out += 1;
            }
        }
        if left_out > 0 {
            say(format!(
                "{left_out} windows that would train, validate or calibrate are left out: they have samples labelled as \
                 anomalies; --keep-anomalies keeps them"
            ));
        }
    }
    let count = |part: Part| parts.iter().filter(|other| **other == part).count();
    let calibration = match count(Part::Calibration) {
        0 => String::new(),
        n => format!(" {n} for calibration,"),
    };
    say(format!(
        "{} windows for training, {} for validation,{calibration} and {} for test, of {} recordings",
        count(Part::Train),
        count(Part::Validation),
        count(Part::Test),
        recordings.len()
    ));
    if count(Part::Train) == 0 {
        return Err(DataError::Empty {
            path: path.to_owned(),
            what: "windows for the train split",
            hint: "mark samples `train` in a column `split`, supply more or longer recordings of normal behaviour, or take a \
                   shorter window",
        });
    }
    Ok(parts)
}

/// The blocks of a recording of `n` samples; a later block begins a window after the end of the one before it.
fn blocks(n: usize, window: usize, validates: bool) -> Vec<(Part, Range<usize>)> {
    let mut found = Vec::new();
    let (mut share, mut start) = (0.0, 0);
    for (part, more) in SHARES.into_iter().filter(|(part, _)| validates || *part != Part::Validation) {
        share += more;
        let end = (n as f64 * share).round() as usize;
        found.push((part, start..end));
        start = end + window;
    }
    found.push((Part::Test, start..n));
    found
}

/// The recordings of each group, in order; all of them where there are no groups.
fn by_group(recordings: &[Recording]) -> Vec<Vec<usize>> {
    let mut places: HashMap<Option<&String>, usize> = HashMap::new();
    let mut found: Vec<Vec<usize>> = Vec::new();
    for (at, recording) in recordings.iter().enumerate() {
        let place = *places.entry(recording.group.as_ref()).or_insert(found.len());
        if place == found.len() {
            found.push(Vec::new());
        }
        found[place].push(at);
    }
    // Groups of one recording say no more than its name.
    if found.len() == recordings.len() { vec![(0..recordings.len()).collect()] } else { found }
}

/// The part of each recording: by its place in its group. Those with an anomaly are test recordings, and do not count.
fn whole_recordings(recordings: &[Recording], cuts: &[Cut], leave_out: bool, validates: bool) -> Vec<Part> {
    let mut anomalous = vec![false; recordings.len()];
    cuts.iter().for_each(|cut| anomalous[cut.recording] |= cut.anomalous && leave_out);
    let mut parts = vec![Part::Test; recordings.len()];
    for group in by_group(recordings) {
        let normal: Vec<usize> = group.into_iter().filter(|at| !anomalous[*at]).collect();
        for (part, block) in blocks(normal.len(), 0, validates) {
            normal[block].iter().for_each(|at| parts[*at] = part);
        }
    }
    parts
}

/// Makes the last of the train windows validation windows: in each recording, or of each group the last recordings.
fn hold_out(recordings: &[Recording], cuts: &[Cut], window: usize, whole: bool, parts: &mut [Part]) {
    let [(_, train), (_, validation)] = SHARES;
    let kept = |n: usize| n - (n as f64 * validation / (train + validation)).round() as usize;
    let is_train = |at: &usize| parts[*at] == Part::Train;
    let train: Vec<usize> = (0..cuts.len()).filter(is_train).collect();
    if whole {
        let used: std::collections::HashSet<usize> = train.iter().map(|at| cuts[*at].recording).collect();
        let mut held = std::collections::HashSet::new();
        for group in by_group(recordings) {
            let used: Vec<usize> = group.into_iter().filter(|at| used.contains(at)).collect();
            held.extend(used[kept(used.len())..].iter().copied());
        }
        train.iter().filter(|at| held.contains(&cuts[**at].recording)).for_each(|at| parts[*at] = Part::Validation);
        return;
    }
    for of_one in train.chunk_by(|a, b| cuts[*a].recording == cuts[*b].recording) {
        let Some(first) = of_one.get(kept(of_one.len())) else { continue };
        let border = cuts[*first].start;
        for at in of_one {
            let start = cuts[*at].start;
            // The length of a window is left out between the blocks.
            parts[*at] = match start {
                _ if start + window <= border => Part::Train,
                _ if start < border + window => Part::Unused,
                _ => Part::Validation,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_a_window_between_them() {
        let found = blocks(1000, 10, true);
        assert_eq!(found, [(Part::Train, 0..600), (Part::Validation, 610..750), (Part::Test, 760..1000)]);
        assert_eq!(blocks(1000, 10, false), [(Part::Train, 0..600), (Part::Test, 610..1000)]);
        assert_eq!(blocks(10, 0, true), [(Part::Train, 0..6), (Part::Validation, 6..8), (Part::Test, 8..10)]);
    }
}
