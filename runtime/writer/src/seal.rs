//! The length and the checksum, which are written last.

use elbo::blob::CHECKED_FROM;

/// Writes the length and the checksum of a blob into its header, so that the container is valid again after a change.
/// Does nothing if there are too few words for a header.
pub fn seal(words: &mut [u32]) {
    let len = words.len() as u32;
    if let Some((start, checked)) = words.split_at_mut_checked(CHECKED_FROM)
        && let [.., length, checksum] = start
    {
        *length = len;
        *checksum = elbo::crc32_words(checked);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use elbo::blob::{Blob, FORMAT_VERSION, HEADER_WORDS, MAGIC};
    use elbo::{LoadError, crc32_words};

    #[test]
    fn a_changed_word_is_sealed_again() {
        let mut words = [0; HEADER_WORDS];
        (words[0], words[1]) = (MAGIC, FORMAT_VERSION);
        seal(&mut words);
        assert_eq!((words[2], words[3]), (12, crc32_words(&[0; 8])));
        words[4] = 8;
        assert_eq!(Blob::parse(bytemuck::cast_slice(&words)).err(), Some(LoadError::Checksum));
        seal(&mut words);
        assert_eq!(Blob::parse(bytemuck::cast_slice(&words)).map(|blob| blob.arena_len()), Ok(8));
    }

    #[test]
    fn too_few_words_for_a_seal_stay_as_they_are() {
        let mut words = [7; 3];
        seal(&mut words);
        assert_eq!(words, [7; 3]);
    }
}
