//! Pictures of a run: grids of samples (PNG), training curves and scatter plots (SVG), and images as text.

mod scatter;

use std::io;
use std::path::Path;

use plotters::prelude::*;

pub use scatter::scatter;

use crate::files::write_atomic;

/// Grey value of the gaps between the samples of a grid.
const GAP: u8 = 64;

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

/// Writes images as an 8-bit greyscale PNG with `columns` images per row. Each pixel becomes a square with sides of
/// `scale` pixels, and the gaps between the images are `scale` pixels wide.
///
/// Each image has `shape[0] * shape[1]` values in \[0, 1\], row-major. Values outside this range are clamped, and NaN
/// becomes black. The file is replaced atomically.
///
/// # Errors
/// `InvalidInput` if there are no images, if a size is 0, if the picture is larger than `u32` allows, or if an image
/// has another length than `shape` requires. Otherwise the error of writing the file.
pub fn sample_grid(
    path: &Path,
    images: &[Vec<f32>],
    shape: [usize; 2],
    columns: usize,
    scale: usize,
) -> io::Result<()> {
    let [rows, cols] = shape;
    if images.is_empty() || rows == 0 || cols == 0 || columns == 0 || scale == 0 {
        return Err(invalid(format!(
            "sample grid: expected at least 1 image, row, column and scale, \
             found {} images of {shape:?}, {columns} columns and scale {scale}",
            images.len()
        )));
    }
    if let Some(i) = images.iter().position(|m| Some(m.len()) != rows.checked_mul(cols)) {
        return Err(invalid(format!(
            "sample grid: expected {rows} x {cols} values in image {i}, found {}",
            images[i].len()
        )));
    }
    let columns = columns.min(images.len());
    let extent = |count: usize, size: usize| {
        let cells = count.checked_mul(size.checked_add(1)?)? - 1;
        u32::try_from(cells.checked_mul(scale)?).ok()
    };
    let size = extent(columns, cols).zip(extent(images.len().div_ceil(columns), rows));
    let Some((width, height)) = size else {
        return Err(invalid("sample grid: expected sides of at most 4294967295 pixels; draw fewer images".to_owned()));
    };
    let stride = width as usize;
    let mut pixels = vec![GAP; stride * height as usize];
    for (i, image) in images.iter().enumerate() {
        let top = (i / columns) * (rows + 1) * scale;
        let left = (i % columns) * (cols + 1) * scale;
        for (r, values) in image.chunks_exact(cols).enumerate() {
            for y in 0..scale {
                let start = (top + r * scale + y) * stride + left;
                let line = &mut pixels[start..start + cols * scale];
                for (cell, v) in line.chunks_exact_mut(scale).zip(values) {
                    cell.fill((v.clamp(0.0, 1.0) * 255.0).round() as u8);
                }
            }
        }
    }
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width, height);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(io::Error::other)?;
    writer.write_image_data(&pixels).map_err(io::Error::other)?;
    writer.finish().map_err(io::Error::other)?;
    write_atomic(path, &out)
}

/// The range of `values`, with a margin of 3 % on both sides.
fn range(values: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    let margin = match high - low {
        d if d > 0.0 && d.is_finite() => d * 0.03,
        _ => high.abs().max(1.0) * 0.5,
    };
    low - margin..high + margin
}

/// Replaces each value by the median of itself and its neighbours, `window` values in total. Near the ends the window
/// shrinks symmetrically.
#[must_use]
pub fn median_filter(values: &[f64], window: usize) -> Vec<f64> {
    let reach = window / 2;
    let median = |i: usize| {
        let reach = reach.min(i).min(values.len() - 1 - i);
        let mut near = values[i - reach..=i + reach].to_vec();
        near.sort_by(f64::total_cmp);
        near[reach]
    };
    (0..values.len()).map(median).collect()
}

/// Writes named series of `(x, y)` points as the lines of an SVG of 800 x 500 pixels with a legend.
///
/// Points that are not finite are omitted. The file is replaced atomically.
///
/// # Errors
/// `InvalidInput` if no series has a finite point. Otherwise the error of drawing or writing.
pub fn training_curve(
    path: &Path,
    title: &str,
    series: &[(&str, Vec<(f64, f64)>)],
    x_label: &str,
    y_label: &str,
) -> io::Result<()> {
    let finite = |points: &[(f64, f64)]| -> Vec<(f64, f64)> {
        let keep = |p: &&(f64, f64)| p.0.is_finite() && p.1.is_finite();
        points.iter().filter(keep).copied().collect()
    };
    let lines: Vec<(&str, Vec<(f64, f64)>)> = series.iter().map(|(name, p)| (*name, finite(p))).collect();
    let all = || lines.iter().flat_map(|(_, p)| p.iter());
    if all().next().is_none() {
        return Err(invalid("training curve: expected at least one finite point".to_owned()));
    }
    let mut svg = String::new();
    {
        let fail = |e: DrawingAreaErrorKind<_>| io::Error::other(e.to_string());
        let area = SVGBackend::with_string(&mut svg, (800, 500)).into_drawing_area();
        area.fill(&WHITE).map_err(fail)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(64)
            .build_cartesian_2d(range(all().map(|p| p.0)), range(all().map(|p| p.1)))
            .map_err(fail)?;
        chart.configure_mesh().x_desc(x_label).y_desc(y_label).light_line_style(WHITE).draw().map_err(fail)?;
        for (i, (name, points)) in lines.iter().enumerate() {
            let style = Palette99::pick(i).stroke_width(2);
            chart
                .draw_series(LineSeries::new(points.iter().copied(), style))
                .map_err(fail)?
                .label(*name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        }
        chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK).draw().map_err(fail)?;
        area.present().map_err(fail)?;
    }
    write_atomic(path, svg.as_bytes())
}

