//! What parsers say, in plain words and with a hint at what to do.

/// What parsers say where nesting has no end.
const RECURSION: &str = "recursion limit exceeded";

/// What the parser says of broken YAML, and what to do about it.
const SYNTAX: [(&str, &str); 14] = [
    (
        "mapping values are not allowed",
        "a second `: ` in one line, or a line that is indented deeper than the one above; quote a value that holds `: `, or \
         fix the indentation",
    ),
    ("did not find expected key", "this line does not fit in with the lines above; fix its indentation"),
    ("did not find expected '-' indicator", "this line does not fit in with the list above; fix its indentation"),
    (
        "could not find expected ':'",
        "a key without `: ` behind it; add it, or fix the indentation or an open quote before it",
    ),
    ("did not find expected ',' or ']'", "a list in brackets is not closed; add `,` or `]`"),
    ("did not find expected ',' or '}'", "a map in braces is not closed; add `,` or `}`"),
    ("did not find expected node content", "a value is missing, or a bracket is not closed"),
    ("found unexpected end of stream", "a quote is opened and not closed"),
    ("found unexpected document indicator", "the document ends (`---` or `...`) before a quote is closed"),
    ("found undefined tag handle", "a tag (!name!) that was not declared; remove it"),
    ("block sequence entries are not allowed", "a list starts where none can be; put `- ` on a line of its own"),
    ("block mapping entries are not allowed", "a map starts where none can be; fix the indentation"),
    (
        "did not find expected <document start>",
        "something follows the end of the document; separate documents by `---`",
    ),
    (
        "invalid escape",
        "an escape in double quotes that YAML does not have; write \\\\ for a backslash, or use single quotes",
    ),
];

/// What is wrong with broken YAML. `line` is the line of the text, from 1.
pub(crate) fn syntax(said: &str, text: &str, line: usize) -> String {
    let source = text.lines().nth(line - 1).unwrap_or_default();
    let is_indented_by_tab = source.trim_start_matches(' ').starts_with('\t');
    let cannot_start = said.contains("found character that cannot start any token");
    let message = if cannot_start && is_indented_by_tab || said.contains("found a tab character") {
        "a tab is used for indentation; YAML allows only spaces".to_owned()
    } else if cannot_start {
        "a value starts with a character that YAML reserves (such as @, ` or %); put the value in quotes".to_owned()
    } else {
        match SYNTAX.iter().find(|(known, _)| said.contains(known)) {
            Some((_, hint)) => format!("invalid YAML: {hint} ({said})"),
            None => format!("invalid YAML: {said}"),
        }
    };
    message + template_hint(text, line)
}

/// What a JSON parser has against a text.
pub(crate) fn json_syntax(error: &serde_json::Error) -> String {
    let said = without_place(&error.to_string());
    if said.contains(RECURSION) {
        return "maps and lists are nested more than 128 deep; no object of Kubernetes is".to_owned();
    }
    format!("invalid JSON: {said}")
}

/// What to do with a template that was given as a manifest.
pub(crate) const TEMPLATE_HINT: &str =
    "; this looks like a Helm template: render it first, as in `helm template . | kube-devops analyze -f -`";

/// The hint, where there are signs of a template near a line of the text.
pub(crate) fn template_hint(text: &str, line: usize) -> &'static str {
    const NEARBY: usize = 2;
    // A list can have an error in each of its thousands of items, and templates are short.
    const LONGEST: usize = 64 << 10;
    if text.len() > LONGEST {
        return "";
    }
    let mut nearby = text.lines().skip(line.saturating_sub(NEARBY + 1)).take(2 * NEARBY + 1);
    let is_template =
        nearby.any(|line| line.contains("{{")) || text.lines().any(|line| line.trim_start().starts_with("{{"));
    if is_template { TEMPLATE_HINT } else { "" }
}

/// Takes out ` at line 3 column 5`: lines are counted from the start of the document, and people count from that of the file.
fn without_place(said: &str) -> String {
    said.rsplit_once(" at line ").map_or(said, |(before, _)| before).to_owned()
}
