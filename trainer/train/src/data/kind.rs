//! Images or tables: decided by the model, by an option, or by the type of the numbers, never by their values.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::DataError;
use super::options::DataOptions;
use super::values::Values;

/// What the values mean.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Values in \[0, 1\], drawn Bernoulli(p) when binarised.
    Image,
    /// Real features, standardised.
    #[default]
    Table,
}

/// What becomes of the channels of colour images.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// One image below the other, a channel each.
    #[default]
    Planes,
    /// One grey image: 0.299 red, 0.587 green and 0.114 blue.
    Grey,
}

impl Colour {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The type of an array's numbers, as far as it tells images from tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    /// Unsigned bytes: white is 255.
    Byte,
    /// True and false: white is 1.
    Bool,
    /// Any other number.
    Number,
}

/// An array as its file holds it.
#[derive(Debug, Clone)]
pub(super) struct Array {
    /// Dimensions, outermost first; at least one.
    pub dims: Vec<usize>,
    /// Elements, row-major.
    pub values: Values,
    /// Their type.
    pub element: Element,
}

/// Rows that are known to be images or a table.
#[derive(Debug)]
pub(super) struct Laid {
    pub kind: Kind,
    /// Rows and columns of one example.
    pub shape: [usize; 2],
    /// Images lie in \[0, 1\].
    pub values: Values,
    /// The value of white, where it is not that of bytes.
    pub white: Option<f64>,
    /// What was taken, where nothing said so.
    pub notes: Vec<String>,
}

/// Rows, columns and channels of an image from text such as `28x28` or `32x32x3`.
pub(super) fn parse_shape(text: &str) -> Result<[usize; 3], DataError> {
    let parts: Option<Vec<usize>> = text.split(['x', 'X']).map(|part| part.trim().parse().ok()).collect();
    match parts.as_deref() {
        Some([h, w]) if h * w > 0 => Ok([*h, *w, 1]),
        Some([h, w, c @ (1 | 3 | 4)]) if h * w > 0 => Ok([*h, *w, *c]),
        _ => Err(DataError::InvalidOption {
            option: "shape",
            expected: "rows and columns such as 28x28, with a third number of 1, 3 or 4 for the channels of colour",
            found: text.to_owned(),
        }),
    }
}

/// Where the channels of an image are among the dimensions of an array.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    /// `[n, rows, columns, channels]`.
    Last,
    /// `[n, channels, rows, columns]`.
    First,
}

/// Rows, columns and channels of one image of the array, if its dimensions can be those of images.
fn image_of(dims: &[usize], stated: Option<[usize; 3]>) -> Option<([usize; 3], Order)> {
    let channels = |c: usize| matches!(c, 1 | 3 | 4);
    let found = match *dims {
        [_, values] => {
            let side = values.isqrt();
            let square = (side * side == values).then_some([side, side, 1]);
            return stated.or(square).filter(|s| s.iter().product::<usize>() == values).map(|s| (s, Order::Last));
        }
        [_, h, w] => ([h, w, 1], Order::Last),
        [_, h, w, c] if channels(c) => ([h, w, c], Order::Last),
        [_, c, h, w] if channels(c) => ([h, w, c], Order::First),
        _ => return None,
    };
    stated.is_none_or(|stated| stated == found.0).then_some(found)
}

/// Whether bytes of these dimensions are images where nothing says so.
fn looks_like_images(array: &Array) -> bool {
    array.element != Element::Number && array.dims.len() > 2 && image_of(&array.dims, None).is_some()
}

