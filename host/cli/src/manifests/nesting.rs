//! How deep the brackets of a YAML text are nested, in one pass over its bytes.
//!
//! The parser looks at every open bracket for each token, so its time grows with the square of the nesting. This reads just
//! enough YAML to tell brackets that open collections from those in scalars and comments.

/// Whether there are brackets enough. This is a search of bytes, and says no to nearly every text.
pub(super) fn may_be_deeper_than(text: &str, deepest: usize) -> bool {
    memchr::memchr2_iter(b'[', b'{', text.as_bytes()).nth(deepest).is_some()
}

/// The line in which the nesting of brackets becomes deeper than `deepest`.
pub(super) fn deeper_than(text: &str, deepest: usize) -> Option<usize> {
    let mut scanner = Scanner { bytes: text.as_bytes(), position: 0, line: 1, deepest };
    scanner.document()
}

struct Scanner<'a> {
    bytes: &'a [u8],
    position: usize,
    line: usize,
    deepest: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.position).copied()
    }

    fn skip(&mut self) {
        if self.peek() == Some(b'\n') {
            self.line += 1;
        }
        self.position += 1;
    }

    fn is_at_break(&self, offset: usize) -> bool {
        matches!(self.bytes.get(self.position + offset), None | Some(b' ' | b'\t' | b'\r' | b'\n'))
    }

    /// Skips blanks and says how many there were.
    fn blanks(&mut self) -> usize {
        let start = self.position;
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.position += 1;
        }
        self.position - start
    }

    fn comment(&mut self) {
        let rest = &self.bytes[self.position..];
        self.position += memchr::memchr(b'\n', rest).unwrap_or(rest.len());
    }

    /// Looks at a line at a time, each of which starts outside of brackets and quotes.
    fn document(&mut self) -> Option<usize> {
        while self.peek().is_some() {
            let start = self.position;
            // The column of the key or dash that a block scalar in this line would belong to; none for the whole document.
            let mut parent = Some(self.blanks());
            if self.position == start && self.bytes[start..].starts_with(b"---") {
                self.position += 3;
                parent = None;
            }
            loop {
                self.blanks();
                match self.peek() {
                    None => break,
                    Some(b'\n') => {
                        self.skip();
                        break;
                    }
                    Some(b'#') => self.comment(),
                    Some(b'-' | b'?' | b':') if self.is_at_break(1) => {
                        parent = Some(self.position - start);
                        self.position += 1;
                        let indicator = self.position;
                        self.blanks();
                        if self.position > indicator && !matches!(self.peek(), Some(b'|' | b'>' | b'\r' | b'\n') | None)
                        {
                            parent = Some(self.position - start);
                        }
                    }
                    Some(b'[' | b'{') => {
                        if self.flow() {
                            return Some(self.line);
                        }
                    }
                    Some(b'"' | b'\'') => self.quoted(),
                    Some(b'|' | b'>') => {
                        self.comment();
                        self.block_scalar(parent);
                        break;
                    }
                    Some(b'&' | b'!' | b'*') => {
                        while !self.is_at_break(0) {
                            self.position += 1;
                        }
                    }
                    Some(_) => self.plain(),
                }
            }
        }
        None
    }

    /// A plain scalar: to the end of the line, a comment or the colon that makes it a key.
    fn plain(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b'\n' => return,
                b':' if self.is_at_break(1) => {
                    self.position += 1;
                    return;
                }
                b' ' | b'\t' if self.bytes.get(self.position + 1) == Some(&b'#') => return,
                _ => self.position += 1,
            }
        }
    }

    fn quoted(&mut self) {
        let quote = self.peek();
        self.skip();
        while let Some(byte) = self.peek() {
            if byte == b'\\' && quote == Some(b'"') {
                self.skip();
            }
            self.skip();
            if Some(byte) == quote {
                // In single quotes, two of them stand for one.
                if byte == b'\'' && self.peek() == Some(b'\'') {
                    self.skip();
                } else {
                    break;
                }
            }
        }
        if self.peek() == Some(b':') {
            self.position += 1;
        }
    }

    /// The lines of a block scalar are those that are indented deeper than what it belongs to.
    fn block_scalar(&mut self, parent: Option<usize>) {
        while self.peek().is_some() {
            if self.peek() == Some(b'\n') {
                self.skip();
            }
            let start = self.position;
            while self.peek() == Some(b' ') {
                self.position += 1;
            }
            let indentation = self.position - start;
            let is_blank = matches!(self.peek(), None | Some(b'\r' | b'\n'));
            if !is_blank && parent.is_some_and(|parent| indentation <= parent) {
                self.position = start;
                return;
            }
            self.comment();
        }
    }

    /// Brackets with all that is in them; whether they are nested too deep.
    fn flow(&mut self) -> bool {
        let mut depth = 0_usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'[' | b'{' => {
                    depth += 1;
                    if depth > self.deepest {
                        return true;
                    }
                    self.position += 1;
                }
                b']' | b'}' => {
                    depth -= 1;
                    self.position += 1;
                    if depth == 0 {
                        return false;
                    }
                }
                b'"' | b'\'' if self.starts_token() => self.quoted(),
                b'#' if self.is_after_blank() => self.comment(),
                _ => self.skip(),
            }
        }
        false
    }

    /// Whether a quote here opens a scalar and is not part of a plain one.
    fn starts_token(&self) -> bool {
        self.is_after_blank() || matches!(self.bytes[self.position - 1], b'[' | b'{' | b',' | b':' | b'?')
    }

    fn is_after_blank(&self) -> bool {
        self.position == 0 || matches!(self.bytes[self.position - 1], b' ' | b'\t' | b'\n' | b'\r')
    }
}
