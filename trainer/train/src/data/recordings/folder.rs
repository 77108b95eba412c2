//! Folders of recordings: each file is one or several.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::error::DataError;
use super::super::name_of;
use super::super::options::DataOptions;
use super::WindowOptions;
use super::companion::{self, Companion, Listing};
use super::error::RecordingError;
use super::recording::{Marks, Recording};
use super::source::{Source, of_model, without_marks};

/// Ends of the names of files that are read.
const KNOWN: [&str; 9] = ["csv", "tsv", "txt", "npy", "npz", "parquet", "arrow", "feather", "wav"];

/// Reads all recordings of a folder and of the folders in it, in the order of their names.
///
/// # Errors
/// `Empty` for a folder without recordings, `Differ` for recordings that do not agree, `NotListed` for a file that the
/// folder's table lacks; those of the files.
pub(super) fn read(path: &Path, options: &DataOptions, windows: &WindowOptions) -> Result<Source, DataError> {
    let mut files = Vec::new();
    let mut others = Vec::new();
    for entry in entries(path)? {
        if entry.is_dir() {
            for file in entries(&entry)?.into_iter().filter(|file| file.is_file()) {
                let group = entry.file_name().map(|name| name.to_string_lossy().into_owned());
                if is_known(&file) { files.push((file, group)) } else { others.push(file) }
            }
        } else if is_known(&entry) {
            files.push((entry, None));
        } else {
            others.push(entry);
        }
    }
    let companions: Vec<PathBuf> = files
        .iter()
        .filter(|(file, _)| file.to_string_lossy().trim_end_matches(".gz").to_lowercase().ends_with(".npy"))
        .filter_map(|(file, _)| companion::beside(file).map(|(companion, _)| companion))
        .collect();
    let listing = companion::of_folder(path, &of_model(options, windows), windows)?;
    let is_listing = |file: &PathBuf| listing.as_ref().is_some_and(|listing| listing.path == *file);
    files.retain(|(file, _)| !companions.contains(file) && !is_listing(file));
    // What the table says need not stand in the files.
    let (of_files, windows_of_files);
    let (options, windows) = match &listing {
        None => (options, windows),
        Some(listing) => {
            of_files = without_marks(options);
            let known = listing.companion.record.group.is_some();
            let group_column = windows.group_column.clone().filter(|_| !known);
            windows_of_files = WindowOptions { group_column, ..windows.clone() };
            (&of_files, &windows_of_files)
        }
    };
    let mut whole: Option<(Source, PathBuf)> = None;
    for (file, group) in files {
        let mut source = Source::of_file(&file, options, windows)?;
        if let Some(listing) = &listing {
            mark(&mut source, listing, listing.row(path, &file)?);
        }
        let group = group.unwrap_or_else(|| name_of(&file));
        for recording in &mut source.recordings {
            recording.group.get_or_insert_with(|| group.clone());
        }
        whole = Some(match whole {
            None => (source, file),
            Some((mut all, first)) => {
                join(&mut all, source, &first, &file)?;
                (all, first)
            }
        });
    }
    let Some((mut source, _)) = whole else {
        return Err(DataError::Empty {
            path: path.to_owned(),
            what: "recordings",
            hint: "name a folder of files that end in .csv, .npy, .npz, .wav, .parquet or .arrow, gzipped or not, or of \
                   folders of such files",
        });
    };
    if let Some(Listing { companion, .. }) = listing {
        let Companion { record, notes, mut crc, .. } = companion;
        crc.combine(&source.crc);
        source.crc = crc;
        source.notes.splice(0..0, notes);
        source.record.label = source.record.label.or(record.label);
        source.record.split = source.record.split.or(record.split);
        source.record.group = source.record.group.or(record.group);
    }
    source.name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if !others.is_empty() {
        let shown: Vec<String> = others.iter().take(5).map(|other| other.display().to_string()).collect();
        let more = if others.len() > shown.len() { ", ..." } else { "" };
        let said = format!("{}: files that are no recordings are left out: {}{more}", path.display(), shown.join(", "));
        source.notes.push(said);
    }
    Ok(source)
}

