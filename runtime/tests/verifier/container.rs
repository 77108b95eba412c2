//! The container: header, sections, checksum and metadata.

use crate::{base, load, words_break};
use elbo::LoadError as E;
use elbo::{Limits, Model};
use elbo_fuzz_blobs::SEEDS;

#[test]
fn containers() {
    let mut words = base().words();
    let bytes: &[u8] = bytemuck::cast_slice(&words);
    for shift in 1..4 {
        assert_eq!(Model::load(&bytes[shift..], Limits::host()).err(), Some(E::Misaligned));
    }
    words_break(E::NotABlob, |words| words[0] ^= 1 << 24);
    for found in [0, 1, 2, 3, 4, 6, u32::MAX] {
        words_break(E::Version { found, supported: 5 }, |words| words[1] = found);
    }
    for count in 5..=10 {
        words_break(E::Layout, |words| words[count] += 5);
        words_break(E::Layout, |words| words[count] = u32::MAX);
    }
    words_break(E::Layout, |words| words[8] = 4097);
    words_break(E::Layout, |words| words[11] = 1);
    words_break(E::Layout, |words| words.push(0));
    words[2] = 11;
    assert_eq!(load(&words), Err(E::Layout));
    words[2] = words.len() as u32;
    words[4] ^= 1;
    assert_eq!(load(&words), Err(E::Checksum));
}

#[test]
fn every_truncation_is_named_and_what_follows_is_ignored() {
    let mut words = base().words();
    let bytes: &[u8] = bytemuck::cast_slice(&words);
    for len in 0..bytes.len() {
        assert_eq!(Model::load(&bytes[..len], Limits::host()).err(), Some(E::Truncated), "{len}");
    }
    words.extend([u32::MAX; 5]);
    assert_eq!(load(&words), Ok(()));
    assert!(Model::load(&bytemuck::cast_slice(&words)[..words.len() * 4 - 3], Limits::host()).is_ok());
}

#[test]
fn every_flipped_bit_is_caught() {
    for (name, bytes) in SEEDS {
        let mut words: Vec<u32> = bytemuck::cast_slice(bytes).to_vec();
        for word in 0..words.len() {
            for bit in 0..32 {
                words[word] ^= 1 << bit;
                let error = load(&words).expect_err(name);
                match word {
                    0 => assert_eq!(error, E::NotABlob),
                    1 => assert!(matches!(error, E::Version { .. })),
                    2 => assert!(matches!(error, E::Truncated | E::Checksum | E::Layout)),
                    _ => assert_eq!(error, E::Checksum, "{name}: word {word}"),
                }
                words[word] ^= 1 << bit;
            }
        }
    }
}

#[test]
fn metadata() {
    let mut parts = base();
    parts.meta.truncate(9);
    let words = parts.words();
    let model = Model::load(bytemuck::cast_slice(&words), Limits::host()).expect("metadata are read on demand");
    assert_eq!(model.meta().err(), Some(E::Metadata));
    assert_eq!(E::Metadata.to_string(), "the metadata do not decode: compile the model again");
    let words = base().words();
    let model = Model::load(bytemuck::cast_slice(&words), Limits::host()).expect("valid");
    assert_eq!(model.meta().map(|meta| meta.latent), Ok(5));
}
