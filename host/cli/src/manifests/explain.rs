//! What parsers say, in plain words and with a hint at what to do.

use super::locate;
use super::problem::Problem;

/// What parsers say where nesting has no end.
const RECURSION: &str = "recursion limit exceeded";

/// What that means.
const TOO_DEEP: &str =
    "maps and lists are nested too deep, or an alias stands within its own anchor; no object of Kubernetes is";

/// What parsers say of broken YAML, and what to do about it.
const SYNTAX: [(&str, &str); 13] = [
    (
        "mapping values are not allowed",
        "a second `: ` in one line, or a line that is indented deeper than the one above; quote a value that holds `: `, or \
         mend the indentation",
    ),
    ("did not find expected key", "this line does not fit in with the lines above; mend its indentation"),
    ("did not find expected '-' indicator", "this line does not fit in with the list above; mend its indentation"),
    (
        "could not find expected ':'",
        "a key without `: ` behind it; add it, or mend the indentation or an open quote before it",
    ),
    ("did not find expected ',' or ']'", "a list in brackets is not closed; add `,` or `]`"),
    ("did not find expected ',' or '}'", "a map in braces is not closed; add `,` or `}`"),
    ("did not find expected node content", "a value is missing, or a bracket is not closed"),
    ("found unexpected end of stream", "a quote is opened and not closed"),
    ("found unexpected document indicator", "the document ends (`---` or `...`) before a quote is closed"),
    ("found undefined tag handle", "a tag (!name!) that was not declared; remove it"),
    (
        "unknown anchor",
        "an alias (*name) without an anchor (&name) before it in the same document; define the anchor there",
    ),
    ("block sequence entries are not allowed", "a list starts where none can be; put `- ` on a line of its own"),
    (
        "did not find expected <document start>",
        "something follows the end of the document; separate documents by `---`",
    ),
];

/// What a YAML parser has against a text.
pub(super) fn yaml(error: &serde_norway::Error, text: &str) -> Problem {
    let said = without_places(&error.to_string());
    if said.contains("control characters are not allowed")
        && let Some((position, character)) = text.char_indices().find(|(_, character)| is_forbidden(*character))
    {
        let code = u32::from(character);
        let line = super::input::line_at(text.as_bytes(), position);
        return Problem::at(
            line,
            format!(
                "the control character U+{code:04X} may not stand in YAML; remove it or write it as an escape in double quotes"
            ),
        );
    }
    let line = error.location().map_or(1, |location| line_of(text, location.index()));
    let line = line_of_duplicate(&said, text).unwrap_or(line);
    let source = text.lines().nth(line - 1).unwrap_or_default();
    let is_indented_by_tab = source.trim_start_matches(' ').starts_with('\t');
    let message =
        if said.contains("found character that cannot start any token") && is_indented_by_tab || is_about_tabs(&said) {
            "a tab is used for indentation; YAML takes only spaces".to_owned()
        } else if said.contains("found character that cannot start any token") {
            "a value starts with a character that YAML keeps for itself (such as @, ` or %); put the value in quotes"
                .to_owned()
        } else if let Some(hint) = known_syntax(&said) {
            format!("this is no valid YAML: {hint} ({said})")
        } else {
            value(&said)
        };
    Problem::at(line, message + template_hint(text, line))
}

/// What parsers say of syntax never quotes the input, other messages do.
fn known_syntax(said: &str) -> Option<&'static str> {
    let (_, hint) = SYNTAX.iter().find(|(known, _)| said.contains(known))?;
    (!said.contains(['"', '`'])).then_some(hint)
}

/// The line of a key that stands twice, for which the parser gives only the map.
fn line_of_duplicate(said: &str, text: &str) -> Option<usize> {
    let (path, key) = said.split_once("duplicate field `").or_else(|| said.split_once("duplicate label "))?;
    let key = key.trim_matches(['`', '"']);
    let map = path.trim_end_matches(": ");
    let map = match map.strip_prefix(".[0]") {
        Some(rest) => format!("/0{}", locate::pointer_of_path(rest.trim_start_matches('.'))),
        None => locate::pointer_of_path(map),
    };
    locate::Places::of(text).last_line(&format!("{map}/{}", locate::escape(key)))
}

/// What a JSON parser has against a text, at the level of single characters.
pub(super) fn json_syntax(error: &serde_json::Error) -> String {
    let said = without_places(&error.to_string());
    if said.contains(RECURSION) { TOO_DEEP.to_owned() } else { format!("this is no valid JSON: {said}") }
}

