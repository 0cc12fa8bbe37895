//! The texts that were added last.

/// The number of texts: more than most pods have containers.
const COUNT: usize = 4;

/// A few texts. A new one replaces the oldest.
#[derive(Debug, Default)]
pub struct Recent {
    texts: [String; COUNT],
    oldest: usize,
}

impl Recent {
    /// Whether a text that is not empty was added, and has not been replaced.
    pub fn contains(&self, text: &str) -> bool {
        !text.is_empty() && self.texts.iter().any(|known| is_equal(known.as_bytes(), text.as_bytes()))
    }

    /// Adds a text.
    pub fn add(&mut self, text: &str) {
        let oldest = &mut self.texts[self.oldest];
        oldest.clear();
        oldest.push_str(text);
        self.oldest = (self.oldest + 1) % COUNT;
    }
}

/// Whether two texts are equal, by eight bytes at a time: in a component, `==` compares single bytes, since WebAssembly has no
/// instruction for it.
fn is_equal(one: &[u8], other: &[u8]) -> bool {
    let (words, rest) = one.as_chunks::<8>();
    let (other_words, other_rest) = other.as_chunks::<8>();
    let mut pairs = words.iter().zip(other_words);
    one.len() == other.len()
        && pairs.all(|(word, other)| u64::from_ne_bytes(*word) == u64::from_ne_bytes(*other))
        && rest == other_rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_equal_if_all_bytes_are() {
        for length in 0..20 {
            let text = &b"abcdefghijklmnopqrst"[..length];
            assert!(is_equal(text, text));
            assert!(!is_equal(text, &[text, b"x"].concat()) && !is_equal(&[text, b"x"].concat(), text));
            for index in 0..length {
                let mut other = text.to_vec();
                other[index] = b'x';
                assert!(!is_equal(text, &other), "{index} of {length}");
            }
        }
    }

    #[test]
    fn the_last_texts_are_known_and_older_ones_are_not() {
        let mut recent = Recent::default();
        assert!(!recent.contains(""), "nothing was added");
        for text in ["a", "bb", "ccc", "dddd", "eeeee"] {
            recent.add(text);
        }
        let known = ["a", "bb", "ccc", "dddd", "eeeee", "x", ""].map(|text| recent.contains(text));
        assert_eq!(known, [false, true, true, true, true, false, false]);
    }
}
