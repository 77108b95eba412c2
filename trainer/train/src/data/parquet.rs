//! Parquet and Arrow IPC files: named columns of numbers and texts.

use std::io::Cursor;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{ArrowError, DataType, TimeUnit};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::columns::{Bad, Cells, Column, Columns};
use super::error::DataError;
use super::recordings;

/// First bytes of a Parquet file.
pub(super) const PARQUET: &[u8] = b"PAR1";
/// First bytes of an Arrow IPC file, which is a Feather file of version 2, too.
pub(super) const ARROW: &[u8] = b"ARROW1";

/// What is said of a value that is missing.
const NULL: &str = "null";

/// Reads the columns of a Parquet or an Arrow file; `as_text` says by name which are kept as text.
///
/// # Errors
/// `Columnar`, and `Empty` for a file without rows.
pub(super) fn parse(path: &Path, bytes: Vec<u8>, as_text: &dyn Fn(&str) -> bool) -> Result<Columns, DataError> {
    let parquet = bytes.starts_with(PARQUET);
    let format = if parquet { "Parquet" } else { "Arrow" };
    let fail = |error: &dyn std::fmt::Display| DataError::Columnar {
        path: path.to_owned(),
        format,
        reason: format!("{error}; write the file again, packed by snappy, zstd, lz4 or gzip, or not packed"),
    };
    let read = || if parquet { batches_of_parquet(bytes) } else { batches_of_arrow(bytes) };
    let batches = guarded(read).map_err(|reason| fail(&reason))?;
    let mut columns = Columns { named: true, ..Columns::default() };
    for batch in batches {
        let schema = batch.schema();
        if columns.list.is_empty() {
            columns.list = (schema.fields().iter())
                .map(|field| {
                    let cells = if as_text(field.name()) { Cells::Text(Vec::new()) } else { Cells::numbers() };
                    Column { name: field.name().clone(), unit: String::new(), cells }
                })
                .collect();
        }
        for (column, array) in columns.list.iter_mut().zip(batch.columns()) {
            append(&mut column.cells, array.as_ref(), columns.n);
        }
        columns.n += batch.num_rows();
    }
    if columns.n == 0 {
        return Err(DataError::Empty { path: path.to_owned(), what: "rows", hint: "the file holds only a header" });
    }
    Ok(columns)
}

fn batches_of_parquet(bytes: Vec<u8>) -> Result<Vec<RecordBatch>, String> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).map_err(|e| e.to_string())?;
    let reader = builder.build().map_err(|e| e.to_string())?;
    reader.collect::<Result<_, ArrowError>>().map_err(|e| e.to_string())
}

fn batches_of_arrow(bytes: Vec<u8>) -> Result<Vec<RecordBatch>, String> {
    let reader = arrow_ipc::reader::FileReader::try_new(Cursor::new(bytes), None).map_err(|e| e.to_string())?;
    reader.collect::<Result<_, ArrowError>>().map_err(|e| e.to_string())
}

/// Runs a reader of a library that panics on some damaged files, and makes an error of that.
fn guarded<T>(read: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    // The hook that would show the panic is the whole process's, so one reader at a time may replace it.
    static QUIET: Mutex<()> = Mutex::new(());
    let _one = QUIET.lock().unwrap_or_else(PoisonError::into_inner);
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let outcome = panic::catch_unwind(AssertUnwindSafe(read));
    panic::set_hook(hook);
    outcome.unwrap_or_else(|_| Err("the file is damaged".to_owned()))
}

/// Appends the values of an array whose first row is row `from` of the file.
fn append(cells: &mut Cells, array: &dyn Array, from: usize) {
    // The values of a dictionary stand apart from the rows.
    let dictionary = array.as_any_dictionary_opt();
    let keys = dictionary.map(|dictionary| dictionary.normalized_keys());
    let place = |row: usize| match (dictionary, &keys) {
        (Some(dictionary), Some(keys)) if array.is_valid(row) => Some((dictionary.values().as_ref(), keys[row])),
        (Some(_), _) => None,
        _ => Some((array, row)),
    };
    let text_at = |row: usize| place(row).map_or_else(|| NULL.to_owned(), |(array, row)| text(array, row));
    match cells {
        Cells::Text(texts) => texts.extend((0..array.len()).map(text_at)),
        Cells::Numbers { values, bad } => {
            for row in 0..array.len() {
                let value = place(row).and_then(|(array, row)| number(array, row));
                if bad.is_none() && !value.is_some_and(|v| (v as f32).is_finite()) {
                    let line = (from + row) as u64 + 1;
                    *bad = Some(Bad { line, found: text_at(row), number: value.is_some() });
                }
                values.push(value.unwrap_or(f64::NAN));
            }
        }
    }
}

/// The number in a row, if it holds one.
fn number(array: &dyn Array, row: usize) -> Option<f64> {
    if array.is_null(row) {
        return None;
    }
    Some(match array.data_type() {
        DataType::Boolean => f64::from(u8::from(array.as_boolean().value(row))),
        DataType::Int8 => f64::from(array.as_primitive::<Int8Type>().value(row)),
        DataType::Int16 => f64::from(array.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => f64::from(array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row) as f64,
        DataType::UInt8 => f64::from(array.as_primitive::<UInt8Type>().value(row)),
        DataType::UInt16 => f64::from(array.as_primitive::<UInt16Type>().value(row)),
        DataType::UInt32 => f64::from(array.as_primitive::<UInt32Type>().value(row)),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row) as f64,
        DataType::Float16 => f64::from(array.as_primitive::<Float16Type>().value(row)),
        DataType::Float32 => f64::from(array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(row),
        _ => return text_of(array, row)?.trim().parse().ok(),
    })
}

/// The text in a row of texts.
fn text_of(array: &dyn Array, row: usize) -> Option<String> {
    match array.data_type() {
        DataType::Utf8 => Some(array.as_string::<i32>().value(row).to_owned()),
        DataType::LargeUtf8 => Some(array.as_string::<i64>().value(row).to_owned()),
        DataType::Utf8View => Some(array.as_string_view().value(row).to_owned()),
        _ => None,
    }
}

/// The time in a row of times, as text.
fn time(array: &dyn Array, row: usize, unit: TimeUnit) -> Option<String> {
    let (value, unit) = match unit {
        TimeUnit::Second => (array.as_primitive::<TimestampSecondType>().value(row), 1),
        TimeUnit::Millisecond => (array.as_primitive::<TimestampMillisecondType>().value(row), 1000),
        TimeUnit::Microsecond => (array.as_primitive::<TimestampMicrosecondType>().value(row), 1_000_000),
        TimeUnit::Nanosecond => (array.as_primitive::<TimestampNanosecondType>().value(row), 1_000_000_000),
    };
    let nanoseconds = value.rem_euclid(unit) * (1_000_000_000 / unit);
    recordings::time_text(value.div_euclid(unit), nanoseconds as u32)
}

/// What a row holds, as text.
fn text(array: &dyn Array, row: usize) -> String {
    if array.is_null(row) {
        return NULL.to_owned();
    }
    if let Some(text) = text_of(array, row) {
        return text;
    }
    match array.data_type() {
        DataType::Boolean => array.as_boolean().value(row).to_string(),
        DataType::Timestamp(unit, _) => time(array, row, *unit).unwrap_or_else(|| "a time beyond year 9999".to_owned()),
        kind if kind.is_numeric() && !matches!(kind, DataType::Decimal128(..) | DataType::Decimal256(..)) => {
            number(array, row).map_or_else(|| NULL.to_owned(), |value| value.to_string())
        }
        kind => format!("a value of type {kind}"),
    }
}