/// Lays an array out as what it is.
///
/// # Errors
/// `Shape` for an array of rank 1 and images that have none, `WhiteUnknown`, `OutOfRange`, `InvalidOption`.
pub(super) fn lay_out(path: &Path, array: Array, options: &DataOptions) -> Result<Laid, DataError> {
    let dims = array.dims.clone();
    if dims.len() < 2 {
        return Err(DataError::Shape {
            path: path.to_owned(),
            expected: "(rows, features), (images, rows, columns) or (images, rows, columns, channels)".to_owned(),
            found: format!("({},); a list of single values becomes a table with .reshape(-1, 1)", dims[0]),
        });
    }
    let told = options.reading.as_ref().map(|reading| reading.kind).or(options.kind);
    let guessed = if looks_like_images(&array) { Kind::Image } else { Kind::Table };
    let mut notes = Vec::new();
    let by_its_rows = dims.len() == 2 && array.element == Element::Number;
    if array.values.len() == 0 {
        // The other dimensions may have a product beyond `usize`; an array without values is refused as empty.
        let (kind, shape) = (told.unwrap_or(guessed), [1, 0]);
        return Ok(Laid { kind, shape, values: array.values, white: None, notes });
    }
    let width: usize = dims[1..].iter().product();
    match told.unwrap_or(guessed) {
        Kind::Table => {
            if told.is_none() && !by_its_rows {
                notes.push(format!(
                    "{}: an array of {} is taken for a table of {width} columns; --kind image reads it as images",
                    path.display(),
                    dims.iter().map(ToString::to_string).collect::<Vec<_>>().join(" x "),
                ));
            }
            Ok(Laid { kind: Kind::Table, shape: [1, width], values: array.values, white: None, notes })
        }
        Kind::Image => {
            if told.is_none() {
                notes.push(format!(
                    "{}: bytes of {} are taken for images; --kind table reads them as a table of {width} columns",
                    path.display(),
                    dims.iter().map(ToString::to_string).collect::<Vec<_>>().join(" x "),
                ));
            }
            images(path, array, options, notes)
        }
    }
}

fn images(path: &Path, array: Array, options: &DataOptions, mut notes: Vec<String>) -> Result<Laid, DataError> {
    let stated = options.shape.as_deref().map(parse_shape).transpose()?;
    // A list of pixels has the shape of the model's images.
    let reading = options.reading.as_ref();
    let of_model = reading.map(|r| r.shape).filter(|s| array.dims.len() == 2 && s[0] * s[1] == array.dims[1]);
    let stated = stated.or(of_model.map(|[h, w]| [h, w, 1]));
    if let Some(model) = reading.filter(|_| array.dims.len() == 2 && of_model.is_none() && options.shape.is_none()) {
        return Err(DataError::ColumnCount {
            path: path.to_owned(),
            expected: model.shape[0] * model.shape[1],
            reads: String::new(),
            found: array.dims[1],
        });
    }
    let Some((shape, order)) = image_of(&array.dims, stated) else {
        return Err(DataError::Shape {
            path: path.to_owned(),
            expected: match stated {
                Some([h, w, c]) => format!("images of {h}x{w}x{c}, as --shape says"),
                None => "images: (n, rows, columns), a fourth dimension of 1, 3 or 4 channels, or rows of pixels with \
                         --shape ROWSxCOLUMNS"
                    .to_owned(),
            },
            found: format!("{:?}; --kind table reads a table", array.dims),
        });
    };
    let (white, level) = level_of_white(path, &array, options)?;
    let mut out: Vec<f32> = Vec::with_capacity(array.values.len());
    let width: usize = array.dims[1..].iter().product();
    let mut outside = (0, 0.0);
    for (at, value) in array.values.iter().enumerate() {
        let grey = if level == 1.0 { value as f32 } else { value as f32 / level as f32 };
        if !(0.0..=1.0).contains(&grey) {
            if !options.clamp {
                return Err(DataError::OutOfRange {
                    path: path.to_owned(),
                    row: (at / width) as u64 + 1,
                    column: at % width,
                    white: level,
                    found: value,
                });
            }
            outside = (outside.0 + 1, value);
        }
        out.push(grey.clamp(0.0, 1.0));
    }
    if outside.0 > 0 {
        notes.push(format!(
            "{}: {} of {} values lie outside 0 to {level} ({} for example) and are taken for black or white",
            path.display(),
            outside.0,
            out.len(),
            outside.1 as f32
        ));
    }
    let colour = reading.map_or(options.colour, |reading| Some(reading.colour));
    let [h, w, c] = shape;
    let shape = if c == 1 {
        [h, w]
    } else if colour == Some(Colour::Grey) {
        out = grey_of(&out, shape, order);
        [h, w]
    } else {
        if order == Order::Last {
            out = planes_of(&out, shape);
        }
        if colour.is_none() {
            notes.push(format!(
                "{}: colour images of {h} x {w} are taken as {c} planes, one below the other: {} x {w}; --colour grey \
                 makes them grey",
                path.display(),
                c * h
            ));
        }
        [c * h, w]
    };
    if let Some(model) = reading.map(|reading| reading.shape).filter(|model| *model != shape) {
        return Err(DataError::Shape {
            path: path.to_owned(),
            expected: format!("images of {} x {}, as the model takes", model[0], model[1]),
            found: format!("{} x {}", shape[0], shape[1]),
        });
    }
    Ok(Laid { kind: Kind::Image, shape, values: Values::Single(out), white, notes })
}