/// Marks the recordings of a file as the folder's table says, where the file does not say it itself.
fn mark(source: &mut Source, listing: &Listing, row: usize) {
    let Companion { labels, parts, groups, classes, .. } = &listing.companion;
    let label = labels.as_ref().map(|labels| source.classes.of(classes.name(labels[row])));
    for recording in &mut source.recordings {
        if let (Marks::None, Some(label)) = (&recording.labels, label) {
            recording.labels = Marks::All(label);
        }
        if let (Marks::None, Some(parts)) = (&recording.parts, parts) {
            recording.parts = Marks::All(parts[row]);
        }
        if let (None, Some(groups)) = (&recording.group, groups) {
            recording.group = Some(groups[row].clone());
        }
    }
}

/// Files and folders in the order of their names; those whose name begins with a point are hidden.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let fail = |source| DataError::Io { path: folder.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a file's name is that of a recording, and not that of a text about them.
fn is_known(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    let about = ["readme", "license", "licence", "manifest"].iter().any(|word| name.starts_with(word));
    !about && name.rsplit_once('.').is_some_and(|(_, end)| KNOWN.contains(&end))
}

/// Adds the recordings of another file, its channels in the order of the first.
fn join(all: &mut Source, mut other: Source, first: &Path, second: &Path) -> Result<(), DataError> {
    let differ = |expected: String, found: String| {
        let (first, second) = (first.display().to_string(), second.display().to_string());
        RecordingError::Differ { first, second, expected, found }
    };
    let channels = |source: &Source| match source.record.names.is_empty() {
        true => format!("{} channels without names", source.channels.len()),
        false => format!("the channels {}", source.channels.join(", ")),
    };
    let order: Option<Vec<usize>> = match all.channels.len() == other.channels.len() {
        true => all.channels.iter().map(|name| other.channels.iter().position(|known| known == name)).collect(),
        false => None,
    };
    let Some(order) = order else { return Err(differ(channels(all), channels(&other)).into()) };
    if !order.is_sorted() {
        let width = order.len();
        for Recording { values, n, .. } in &mut other.recordings {
            *values = values.gather((0..*n).flat_map(|row| order.iter().map(move |at| row * width + at)));
        }
        other.record.units = if other.record.units.is_empty() {
            Vec::new()
        } else {
            order.iter().map(|at| other.record.units[*at].clone()).collect()
        };
        other.notes.push(format!("{}: the channels are in another order and are matched by name", second.display()));
    }
    let (units, of_other) = (&all.record.units, &other.record.units);
    if !units.is_empty() && !of_other.is_empty() && units != of_other {
        return Err(differ(format!("units {}", units.join(", ")), format!("units {}", of_other.join(", "))).into());
    }
    let marked = |source: &Source| {
        let of = |is_none: fn(&Recording) -> bool| source.recordings.iter().all(|recording| !is_none(recording));
        [of(|r| r.labels.is_none()), of(|r| r.parts.is_none())]
    };
    let said = |[labels, split]: [bool; 2]| {
        format!("{} labels and {} split", if labels { "" } else { "no" }, if split { "a" } else { "no" })
    };
    let (of_all, of_other) = (marked(all), marked(&other));
    if of_all != of_other {
        return Err(differ(said(of_all).trim().to_owned(), said(of_other).trim().to_owned()).into());
    }
    let classes = all.classes.join(&other.classes);
    for recording in &mut other.recordings {
        match &mut recording.labels {
            Marks::None => {}
            Marks::All(class) => *class = classes[*class as usize],
            Marks::Each(all) => all.iter_mut().for_each(|class| *class = classes[*class as usize]),
        }
    }
    if all.record.label.is_none() {
        all.record.label = other.record.label.take();
    }
    all.crc.combine(&other.crc);
    all.recordings.append(&mut other.recordings);
    all.notes.append(&mut other.notes);
    Ok(())
}
