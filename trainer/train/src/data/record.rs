//! The record of a model's rows in its blob.

use elbo::{DataKind, LoadError, Meta};

use super::front::Cut;
use super::kind::{Colour, Kind};
use super::options::Reading;
use super::recordings::WindowReading;
use super::scaling::Standardise;

/// Every name with an end behind it; a name that holds the end itself loses it.
fn joined(names: &[String]) -> String {
    names.iter().flat_map(|name| [name.replace('\0', ""), "\0".to_owned()]).collect()
}

fn split(names: &str) -> Vec<String> {
    elbo::Reading::names(names).map(str::to_owned).collect()
}

fn floats(bytes: &[u8]) -> impl Iterator<Item = f64> + '_ {
    bytes.as_chunks::<4>().0.iter().map(|b| f64::from(f32::from_le_bytes(*b)))
}

/// A name that may be absent, as a list.
fn optional(name: &Option<String>) -> String {
    joined(name.as_slice())
}

/// A list that holds a name if there is one.
fn first(names: &str) -> Option<String> {
    elbo::Reading::names(names).next().map(str::to_owned)
}

impl Cut {
    fn encode(&self) -> Vec<u8> {
        let WindowReading { channels, names, units, normal, time, group, rate, frac, .. } = &self.recordings;
        elbo_writer::encode_windows(&elbo::Windows {
            channels: *channels as u16,
            window: self.window as u16,
            hop: self.hop as u32,
            rate: rate.unwrap_or(0.0) as f32,
            frac: *frac,
            names: &joined(names),
            units: &joined(units),
            time: &optional(time),
            group: &optional(group),
            normal: &joined(normal),
        })
    }

    fn of_blob(windows: &elbo::Windows<'_>, reading: &elbo::Reading<'_>) -> Self {
        Self {
            window: windows.window.into(),
            hop: windows.hop as usize,
            recordings: WindowReading {
                channels: windows.channels.into(),
                names: split(windows.names),
                units: split(windows.units),
                dropped: split(reading.dropped),
                label: first(reading.label),
                normal: split(windows.normal),
                split: first(reading.split),
                time: first(windows.time),
                group: first(windows.group),
                rate: (windows.rate > 0.0).then_some(f64::from(windows.rate)),
                frac: windows.frac,
            },
        }
    }
}

impl Reading {
    /// The record as a blob holds it behind its description.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let means = self.standardise.as_ref().map_or(&[][..], |s| &s.mean);
        let exact = means.iter().all(|mean| f64::from(*mean as f32) == *mean);
        let wide: Vec<u8> = if exact { Vec::new() } else { means.iter().flat_map(|m| m.to_le_bytes()).collect() };
        let mut record = elbo_writer::encode_reading(&elbo::Reading {
            kind: match self.kind {
                Kind::Image => DataKind::Image,
                Kind::Table => DataKind::Table,
            },
            white: self.white.unwrap_or(0.0) as f32,
            grey: self.colour == Colour::Grey,
            limited: self.standardise.as_ref().is_some_and(|s| s.limited),
            feature_mean_wide: &wide,
            columns: &joined(&self.columns),
            units: &joined(&self.units),
            dropped: &joined(&self.dropped),
            label: &optional(&self.label),
            split: &optional(&self.split),
            classes: &joined(&self.class_names),
        });
        record.extend(self.cut.iter().flat_map(|cut| cut.encode()));
        record
    }

    /// How the rows of a blob's model are read. A blob of an earlier version says only what its likelihood, shape and
    /// standardisation tell.
    ///
    /// # Errors
    /// [`LoadError::Metadata`] if the blob's description cannot be decoded.
    pub fn of_model(model: &elbo::Model<'_>) -> Result<Self, LoadError> {
        Ok(Self::of_blob(&model.meta()?, model.reading()?.as_ref(), model.windows()?.as_ref()))
    }

    fn of_blob(meta: &Meta<'_>, record: Option<&elbo::Reading<'_>>, windows: Option<&elbo::Windows<'_>>) -> Self {
        let std: Vec<f64> = floats(meta.feature_std).collect();
        let mut mean: Vec<f64> = floats(meta.feature_mean).collect();
        let (wide, _) = record.map_or(&[][..], |record| record.feature_mean_wide).as_chunks::<8>();
        mean.iter_mut().zip(wide).for_each(|(mean, bytes)| *mean = f64::from_le_bytes(*bytes));
        let limited = record.is_some_and(|record| record.limited);
        let standardise = (!mean.is_empty() && mean.len() == std.len()).then_some(Standardise { mean, std, limited });
        let shape = meta.shape.map(usize::from);
        let Some(record) = record else {
            let kind = if standardise.is_some() { Kind::Table } else { Kind::Image };
            return Self { kind, shape, standardise, ..Self::default() };
        };
        Self {
            kind: match record.kind {
                DataKind::Image => Kind::Image,
                DataKind::Table => Kind::Table,
            },
            shape,
            white: (record.white > 0.0).then_some(f64::from(record.white)),
            colour: if record.grey { Colour::Grey } else { Colour::Planes },
            columns: split(record.columns),
            units: split(record.units),
            dropped: split(record.dropped),
            label: first(record.label),
            split: first(record.split),
            class_names: split(record.classes),
            standardise,
            cut: windows.map(|windows| Cut::of_blob(windows, record)),
        }
    }
}
