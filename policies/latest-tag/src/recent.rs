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
        !text.is_empty() && self.texts.iter().any(|known| known == text)
    }

    /// Adds a text.
    pub fn add(&mut self, text: &str) {
        let oldest = &mut self.texts[self.oldest];
        oldest.clear();
        oldest.push_str(text);
        self.oldest = (self.oldest + 1) % COUNT;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