/// The value of white, as it is recorded and as a number.
fn level_of_white(path: &Path, array: &Array, options: &DataOptions) -> Result<(Option<f64>, f64), DataError> {
    let recorded = options.reading.as_ref().map(|reading| reading.white);
    if let Some(white) = options.white.or(recorded.flatten()) {
        if !(white > 0.0 && white.is_finite()) {
            let (expected, found) = ("a number above 0", white.to_string());
            return Err(DataError::InvalidOption { option: "white", expected, found });
        }
        return Ok((Some(white), white));
    }
    let unknown = |reason: String| DataError::WhiteUnknown { path: path.to_owned(), reason };
    match array.element {
        Element::Byte => Ok((None, 255.0)),
        Element::Bool => Ok((Some(1.0), 1.0)),
        // The model knows bytes, whose white needs no number; that of other numbers it cannot know.
        Element::Number if recorded.is_some() => {
            Err(unknown("the model was trained on bytes, and these numbers are none".to_owned()))
        }
        Element::Number => match array.values.iter().fold(0.0, f64::max) {
            largest if largest <= 1.0 => Ok((Some(1.0), 1.0)),
            largest if (128.0..=255.0).contains(&largest) => Ok((Some(255.0), 255.0)),
            largest => Err(unknown(format!("the largest value is {largest}, neither up to 1 nor 128 to 255"))),
        },
    }
}

/// `[n, h, w, c]` as `[n, c, h, w]`.
fn planes_of(values: &[f32], [h, w, c]: [usize; 3]) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for image in values.chunks_exact(h * w * c) {
        for channel in 0..c {
            out.extend(image.iter().skip(channel).step_by(c));
        }
    }
    out
}