/// What is wrong with a value, as serde says it, with the path to it in front.
pub(super) fn value(said: &str) -> String {
    // An item of a list is parsed as a list of one, and nobody knows of that list.
    let said = said.strip_prefix(".[0]").map_or(said, |said| said.trim_start_matches(['.', ':', ' ']));
    if said.ends_with(RECURSION) {
        return TOO_DEEP.to_owned();
    }
    for (start, middle) in [("invalid type: ", ", expected "), ("invalid value: ", ", expected ")] {
        if let Some((path, rest)) = said.split_once(start)
            && let Some((found, expected)) = rest.rsplit_once(middle)
        {
            let (found, hint) = (found_in_words(found), hint(found, expected));
            return format!("{path}{} is expected, not {found}{hint}", expected_in_words(expected));
        }
    }
    if let Some((path, rest)) = said.split_once("duplicate field `") {
        return format!("{path}the key {} stands twice; keep one of them", rest.trim_end_matches('`'));
    }
    if let Some((path, rest)) = said.split_once("duplicate label ") {
        return format!("{path}the label {rest} stands twice; keep one of them");
    }
    if let Some((path, _)) = said.split_once("Timestamp: ") {
        return format!("{path}Timestamp: a time such as 2026-01-31T12:00:00Z is expected");
    }
    said.to_owned()
}

/// Tells whoever gives a Helm template as a manifest what to do.
pub(super) fn template_hint(text: &str, line: usize) -> &'static str {
    const NEARBY: usize = 2;
    // A list can have an error in each of its thousands of items, and templates are short.
    const LONGEST: usize = 64 << 10;
    if text.len() > LONGEST {
        return "";
    }
    let is_template = |line: &str| line.contains("{{");
    let mut nearby = text.lines().skip(line.saturating_sub(NEARBY + 1)).take(2 * NEARBY + 1);
    if nearby.any(is_template) || text.lines().any(|line| line.trim_start().starts_with("{{")) {
        "; this looks like a Helm template: render it first, as in `helm template . | kube-devops analyze -f -`"
    } else {
        ""
    }
}

fn found_in_words(found: &str) -> String {
    // A number beyond 64 bits is followed by the type that it was read as.
    let without_type = |text: &str| text.split_once(" as ").map_or(text, |(number, _)| number).to_owned();
    let quoted = |text: &str| without_type(text).trim_matches('`').to_owned();
    match found.split_once(' ') {
        Some(("integer", number)) => format!("the number {}", quoted(number)),
        Some(("floating", rest)) => format!("the number {}", quoted(rest.trim_start_matches("point "))),
        Some(("boolean", value)) => quoted(value),
        Some(("string", text)) => format!("the text {text}"),
        Some(("unit", _)) => "nothing".to_owned(),
        _ if found == "sequence" => "a list".to_owned(),
        _ if found == "map" => "a map".to_owned(),
        _ if found == "null" => "nothing".to_owned(),
        _ => found.to_owned(),
    }
}

fn expected_in_words(expected: &str) -> String {
    match expected {
        "a string" => "text".to_owned(),
        "u16" => "a whole number from 0 to 65535".to_owned(),
        "u32" => "a whole number from 0 to 4294967295".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a boolean" => "true or false".to_owned(),
        _ if expected.starts_with("struct ") => "a map".to_owned(),
        _ if expected.contains("RFC 3339") => "a time such as 2026-01-31T12:00:00Z".to_owned(),
        _ => expected.to_owned(),
    }
}

fn hint(found: &str, expected: &str) -> &'static str {
    let is_number = found.starts_with("integer") || found.starts_with("floating");
    if expected == "a string" && (is_number || found.starts_with("boolean")) {
        "; put the value in quotes"
    } else if matches!(expected, "u16" | "u32") && found.starts_with("string") {
        "; write the number without quotes"
    } else {
        ""
    }
}

fn is_about_tabs(said: &str) -> bool {
    said.contains("found a tab character")
}

/// What YAML allows in no text, not even in quotes.
fn is_forbidden(character: char) -> bool {
    let is_allowed_control = matches!(character, '\t' | '\n' | '\r' | '\u{85}');
    character.is_control() && !is_allowed_control || matches!(character, '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// Takes out ` at line 3 column 5`: lines are counted from the start of the document, and people count from that of the file.
pub(super) fn without_places(said: &str) -> String {
    let mut rest = said;
    let mut kept = String::with_capacity(said.len());
    while let Some(position) = rest.find(" at line ") {
        let (before, place) = rest.split_at(position);
        kept.push_str(before);
        let place = &place[" at line ".len()..];
        let numbers = place.trim_start_matches(|character: char| character.is_ascii_digit());
        rest = numbers
            .strip_prefix(" column ")
            .map_or(numbers, |column| column.trim_start_matches(|character: char| character.is_ascii_digit()));
    }
    kept + rest
}

/// The line of a character. The parser also counts lines by characters that no editor breaks a line at.
fn line_of(text: &str, character: usize) -> usize {
    let position = text.char_indices().nth(character).map_or(text.trim_end().len(), |(position, _)| position);
    super::input::line_at(text.as_bytes(), position)
}
