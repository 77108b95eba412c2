//! Recomputes every table of this crate in f64, for the tests.

use std::{fmt::Write, format, string::String, vec::Vec};

/// The argument of node `index` on a scale with `2^mantissa` segments per octave. Steps are constant at first and then
/// double in every octave, as in a floating-point number.
pub fn octave_knot(index: usize, mantissa: u32) -> u64 {
    let octave = (index >> mantissa).max(1) - 1;
    ((index - (octave << mantissa)) as u64) << octave
}

/// Node values at `knots` such that linear interpolation follows `f` without bias. A chord of a curve lies on one side
/// of it, so each node is shifted by the mean error of the adjacent chords.
pub fn unbiased_nodes(knots: &[u64], f: impl Fn(u64) -> f64) -> Vec<f64> {
    let bias: Vec<f64> = knots
        .windows(2)
        .map(|segment| {
            let (start, width) = (segment[0], segment[1] - segment[0]);
            let (from, to) = (f(start), f(segment[1]));
            let samples = width.min(64);
            let error = |sample| {
                let offset = width * sample / samples;
                from + (to - from) * offset as f64 / width as f64 - f(start + offset)
            };
            (0..samples).map(error).sum::<f64>() / samples as f64
        })
        .collect();
    let beside = |i: usize| bias.get(i).or(bias.last()).copied().unwrap_or(0.0);
    knots.iter().enumerate().map(|(i, &knot)| f(knot) - 0.5 * (beside(i) + beside(i.saturating_sub(1)))).collect()
}

/// Fails if a stored table differs from the computed one, and prints the lines to paste.
pub fn assert_table<T: PartialEq + TryFrom<i64>>(checked_in: &[T], computed: &[f64]) {
    let computed: Vec<i64> = computed.iter().map(|value| value.round() as i64).collect();
    let same = checked_in.len() == computed.len()
        && checked_in.iter().zip(&computed).all(|(have, &want)| T::try_from(want).is_ok_and(|want| *have == want));
    let mut lines = String::new();
    for row in computed.chunks(16) {
        let row: Vec<String> = row.iter().map(|value| format!("{value}")).collect();
        let _ = writeln!(lines, "    {},", row.join(", "));
    }
    assert!(same, "the {} entries should be:\n{lines}", computed.len());
}
