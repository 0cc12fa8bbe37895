//! Reads one file or standard input as text.

use std::fs::File;
use std::io::{self, Read};

use memchr::memchr;

use super::Limits;
use super::paths::Input;
use super::problem::Problem;

/// The bytes that UTF-16 text starts with.
const UTF_16_MARKS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// The text of an input, in one buffer.
pub(super) fn text(input: &Input, limits: &Limits) -> Result<String, Problem> {
    let bytes = match &input.path {
        None => bounded(io::stdin().lock(), 0, limits),
        Some(path) => File::open(path).and_then(|file| {
            let size = file.metadata().map_or(0, |metadata| metadata.len());
            if size > limits.file_bytes { Ok(None) } else { bounded(file, size, limits) }
        }),
    };
    match bytes {
        Ok(Some(bytes)) => decode(bytes),
        Ok(None) => Err(Problem::new(format!(
            "more than {} MiB, which is more than is read at once; split the file, or give the objects of one namespace \
             at a time",
            limits.file_bytes >> 20
        ))),
        Err(error) => Err(match &input.path {
            Some(path) => Problem::of_path(path, &error),
            None => Problem::new(format!("standard input cannot be read: {error}")),
        }),
    }
}

/// All bytes of `reader`, or none where there are more than the limit.
fn bounded(reader: impl Read, size: u64, limits: &Limits) -> io::Result<Option<Vec<u8>>> {
    // One byte more than the file has lets the reader see the end without growing the buffer.
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
    reader.take(limits.file_bytes + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limits.file_bytes).then_some(bytes))
}

fn decode(bytes: Vec<u8>) -> Result<String, Problem> {
    if UTF_16_MARKS.iter().any(|mark| bytes.starts_with(mark)) {
        return Err(Problem::new(
            "the text is UTF-16, as `>` in Windows PowerShell writes it; save it as UTF-8 (`| Out-File -Encoding utf8`)",
        ));
    }
    if let Some(position) = memchr(0, &bytes) {
        return Err(Problem::at(
            line_at(&bytes, position),
            "this is a binary file, no text: there is a NUL byte in it; give YAML or JSON",
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let position = error.utf8_error().valid_up_to();
        let bytes = error.as_bytes();
        Problem::at(
            line_at(bytes, position),
            format!(
                "the text is not UTF-8: byte 0x{:02x} at offset {position} stands for no character; save the file as UTF-8",
                bytes[position]
            ),
        )
    })
}

/// The line that the byte at `position` is in, from 1.
pub(super) fn line_at(bytes: &[u8], position: usize) -> usize {
    1 + memchr::memchr_iter(b'\n', &bytes[..position.min(bytes.len())]).count()
}
