//! Scatter plots of points in the plane, with the contours of a density.

use std::io;
use std::path::Path;

use plotters::prelude::*;

use super::{invalid, range};
use crate::files::write_atomic;

/// Number of cells along a side of the grid on which contours are computed.
const CELLS: usize = 96;
/// Contour levels: distances in nats below the largest log-density.
const CONTOURS: [f64; 6] = [0.5, 1.0, 2.0, 3.0, 4.5, 6.0];

/// Writes `points` as an SVG of 640 x 640 pixels. If `log_density` (nats) is given, the plot shows its contours from
/// 0.5 to 6 nats below its largest value in the picture. The file is replaced atomically.
///
/// # Errors
/// `InvalidInput` if no point is finite. Otherwise the error of drawing or writing.
pub fn scatter(path: &Path, points: &[[f32; 2]], log_density: Option<&dyn Fn([f32; 2]) -> f64>) -> io::Result<()> {
    let finite: Vec<[f64; 2]> =
        points.iter().map(|point| point.map(f64::from)).filter(|p| p.iter().all(|v| v.is_finite())).collect();
    if finite.is_empty() {
        return Err(invalid("scatter plot: expected points, found none that is finite".to_owned()));
    }
    let x = range(finite.iter().map(|p| p[0]));
    let y = range(finite.iter().map(|p| p[1]));
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (640, 640)).into_drawing_area();
        root.fill(&WHITE).map_err(io::Error::other)?;
        let mut chart = ChartBuilder::on(&root)
            .margin(12)
            .x_label_area_size(32)
            .y_label_area_size(40)
            .build_cartesian_2d(x.clone(), y.clone())
            .map_err(io::Error::other)?;
        chart.configure_mesh().disable_mesh().draw().map_err(io::Error::other)?;
        let dots = finite.iter().map(|p| Circle::new((p[0], p[1]), 1, BLUE.mix(0.35).filled()));
        chart.draw_series(dots).map_err(io::Error::other)?;
        if let Some(log_density) = log_density {
            for (level, segments) in contours([x, y], log_density).into_iter().enumerate() {
                let ink = RGBColor(200, 40, 20).mix(1.0 - level as f64 / 8.0);
                let lines = segments.into_iter().map(|ends| PathElement::new(ends.to_vec(), ink));
                chart.draw_series(lines).map_err(io::Error::other)?;
            }
        }
        root.present().map_err(io::Error::other)?;
    }
    write_atomic(path, svg.as_bytes())
}

/// The two ends of a piece of a contour.
type Segment = [(f64, f64); 2];

/// The contours of a function over a rectangle by marching squares. Returns one list of segments for each level.
fn contours(sides: [std::ops::Range<f64>; 2], f: &dyn Fn([f32; 2]) -> f64) -> Vec<Vec<Segment>> {
    let at = |side: usize, i: usize| {
        let range = &sides[side];
        range.start + (range.end - range.start) * i as f64 / CELLS as f64
    };
    let place = |i: usize, j: usize| (at(0, i), at(1, j));
    let values: Vec<Vec<f64>> =
        (0..=CELLS).map(|j| (0..=CELLS).map(|i| place(i, j)).map(|(x, y)| f([x as f32, y as f32])).collect()).collect();
    let most = values.iter().flatten().copied().filter(|v| v.is_finite()).fold(f64::NEG_INFINITY, f64::max);
    let level = |below: f64| {
        let mut segments = Vec::new();
        for (j, i) in (0..CELLS).flat_map(|j| (0..CELLS).map(move |i| (j, i))) {
            let corners = [(i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1)];
            let above = |(i, j): (usize, usize)| values[j][i] - (most - below);
            let crossings: Vec<(f64, f64)> = (0..4)
                .filter_map(|edge| {
                    let (from, to) = (corners[edge], corners[(edge + 1) % 4]);
                    let (a, b) = (above(from), above(to));
                    ((a > 0.0) != (b > 0.0)).then(|| {
                        let share = if (a - b).is_finite() { a / (a - b) } else { 0.5 };
                        let ((x0, y0), (x1, y1)) = (place(from.0, from.1), place(to.0, to.1));
                        (x0 + share * (x1 - x0), y0 + share * (y1 - y0))
                    })
                })
                .collect();
            segments.extend(crossings.chunks_exact(2).map(|ends| [ends[0], ends[1]]));
        }
        segments
    };
    CONTOURS.iter().map(|below| level(*below)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contours_of_a_normal_density_are_circles() {
        let f = |[x, y]: [f32; 2]| -0.5 * f64::from(x * x + y * y);
        let found = contours([-4.0..4.0, -4.0..4.0], &f);
        for (segments, below) in found.iter().zip(CONTOURS) {
            let radius = (2.0 * below).sqrt();
            assert!(segments.len() > 20);
            for (x, y) in segments.iter().flatten() {
                assert!(((x * x + y * y).sqrt() - radius).abs() < 0.02, "{x} {y} {radius}");
            }
        }
    }

    #[test]
    fn a_picture_is_written_and_no_point_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("points.svg");
        let points: Vec<[f32; 2]> = (0..50).map(|i| [i as f32 * 0.1, (i as f32).sin()]).collect();
        scatter(&path, &points, Some(&|[x, y]| -f64::from(x * x + y * y))).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("<svg") && text.matches("<circle").count() >= 50 && text.contains("<polyline"));
        assert!(scatter(&path, &[[f32::NAN, 0.0]], None).is_err());
    }
}