/// Luma of Rec. ITU-R BT.601; a fourth channel is opacity and left out.
fn grey_of(values: &[f32], [h, w, c]: [usize; 3], order: Order) -> Vec<f32> {
    let pixels = h * w;
    let mut out = Vec::with_capacity(values.len() / c);
    for image in values.chunks_exact(pixels * c) {
        out.extend((0..pixels).map(|pixel| {
            let channel = |k: usize| match order {
                Order::Last => image[pixel * c + k],
                Order::First => image[k * pixels + pixel],
            };
            (0.299 * channel(0) + 0.587 * channel(1) + 0.114 * channel(2)).clamp(0.0, 1.0)
        }));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(dims: &[usize], element: Element, value: impl Fn(usize) -> f32) -> Array {
        let values = Values::Single((0..dims.iter().product()).map(value).collect());
        Array { dims: dims.to_vec(), values, element }
    }

    fn laid(array: Array, options: DataOptions) -> Result<Laid, DataError> {
        lay_out(Path::new("a.npy"), array, &options)
    }

    #[test]
    fn the_type_decides_and_the_values_do_not() {
        let with = |element, value: f32| {
            let d = laid(array(&[4, 5, 7], element, |i| if i == 9 { value } else { 0.5 }), DataOptions::default());
            d.unwrap()
        };
        for value in [0.5, 1.02, -0.1] {
            let d = with(Element::Number, value);
            assert_eq!((d.kind, d.shape), (Kind::Table, [1, 35]));
            assert!(d.notes[0].contains("4 x 5 x 7") && d.notes[0].contains("--kind image"), "{:?}", d.notes);
        }
        let d = with(Element::Byte, 255.0);
        assert_eq!((d.kind, d.shape, d.white), (Kind::Image, [5, 7], None));
        assert!(d.notes[0].contains("--kind table"));
    }

    #[test]
    fn what_does_not_fit_an_image_is_refused_or_clamped_with_a_word() {
        let options = DataOptions { kind: Some(Kind::Image), ..DataOptions::default() };
        let values = || array(&[2, 2, 2], Element::Number, |i| if i == 5 { 1.02 } else { 0.5 });
        let e = laid(values(), DataOptions { white: Some(1.0), ..options.clone() }).unwrap_err();
        assert!(matches!(e, DataError::OutOfRange { row: 2, column: 1, .. }), "{e}");
        assert!(e.to_string().contains("--clamp") && e.to_string().contains("--white"), "{e}");
        let d = laid(values(), DataOptions { clamp: true, white: Some(1.0), ..options.clone() }).unwrap();
        assert_eq!(d.values.at(5), 1.0);
        assert!(d.notes[0].contains("1 of 8"), "{:?}", d.notes);
        let e = laid(values(), options.clone()).unwrap_err();
        assert!(matches!(e, DataError::WhiteUnknown { .. }), "{e}");
        let d = laid(array(&[2, 2, 2], Element::Number, |i| i as f32 * 30.0), options).unwrap();
        assert_eq!((d.white, d.values.at(1)), (Some(255.0), f64::from(30.0f32 / 255.0)));
    }

    #[test]
    fn channels_become_planes_or_grey() {
        let bytes = |dims: &[usize]| array(dims, Element::Byte, |i| (i % 3) as f32 * 100.0);
        let d = laid(bytes(&[2, 2, 2, 3]), DataOptions::default()).unwrap();
        assert_eq!(d.shape, [6, 2]);
        assert_eq!((d.values.at(0), d.values.at(3), d.values.at(4)), (0.0, 0.0, f64::from(100.0f32 / 255.0)));
        assert!(d.notes[1].contains("3 planes"), "{:?}", d.notes);
        let grey = DataOptions { colour: Some(Colour::Grey), ..DataOptions::default() };
        let d = laid(bytes(&[2, 2, 2, 3]), grey.clone()).unwrap();
        let want = (0.587 * 100.0 + 0.114 * 200.0) / 255.0;
        assert_eq!((d.shape, d.values.len()), ([2, 2], 8));
        assert!(d.values.iter().all(|v| (v - want).abs() < 1e-6));
        let first = array(&[2, 3, 2, 2], Element::Byte, |i| (i / 4 % 3) as f32 * 100.0);
        assert!(laid(first, grey).unwrap().values.iter().all(|v| (v - want).abs() < 1e-6));
        let d = laid(bytes(&[2, 4, 4, 1]), DataOptions::default()).unwrap();
        assert_eq!((d.kind, d.shape), (Kind::Image, [4, 4]));
        assert_eq!(laid(bytes(&[2, 5, 5, 2]), DataOptions::default()).unwrap().kind, Kind::Table);
    }

    #[test]
    fn rows_of_pixels_are_square_or_have_a_stated_shape() {
        let options = DataOptions { kind: Some(Kind::Image), ..DataOptions::default() };
        let rows = |width| array(&[3, width], Element::Number, |_| 1.0);
        assert_eq!(laid(rows(36), options.clone()).unwrap().shape, [6, 6]);
        let e = laid(rows(35), options.clone()).unwrap_err().to_string();
        assert!(e.contains("--shape"), "{e}");
        let with = |text: &str| DataOptions { shape: Some(text.to_owned()), ..options.clone() };
        assert_eq!(laid(rows(35), with("5x7")).unwrap().shape, [5, 7]);
        assert_eq!(laid(rows(12), with("2x2x3")).unwrap().shape, [6, 2]);
        assert!(laid(rows(35), with("5x8")).is_err() && laid(rows(35), with("5")).is_err());
    }
}
