//! Explanations of parser errors, with hints how to fix them.

/// The message of the JSON parser about too deep nesting.
const RECURSION: &str = "recursion limit exceeded";

/// The messages of the YAML parser, and their explanations.
const SYNTAX: [(&str, &str); 14] = [
    (
        "mapping values are not allowed",
        "a second `: ` in one line, or a line that is indented deeper than the one above; quote a value that contains `: `, \
         or fix the indentation",
    ),
    ("did not find expected key", "this line does not match the lines above; fix its indentation"),
    ("did not find expected '-' indicator", "this line does not match the list above; fix its indentation"),
    (
        "could not find expected ':'",
        "a key without `: ` after it; add it, or fix the indentation or an unclosed quote before it",
    ),
    ("did not find expected ',' or ']'", "a list in brackets is not closed; add `,` or `]`"),
    ("did not find expected ',' or '}'", "a map in braces is not closed; add `,` or `}`"),
    ("did not find expected node content", "a value is missing, or a bracket is not closed"),
    ("found unexpected end of stream", "a quote is not closed"),
    ("found unexpected document indicator", "the document ends (`---` or `...`) before a quote is closed"),
    ("found undefined tag handle", "an undeclared tag (!name!); remove it"),
    ("block sequence entries are not allowed", "a list cannot start here; put `- ` on a separate line"),
    ("block mapping entries are not allowed", "a map cannot start here; fix the indentation"),
    ("did not find expected <document start>", "content after the end of the document; separate documents by `---`"),
    ("invalid escape", "an invalid escape in double quotes; write \\\\ for a backslash, or use single quotes"),
];

/// Explains an error of the YAML parser. `line` is the line of the text, from 1.
pub(crate) fn syntax(error: &str, text: &str, line: usize) -> String {
    let source = text.lines().nth(line - 1).unwrap_or_default();
    let is_indented_by_tab = source.trim_start_matches(' ').starts_with('\t');
    let cannot_start = error.contains("found character that cannot start any token");
    let message = if cannot_start && is_indented_by_tab || error.contains("found a tab character") {
        "a tab is used for indentation; YAML allows only spaces".to_owned()
    } else if cannot_start {
        "a value starts with a character that YAML reserves (such as @, ` or %); put the value in quotes".to_owned()
    } else {
        match SYNTAX.iter().find(|(known, _)| error.contains(known)) {
            Some((_, explanation)) => format!("invalid YAML: {explanation} ({error})"),
            None => format!("invalid YAML: {error}"),
        }
    };
    message + template_hint(text, line)
}

/// Explains an error of the JSON parser.
pub(crate) fn json_syntax(error: &serde_json::Error) -> String {
    let message = without_place(&error.to_string());
    if message.contains(RECURSION) {
        return "maps and lists are nested more than 128 deep; no Kubernetes object is".to_owned();
    }
    format!("invalid JSON: {message}")
}

/// The hint for a template in the place of a manifest.
pub(crate) const TEMPLATE_HINT: &str =
    "; this looks like a Helm template: render it first, as in `helm template . | kube-devops analyze -f -`";

/// Returns the hint if there are template expressions near a line of the text, or else an empty string.
pub(crate) fn template_hint(text: &str, line: usize) -> &'static str {
    const NEARBY: usize = 2;
    // A list can have an error in each of thousands of items, and templates are short.
    const MAX_LENGTH: usize = 64 << 10;
    if text.len() > MAX_LENGTH {
        return "";
    }
    let mut nearby = text.lines().skip(line.saturating_sub(NEARBY + 1)).take(2 * NEARBY + 1);
    let is_template =
        nearby.any(|line| line.contains("{{")) || text.lines().any(|line| line.trim_start().starts_with("{{"));
    if is_template { TEMPLATE_HINT } else { "" }
}

/// Removes ` at line 3 column 5`: the parser counts lines from the start of the document, not of the file.
fn without_place(message: &str) -> String {
    message.rsplit_once(" at line ").map_or(message, |(before, _)| before).to_owned()
}
