//! Files of one or more documents.

use crate::composer::{Composer, SEPARATORS, SLIPS, TRAILING_TEXT, Written};

/// The documents of a file, and its text.
pub struct File {
    pub documents: Vec<Written>,
    pub text: String,
    /// The last line of each document and of the separator after it: an error at the end can be reported in either.
    pub ends: Vec<(usize, usize)>,
}

impl Composer<'_> {
    pub fn file(&mut self, first: usize) -> File {
        let count = if self.random.chance(15) { 2 + self.random.below(2) } else { 1 };
        self.needs_name = count > 1;
        let mut documents: Vec<Written> = (first..first + count).map(|number| self.document(number)).collect();
        if count == 1 && self.random.chance(12) {
            let document = &mut documents[0];
            let places: Vec<usize> = document.text.char_indices().map(|(at, _)| at).collect();
            document.text.insert_str(places[self.random.below(places.len())], self.random.pick(&SLIPS));
        }
        let mut is_joined = vec![false; count];
        for index in 1..count {
            // JSON values may follow each other without a separator.
            if documents[index - 1].is_json && documents[index].is_json && self.random.chance(50) {
                is_joined[index] = true;
                documents[index - 1].allowed.push(TRAILING_TEXT);
                documents[index].allowed.push(TRAILING_TEXT);
            }
        }
        let (mut text, mut ends) = (String::new(), Vec::new());
        for (index, document) in documents.iter().enumerate() {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            if index > 0 && !is_joined[index] || index == 0 && self.random.chance(20) {
                text.push_str(self.random.pick(&SEPARATORS));
                text.push('\n');
            }
            if let Some((_, separator)) = ends.last_mut() {
                *separator = text.lines().count();
            }
            text.push_str(&document.text);
            ends.push((text.lines().count(), usize::MAX));
        }
        if self.random.chance(8) {
            text = text.replace('\n', "\r\n").replace("\r\r", "\r");
        }
        if self.random.chance(6) {
            text.insert(0, '\u{feff}');
        }
        File { documents, text, ends }
    }
}
