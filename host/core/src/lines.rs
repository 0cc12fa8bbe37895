//! The line numbers of the fields of an object that was read from a file.

use std::cmp::Ordering;

/// The line numbers of the values below one value of a file, by the JSON Pointer from that value.
///
/// Only the hash of a pointer is stored, in 8 bytes per value. A hash collision within an object results in a wrong
/// line number, and has no other effect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines(Box<[(PointerHash, u32)]>);

impl Lines {
    /// Returns the line of the value at a JSON Pointer, or of the closest enclosing value if there is no such value.
    pub fn line_of(&self, mut pointer: &str) -> Option<usize> {
        loop {
            let hash = PointerHash::of(pointer);
            if let Ok(found) = self.0.binary_search_by(|(known, _)| known.cmp(&hash)) {
                return Some(self.0[found].1 as usize);
            }
            pointer = pointer.rsplit_once('/')?.0;
        }
    }
}

impl FromIterator<(PointerHash, u32)> for Lines {
    fn from_iter<I: IntoIterator<Item = (PointerHash, u32)>>(lines: I) -> Self {
        let mut lines: Vec<_> = lines.into_iter().collect();
        lines.sort_unstable_by(|one, other| match one.0.cmp(&other.0) {
            Ordering::Equal => one.1.cmp(&other.1),
            different => different,
        });
        lines.dedup_by_key(|(hash, _)| *hash);
        Self(lines.into())
    }
}

/// The FNV-1a hash of a JSON Pointer. The hash of a child continues that of its parent.
/// <http://www.isthe.com/chongo/tech/comp/fnv/>
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PointerHash(u32);

impl PointerHash {
    /// The hash of the pointer to the value itself.
    pub const ROOT: Self = Self(0x811c_9dc5);

    /// Returns the hash of a pointer.
    pub fn of(pointer: &str) -> Self {
        Self::ROOT.with(pointer.as_bytes())
    }

    /// Returns the hash of the pointer to the value of `key`.
    pub fn key(self, key: &str) -> Self {
        let mut hash = self.with(b"/");
        for byte in key.bytes() {
            hash = match byte {
                b'~' => hash.with(b"~0"),
                b'/' => hash.with(b"~1"),
                _ => hash.with(&[byte]),
            };
        }
        hash
    }

    /// Returns the hash of the pointer to the item at an index of a list.
    pub fn index(self, index: usize) -> Self {
        let mut digits = [0; 20];
        let mut start = digits.len();
        let mut rest = index;
        loop {
            start -= 1;
            digits[start] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.with(b"/").with(&digits[start..])
    }

    fn with(self, bytes: &[u8]) -> Self {
        Self(bytes.iter().fold(self.0, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_child_continues_that_of_its_parent() {
        let hash = PointerHash::ROOT.key("containers").index(120).key("a/b~c");
        assert_eq!(hash, PointerHash::of("/containers/120/a~1b~0c"));
        assert_eq!(PointerHash::ROOT.index(0), PointerHash::of("/0"));
    }

    #[test]
    fn a_missing_field_has_the_line_of_the_closest_enclosing_value() {
        let lines: Lines = [("", 3), ("/containers", 4), ("/containers/0", 5)]
            .map(|(at, line)| (PointerHash::of(at), line))
            .into_iter()
            .collect();
        assert_eq!(lines.line_of("/containers/0/image"), Some(5));
        assert_eq!(lines.line_of("/containers/7/image"), Some(4));
        assert_eq!(lines.line_of("/nodeName"), Some(3));
        assert_eq!(Lines::default().line_of("/nodeName"), None);
    }
}
