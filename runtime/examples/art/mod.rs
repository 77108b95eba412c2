//! Pictures as text, for the examples.
#![allow(dead_code, reason = "each example uses its part")]

/// From empty to full.
const SHADES: &[u8] = b" .:-=+*#%@";

/// One line of text per row of pixels. `pixels` are probabilities in Q15. A pixel takes two characters, because
/// characters are tall.
pub fn rows(pixels: &[i16], width: usize) -> Vec<String> {
    let shade = |&q: &i16| char::from(SHADES[(usize::from(q.max(0) as u16) * SHADES.len()) >> 15]);
    pixels.chunks(width).map(|row| row.iter().flat_map(|q| [shade(q); 2]).collect()).collect()
}

/// Prints pictures of equal size side by side.
pub fn print_beside(pictures: &[Vec<i16>], width: usize) {
    let pictures: Vec<Vec<String>> = pictures.iter().map(|pixels| rows(pixels, width)).collect();
    for row in 0..pictures.first().map_or(0, Vec::len) {
        let lines: Vec<&str> = pictures.iter().map(|picture| picture[row].as_str()).collect();
        println!("{}", lines.join(" | "));
    }
}
