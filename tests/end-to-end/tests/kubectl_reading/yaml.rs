//! Writes values as YAML in varying notations.

use serde_json::json;

use crate::composer::{Composer, NOISE};
use crate::node::{FOLD, Node};

impl Composer<'_> {
    /// Writes a value after a key or the dash of a list, and ends the line.
    pub fn value(&mut self, node: &Node, indent: usize, text: &mut String) {
        match node {
            Node::Scalar(scalar) => {
                text.push_str(if self.random.chance(3) { "\t" } else { " " });
                self.scalar(scalar, indent + 1, text);
                self.end_of_line(text);
            }
            Node::Block(header, lines) => {
                let own =
                    header.chars().find(char::is_ascii_digit).map_or(indent + 1 + self.random.below(3), |_| indent + 2);
                text.push_str(&format!(" {header}\n"));
                for line in lines {
                    let line = if line.is_empty() { String::new() } else { format!("{}{line}", " ".repeat(own)) };
                    text.push_str(&format!("{line}\n"));
                }
            }
            Node::With(property, node) => {
                text.push_str(&format!(" {property}"));
                self.value(node, indent, text);
            }
            Node::Map(entries) if !entries.is_empty() && self.random.chance(75) => {
                self.end_of_line(text);
                let deeper = indent + 1 + self.random.below(4);
                self.entries(node, deeper, text);
            }
            Node::List(items) if !items.is_empty() && self.random.chance(65) => {
                self.end_of_line(text);
                let deeper = indent + self.random.below(4);
                self.items(items, deeper, text);
            }
            Node::Map(_) | Node::List(_) => {
                text.push(' ');
                self.flow(node, indent, text);
                self.end_of_line(text);
            }
        }
    }

    fn end_of_line(&mut self, text: &mut String) {
        match self.random.below(24) {
            0 => text.push_str(&format!(" # {}", self.random.pick(&NOISE))),
            1 => text.push_str("   "),
            2 if self.random.chance(20) => text.push_str("\t# &i"),
            _ => {}
        }
        text.push('\n');
        if self.random.chance(4) {
            let indent = self.random.below(9);
            text.push_str(&format!("{}# {}\n", " ".repeat(indent), self.random.pick(&NOISE)));
        }
        if self.random.chance(2) {
            text.push('\n');
        }
    }

    fn scalar(&mut self, scalar: &str, indent: usize, text: &mut String) {
        for (index, part) in scalar.split(FOLD).enumerate() {
            if index > 0 {
                text.push('\n');
                text.push_str(&" ".repeat(indent + self.random.below(4)));
            }
            text.push_str(part);
        }
    }

    pub fn entries(&mut self, map: &Node, indent: usize, text: &mut String) {
        let Node::Map(entries) = map else { return };
        let margin = " ".repeat(indent);
        for (key, value) in entries {
            text.push_str(&margin);
            match self.random.below(40) {
                0 => {
                    text.push_str(&format!("? {key}\n{margin}:"));
                }
                1 if !key.contains(['"', '\'', '!', '<']) => text.push_str(&format!("\"{key}\":")),
                2 if !key.contains(['"', '\'', '!', '<']) => text.push_str(&format!("'{key}' :")),
                3 if !key.contains(['"', '\'', '!', '<']) => text.push_str(&format!("!!str {key}:")),
                _ => text.push_str(&format!("{key}:")),
            }
            self.value(value, indent, text);
        }
    }

    fn items(&mut self, items: &[Node], indent: usize, text: &mut String) {
        for item in items {
            text.push_str(&format!("{}-", " ".repeat(indent)));
            match item {
                // The first entry mostly follows the dash on the same line.
                Node::Map(entries) if !entries.is_empty() && self.random.chance(80) => {
                    let deeper = indent + 2 + self.random.below(2);
                    let mut map = String::new();
                    self.entries(item, deeper, &mut map);
                    text.push_str(&map[indent + 1..]);
                }
                item => self.value(item, indent, text),
            }
        }
    }

    /// Writes a value in flow style.
    pub fn flow(&mut self, node: &Node, indent: usize, text: &mut String) {
        match node {
            Node::Scalar(scalar) => {
                // Characters that end a plain scalar in flow style require quotes.
                let is_plain = !scalar.starts_with(['"', '\'', '!', '&', '*']);
                if is_plain && scalar.contains(['{', '}', '[', ']', ',', '#', '\'']) && scalar.len() > 4 {
                    text.push_str(&format!("\"{}\"", scalar.replace(FOLD, " ")));
                } else {
                    self.scalar(scalar, indent + 1, text);
                }
            }
            Node::Block(_, lines) => text.push_str(&json!(lines.join("\n")).to_string()),
            Node::With(property, node) => {
                text.push_str(&format!("{property} "));
                self.flow(node, indent, text);
            }
            Node::Map(entries) => {
                text.push('{');
                for (index, (key, value)) in entries.iter().enumerate() {
                    self.comma(index, indent, text);
                    match self.random.below(16) {
                        0 => text.push_str(&format!("? {key} : ")),
                        1 if !key.contains(['"', '\'', '!', '<']) => {
                            text.push_str(&format!("\"{key}\":{}", if self.random.chance(40) { "" } else { " " }));
                        }
                        _ => text.push_str(&format!("{key}: ")),
                    }
                    self.flow(value, indent, text);
                }
                self.close(entries.len(), indent, '}', text);
            }
            Node::List(items) => {
                text.push('[');
                for (index, item) in items.iter().enumerate() {
                    self.comma(index, indent, text);
                    self.flow(item, indent, text);
                }
                self.close(items.len(), indent, ']', text);
            }
        }
    }

    fn comma(&mut self, index: usize, indent: usize, text: &mut String) {
        if index > 0 {
            if self.random.chance(5) {
                self.line_break(indent, text);
            }
            text.push(',');
            text.push_str(if self.random.chance(90) { " " } else { "" });
        }
        if self.random.chance(15) {
            self.line_break(indent, text);
        }
    }

    fn close(&mut self, count: usize, indent: usize, bracket: char, text: &mut String) {
        if count > 0 && self.random.chance(8) {
            text.push(',');
        }
        if self.random.chance(15) {
            self.line_break(indent, text);
        } else if self.random.chance(30) || text.ends_with([':', '!']) {
            text.push(' ');
        }
        text.push(bracket);
    }

    /// Breaks the line in flow style, where the next line may start at any column; often at that of the key.
    fn line_break(&mut self, indent: usize, text: &mut String) {
        if self.random.chance(10) {
            text.push_str(&format!(" # {}", self.random.pick(&NOISE)));
        }
        let column = if self.random.chance(40) { indent } else { self.random.below(9) };
        text.push_str(&format!("\n{}", " ".repeat(column)));
        if self.random.chance(4) {
            text.push('\t');
        }
    }
}
