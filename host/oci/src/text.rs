//! Text of servers and programs in errors.

/// Returns the start of a text, without characters that could control a terminal.
pub fn printable(text: &str, most: usize) -> String {
    text.chars().filter(|character| !character.is_control()).take(most).collect()
}
