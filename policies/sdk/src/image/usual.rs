//! Recognizes valid references of the usual form in one pass, which takes a fraction of the time of the complete grammar.
//!
//! The automaton has a state for each position in the grammar. A step is a load, which does not depend on the state, and a
//! shift: the row of a byte in the table contains the next state of every state, and a state is the place of its six bits
//! in the rows.

use super::{MAX_TAG, Reference, SHA256_DIGITS, is_hexadecimal};

type State = u64;

const INVALID: State = 0;
/// Before a letter or digit of the first component, which is a registry or a part of the repository.
const FIRST_START: State = 6;
const FIRST: State = 12;
/// After the colon that follows the first component.
const PORT_OR_TAG_START: State = 18;
const PORT_OR_TAG: State = 24;
/// Before a letter or digit of a component that cannot be a registry.
const COMPONENT_START: State = 30;
const COMPONENT: State = 36;
const TAG_START: State = 42;
const TAG: State = 48;
const STATES: [State; 9] =
    [INVALID, FIRST_START, FIRST, PORT_OR_TAG_START, PORT_OR_TAG, COMPONENT_START, COMPONENT, TAG_START, TAG];

/// All limits of the grammar for names are higher.
const MAX_LENGTH: usize = 200;
const DIGEST_PREFIX: &str = "@sha256:";

static ROWS: [u64; 256] = rows();

/// Returns the reference, or `None` if it is invalid, or valid but of an unusual form.
pub(super) fn parse(reference: &str) -> Option<Reference<'_>> {
    let (rest, digest) = split_digest(reference)?;
    let state =
        rest.bytes().fold(FIRST_START, |state, byte| ROWS[usize::from(byte)].wrapping_shr(state as u32)) & 0b11_1111;
    if rest.len() > MAX_LENGTH {
        return None;
    }
    match state {
        // 64 hexadecimal digits are an image ID.
        FIRST if reference.len() == SHA256_DIGITS => None,
        FIRST | COMPONENT => Some(Reference { name: rest, tag: None, digest }),
        PORT_OR_TAG | TAG => {
            let (name, tag) = rest.rsplit_once(':')?;
            (tag.len() <= MAX_TAG).then_some(Reference { name, tag: Some(tag), digest })
        }
        _ => None,
    }
}

/// Splits at the `@` of a digest in the usual algorithm. `None` if its digits are invalid.
fn split_digest(reference: &str) -> Option<(&str, Option<&str>)> {
    let Some(start) = reference.len().checked_sub(DIGEST_PREFIX.len() + SHA256_DIGITS) else {
        return Some((reference, None));
    };
    if reference.as_bytes()[start] != b'@' {
        return Some((reference, None));
    }
    let (rest, digest) = reference.split_at(start);
    is_hexadecimal(digest.strip_prefix(DIGEST_PREFIX)?, SHA256_DIGITS).then_some((rest, Some(&digest[1..])))
}

const fn next(state: State, byte: u8) -> State {
    match (state, byte) {
        (FIRST_START | FIRST, b'a'..=b'z' | b'0'..=b'9') => FIRST,
        (FIRST, b'.' | b'-') => FIRST_START,
        (FIRST, b':') => PORT_OR_TAG_START,
        (PORT_OR_TAG_START | PORT_OR_TAG, b'0'..=b'9') => PORT_OR_TAG,
        (COMPONENT_START | COMPONENT, b'a'..=b'z' | b'0'..=b'9') => COMPONENT,
        // A registry has no underscore.
        (FIRST, b'_') | (COMPONENT, b'.' | b'-' | b'_') | (FIRST | COMPONENT | PORT_OR_TAG, b'/') => COMPONENT_START,
        (COMPONENT, b':') => TAG_START,
        (PORT_OR_TAG_START | PORT_OR_TAG | TAG_START | TAG, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_')
        | (PORT_OR_TAG | TAG, b'.' | b'-') => TAG,
        _ => INVALID,
    }
}

const fn rows() -> [u64; 256] {
    let mut rows = [0; 256];
    let mut byte = 0;
    while byte < rows.len() {
        let mut state = 0;
        while state < STATES.len() {
            rows[byte] |= next(STATES[state], byte as u8) << STATES[state];
            state += 1;
        }
        byte += 1;
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> String {
        format!("@sha256:{}", "0f".repeat(32))
    }

    /// Calls `visit` with all texts of at most `length` characters of an alphabet with all classes of the grammar.
    fn visit_all(text: &mut String, length: usize, visit: &mut impl FnMut(&str)) {
        visit(text);
        if text.len() < length {
            for character in ['a', 'F', '0', '.', '-', '_', '/', ':', '@', '$'] {
                text.push(character);
                visit_all(text, length, visit);
                text.pop();
            }
        }
    }

    #[test]
    fn recognized_references_are_those_of_the_grammar() {
        let (mut count, digest) = (0, digest());
        visit_all(&mut String::new(), 5, &mut |text| {
            for reference in [text, &format!("{text}{digest}"), &format!("a:1{text}b/c")] {
                if let Some(usual) = parse(reference) {
                    assert_eq!(Reference::parse_resolved(reference), Ok(usual), "{reference:?}");
                    count += 1;
                }
            }
        });
        assert!(count > 1000, "{count}");
    }

    #[test]
    fn references_of_the_usual_form_are_recognized() {
        let names = [
            "nginx",
            "library/nginx",
            "my_app",
            "registry.example.com:5000/team/my-app_2",
            "10.0.0.1:80/a",
            "localhost/a.b",
        ];
        for name in names {
            for tag in ["", ":1", ":latest", ":v1.2.3-rc.1_x", ":2024-01--2", ":LATEST"] {
                for digest in ["", &digest()] {
                    let reference = format!("{name}{tag}{digest}");
                    let parsed = parse(&reference).unwrap_or_else(|| panic!("{reference:?} is not recognized"));
                    let part = |text: &str| text.strip_prefix([':', '@']).map(str::to_owned);
                    let parts = (parsed.name, parsed.tag.map(str::to_owned), parsed.digest.map(str::to_owned));
                    assert_eq!(parts, (name, part(tag), part(digest)), "{reference:?}");
                }
            }
        }
    }

    #[test]
    fn long_names_and_tags_and_image_ids_are_left_to_the_complete_grammar() {
        let a = |count| "a".repeat(count);
        for reference in [a(64), a(201), format!("a:{}", a(129)), format!("a/{}", a(199))] {
            assert_eq!(parse(&reference), None, "{reference:?}");
        }
        for reference in
            [a(63), a(65), a(200), format!("a:{}", a(128)), format!("{}:1", a(64)), format!("{}{}", a(64), digest())]
        {
            assert!(parse(&reference).is_some(), "{reference:?}");
        }
    }
}
