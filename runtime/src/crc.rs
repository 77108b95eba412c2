//! CRC-32 (IEEE 802.3, reflected, as in zlib) over little-endian words.
//!
//! Armv6-M has no bit-field instructions and uses one table of 256 words, about six instructions per byte on a
//! Cortex-M0. Other cores look up the two halves of a byte separately in tables of 16 words. This saves 900 bytes of
//! flash for two more instructions per byte.

/// Whether shifts and masks are slow enough to justify a kilobyte: on Armv6-M.
const WIDE: bool = cfg!(elbo_m0);

const BYTES: [u32; 256] = {
    let mut table = [0u32; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

/// Table entries of every sixteenth byte from 0 on, or of the first sixteen bytes. The CRC is linear in the bits.
const fn halves(stride: usize) -> [u32; 16] {
    let mut table = [0u32; 16];
    let mut i = 0;
    while i < 16 {
        table[i] = BYTES[i * stride];
        i += 1;
    }
    table
}

static BYTE_TABLE: [u32; 256] = BYTES;
static LOW_TABLE: [u32; 16] = halves(1);
static HIGH_TABLE: [u32; 16] = halves(16);

#[inline(always)]
fn step(crc: u32) -> u32 {
    // The index is a byte or half a byte, so the compiler removes the bounds checks.
    let byte = if WIDE { BYTE_TABLE[(crc & 0xFF) as usize] } else { from_halves(crc) };
    (crc >> 8) ^ byte
}

#[inline(always)]
fn word(crc: u32, word: u32) -> u32 {
    step(step(step(step(crc ^ word))))
}

#[inline(always)]
fn from_halves(byte: u32) -> u32 {
    LOW_TABLE[(byte & 0xF) as usize] ^ HIGH_TABLE[(byte >> 4 & 0xF) as usize]
}

/// CRC-32 of bytes.
pub(crate) fn crc32_bytes(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| step(crc ^ u32::from(*byte)))
}

/// CRC-32 of the little-endian bytes of `words`.
pub fn crc32_words(words: &[u32]) -> u32 {
    let mut crc = u32::MAX;
    let mut words = words;
    if WIDE {
        // Fewer instructions for the loop itself.
        while let [a, b, c, d, e, f, g, h, rest @ ..] = words {
            crc = word(word(word(word(crc, *a), *b), *c), *d);
            crc = word(word(word(word(crc, *e), *f), *g), *h);
            words = rest;
        }
    }
    !words.iter().fold(crc, |crc, &next| word(crc, next))
}

/// CRC-32 of the little-endian bytes of 16-bit values: the digest that self-tests and the console compare.
pub fn crc32_i16(values: &[i16]) -> u32 {
    !values.iter().fold(u32::MAX, |crc, &v| step(step(crc ^ u32::from(v as u16))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_value_of_the_standard() {
        // "12345678" followed by the incremental definition: CRC-32("12345678") = 0x9AE0DAAF.
        let words = [u32::from_le_bytes(*b"1234"), u32::from_le_bytes(*b"5678")];
        assert_eq!(crc32_words(&words), 0x9AE0_DAAF);
        assert_eq!(crc32_i16(&[0x3231, 0x3433, 0x3635, 0x3837]), 0x9AE0_DAAF);
        assert_eq!(crc32_words(&[]), 0);
        assert_eq!(crc32_bytes(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn both_tables_are_the_same() {
        assert!((0..256).all(|byte| from_halves(byte) == BYTE_TABLE[byte as usize]));
    }
}