/// An image as text with one line per row. Each value in \[0, 1\] becomes one of the characters `" .:-=+*#%@"`, written
/// twice so that pixels are about square in a terminal.
///
/// `image` has `shape[0] * shape[1]` values, row-major. Values outside \[0, 1\] are clamped. NaN and missing values
/// become blank.
#[must_use]
pub fn text_art(image: &[f32], shape: [usize; 2]) -> String {
    const RAMP: [char; 10] = [' ', '.', ':', '-', '=', '+', '*', '#', '%', '@'];
    let [rows, cols] = shape;
    let mut out = String::with_capacity(image.len() * 2 + rows);
    for row in 0..rows {
        for col in 0..cols {
            let v = image.get(row * cols + col).copied().unwrap_or(0.0);
            let c = RAMP[(v.clamp(0.0, 1.0) * 9.0).round() as usize];
            out.push(c);
            out.push(c);
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_grid_decodes_to_its_images() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("grid.png");
        let images = vec![vec![0.0, 1.0, 0.5, 2.0, -1.0, f32::NAN], vec![1.0; 6], vec![0.2; 6]];
        sample_grid(&path, &images, [2, 3], 2, 2).unwrap();
        sample_grid(&path, &images, [2, 3], 2, 2).unwrap();
        let file = io::BufReader::new(fs::File::open(&path).unwrap());
        let mut reader = png::Decoder::new(file).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (14, 10));
        assert_eq!(info.color_type, png::ColorType::Grayscale);
        let line = |y: usize| &pixels[14 * y..14 * (y + 1)];
        let first = [0, 0, 255, 255, 128, 128, GAP, GAP, 255, 255, 255, 255, 255, 255];
        assert_eq!((line(0), line(1)), (&first[..], &first[..]));
        assert_eq!(line(2)[..6], [255, 255, 0, 0, 0, 0]);
        assert_eq!(line(4), [GAP; 14]);
        assert_eq!(line(9)[..8], [51, 51, 51, 51, 51, 51, GAP, GAP]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "a temporary file is left");
    }

    #[test]
    fn a_grid_refuses_what_it_cannot_draw() {
        let path = Path::new("never-written.png");
        let one = [vec![0.0; 4]];
        for (images, shape, columns, scale) in [
            (&one[..0], [2, 2], 1, 1),
            (&one[..], [2, 3], 1, 1),
            (&one[..], [2, 2], 0, 1),
            (&one[..], [2, 2], 1, 0),
            (&one[..], [2, 2], 1, usize::MAX),
        ] {
            let e = sample_grid(path, images, shape, columns, scale).unwrap_err();
            assert_eq!(e.kind(), io::ErrorKind::InvalidInput);
        }
        assert!(!path.exists());
    }

    #[test]
    fn a_median_filter_drops_spikes_and_keeps_steps() {
        let values = [1.0, 1.0, 90.0, 1.0, 1.0, 5.0, 5.0, -70.0, 5.0, 5.0];
        assert_eq!(median_filter(&values, 3), [1.0, 1.0, 1.0, 1.0, 1.0, 5.0, 5.0, 5.0, 5.0, 5.0]);
        assert_eq!(median_filter(&values, 1), values);
        assert_eq!(median_filter(&[], 9), [0.0; 0]);
    }

    #[test]
    fn a_curve_names_its_series() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("curve.svg");
        let series = [
            ("train <nats>", vec![(0.0, -200.0), (1.0, -120.0), (2.0, f64::NAN)]),
            ("validation", vec![(0.0, -210.0)]),
            ("nothing yet", vec![]),
        ];
        training_curve(&path, "digits", &series, "epoch", "ELBO").unwrap();
        let svg = fs::read_to_string(&path).unwrap();
        for part in ["<svg", "train &lt;nats&gt;", "validation", "digits", "epoch", "ELBO", "polyline"] {
            assert!(svg.contains(part), "`{part}` is not in the SVG");
        }
        assert!(!svg.contains("NaN"));
        let e = training_curve(&path, "t", &series[2..], "x", "y").unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn text_art_doubles_columns() {
        let text = text_art(&[0.0, 1.0, 0.5, f32::NAN], [2, 2]);
        assert_eq!(text, "  @@\n++  \n");
        assert_eq!(text_art(&[1.0], [1, 2]), "@@  \n");
    }
}
