//! Reads a file or standard input as text.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use memchr::memchr;
use rayon::prelude::*;

use crate::options::Limits;
use crate::problem::Problem;

/// The size in bytes from which a file is read on all cores: most of the time is needed for new pages of memory.
const LARGE: usize = 1 << 20;

/// A file or standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Input {
    /// The name in reports.
    pub name: Arc<str>,
    /// The path, or `None` for standard input.
    pub path: Option<PathBuf>,
}

/// Returns the text of an input, in one buffer.
pub(crate) fn text(input: &Input, limits: &Limits) -> Result<String, Problem> {
    let bytes = match &input.path {
        None => bounded(io::stdin().lock(), 0, limits),
        Some(path) => File::open(path).and_then(|file| {
            let size = file.metadata().map_or(0, |metadata| metadata.len());
            if size > limits.file_bytes {
                return Ok(None);
            }
            match in_parts(&file, size)? {
                Some(bytes) => Ok(Some(bytes)),
                None => bounded(file, size, limits),
            }
        }),
    };
    match bytes {
        Ok(Some(bytes)) => decode(bytes),
        Ok(None) => Err(Problem::new(format!(
            "the input has more than {} MiB, the maximum; split the file, or evaluate the objects of one namespace at a time",
            limits.file_bytes >> 20
        ))),
        Err(error) => Err(match &input.path {
            Some(path) => Problem::of_path(path, &error),
            None => Problem::new(format!("failed to read standard input: {error}")),
        }),
    }
}

/// Returns the bytes of a large file, read on all cores; `None` if the file is small, or does not have this size any longer.
fn in_parts(file: &File, size: u64) -> io::Result<Option<Vec<u8>>> {
    let Some(length) = usize::try_from(size).ok().filter(|length| *length >= LARGE) else { return Ok(None) };
    let mut bytes = vec![0; length];
    let part = length.div_ceil(rayon::current_num_threads());
    let parts = bytes.par_chunks_mut(part).enumerate();
    let read = parts.try_for_each(|(number, bytes)| file.read_exact_at(bytes, (number * part) as u64));
    match read.and_then(|()| file.read_at(&mut [0], size)) {
        Ok(0) => Ok(Some(bytes)),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns all bytes of `reader`, or `None` if there are more than the limit.
fn bounded(reader: impl Read, size: u64, limits: &Limits) -> io::Result<Option<Vec<u8>>> {
    // With one additional byte, the reader detects the end without growing the buffer.
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
    reader.take(limits.file_bytes + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limits.file_bytes).then_some(bytes))
}

fn decode(bytes: Vec<u8>) -> Result<String, Problem> {
    if let Some(text) = utf_16(&bytes) {
        return text;
    }
    if let Some(position) = memchr(0, &bytes) {
        return Err(Problem::at(
            line_at(&bytes, position),
            "this is a binary file: it contains a NUL byte; YAML or JSON is expected",
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let position = error.utf8_error().valid_up_to();
        let bytes = error.as_bytes();
        Problem::at(
            line_at(bytes, position),
            format!(
                "the text is not UTF-8: invalid byte 0x{:02x} at offset {position}; save the file as UTF-8",
                bytes[position]
            ),
        )
    })
}

/// Returns the text of UTF-16 with a byte order mark, as written by `>` in Windows PowerShell and read by kubectl, or
/// `None` without a byte order mark.
fn utf_16(bytes: &[u8]) -> Option<Result<String, Problem>> {
    let read: fn([u8; 2]) -> u16 = match bytes {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => return None,
    };
    let (pairs, odd) = bytes[2..].as_chunks::<2>();
    let units: Vec<u16> = pairs.iter().map(|pair| read(*pair)).collect();
    let text = String::from_utf16(&units).ok().filter(|text| odd.is_empty() && !text.contains('\0'));
    Some(text.ok_or_else(|| Problem::new("invalid UTF-16 after the byte order mark; save the file as UTF-8")))
}

/// Returns the line of the byte at `position`, from 1.
pub(crate) fn line_at(bytes: &[u8], position: usize) -> usize {
    1 + memchr::memchr_iter(b'\n', &bytes[..position.min(bytes.len())]).count()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_large_file_is_read_in_parts_unless_its_size_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large.yaml");
        let content: Vec<u8> = (0..LARGE + 1001).map(|position| (position % 251) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let read = |size: usize| in_parts(&File::open(&path).unwrap(), size as u64).unwrap();
        assert!(read(content.len()).is_some_and(|bytes| bytes == content));
        assert!(read(content.len() - 1).is_none() && read(content.len() + 1).is_none(), "its size has changed");
        assert!(read(LARGE - 1).is_none(), "it is small");
    }
}
