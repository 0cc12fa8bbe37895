//! The reasons why a text is not an image reference, and their messages.

use std::fmt;

use super::{MAX_NAME, MAX_TAG};

/// The longest quote of a reference in a message, in bytes.
const MAX_QUOTE: usize = 64;

/// The reason why a text is not an image reference. `Display` shows a short reason for `invalid image reference: ...`,
/// and quotes at most 64 bytes of each part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidReference<'a> {
    /// Empty, or only white space.
    Empty,
    /// An unresolved placeholder of a template, such as `${TAG}`.
    Placeholder(&'a str),
    /// White space around the reference.
    SurroundingWhiteSpace,
    /// A URL, such as `https://registry.example.com/nginx`.
    UrlScheme,
    /// 64 hexadecimal digits, which are an image ID.
    ImageId,
    /// No repository.
    NameMissing,
    /// A repository with more than 255 characters.
    NameTooLong,
    /// An upper-case letter in the repository.
    NameNotLowerCase,
    /// An invalid character in the repository.
    NameCharacter(char),
    /// An empty component before, between or after slashes.
    NameComponentEmpty,
    /// A component of the repository with a misplaced separator, such as `-app` or `my..app`.
    NameSeparator(&'a str),
    /// A registry host that is neither a DNS name nor an IP address.
    RegistryHost(&'a str),
    /// A registry port that is not a number.
    RegistryPort(&'a str),
    /// A colon without a tag.
    TagEmpty,
    /// A tag with more than 128 characters.
    TagTooLong,
    /// A colon in the tag.
    TagColon,
    /// A tag that starts with a dot or a dash.
    TagStart(char),
    /// An invalid character in the tag.
    TagCharacter(char),
    /// An `@` without a digest.
    DigestEmpty,
    /// More than one `@`.
    DigestRepeated,
    /// A digest without the format `algorithm:digits`.
    DigestFormat(&'a str),
    /// An algorithm that container runtimes do not support.
    DigestAlgorithm(&'a str),
    /// A digest whose digits do not match its algorithm.
    DigestDigits {
        /// The algorithm.
        algorithm: &'static str,
        /// The required number of lower-case hexadecimal digits.
        digits: usize,
    },
}

/// Formats a text for a message, truncated to `bytes` with `...` if it is longer.
pub fn excerpt(text: &str, bytes: usize) -> impl fmt::Display + '_ {
    let start = &text[..text.floor_char_boundary(bytes)];
    let more = if start.len() < text.len() { "..." } else { "" };
    fmt::from_fn(move |f| write!(f, "{start}{more}"))
}

/// Formats a character for a message, with its code if it could be invisible or ambiguous.
fn character(c: char) -> impl fmt::Display {
    fmt::from_fn(move |f| match c {
        '\0'..='\x1f' | '\x7f' => write!(f, "'{}'", c.escape_default()),
        ' '..='~' => write!(f, "'{c}'"),
        _ => write!(f, "'{c}' (U+{:04X})", c as u32),
    })
}

impl fmt::Display for InvalidReference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quote = |text| excerpt(text, MAX_QUOTE);
        match *self {
            Self::Empty => f.write_str("no image is given"),
            Self::Placeholder(text) => write!(f, "unresolved placeholder {}", quote(text)),
            Self::SurroundingWhiteSpace => f.write_str("leading or trailing white space"),
            Self::UrlScheme => f.write_str("a URL scheme such as https:// is not allowed"),
            Self::ImageId => f.write_str("64 hexadecimal digits are an image ID, not a repository name"),
            Self::NameMissing => f.write_str("the repository name is missing"),
            Self::NameTooLong => write!(f, "the repository name is longer than {MAX_NAME} characters"),
            Self::NameNotLowerCase => f.write_str("the repository name must be lower case"),
            Self::NameCharacter(c) => write!(f, "the repository name has the invalid character {}", character(c)),
            Self::NameComponentEmpty => f.write_str("the repository name has an empty component before or after a /"),
            Self::NameSeparator(component) => write!(
                f,
                "the component {} of the repository name has a misplaced separator; one of . _ __ or dashes may separate \
                 letters and digits",
                quote(component)
            ),
            Self::RegistryHost("") => f.write_str("the host of the registry is missing"),
            Self::RegistryHost(host) => write!(f, "the registry host {} is not valid", quote(host)),
            Self::RegistryPort("") => f.write_str("the port of the registry is missing"),
            Self::RegistryPort(port) => write!(f, "the registry port {} is not a number", quote(port)),
            Self::TagEmpty => f.write_str("the tag after : is empty"),
            Self::TagTooLong => write!(f, "the tag is longer than {MAX_TAG} characters"),
            Self::TagColon => f.write_str("the tag has a colon; only a digest has one, and it follows an @"),
            Self::TagStart(c) => {
                write!(f, "the tag starts with {}, not with a letter, a digit or an underscore", character(c))
            }
            Self::TagCharacter(c) => write!(f, "the tag has the invalid character {}", character(c)),
            Self::DigestEmpty => f.write_str("the digest after @ is empty"),
            Self::DigestRepeated => f.write_str("there is more than one @"),
            Self::DigestFormat(text) => {
                write!(f, "{} after @ is not a digest; a digest looks like sha256:<64 hexadecimal digits>", quote(text))
            }
            Self::DigestAlgorithm(algorithm) => {
                write!(f, "the digest algorithm {} is not supported; use sha256, sha384 or sha512", quote(algorithm))
            }
            Self::DigestDigits { algorithm, digits } => {
                write!(f, "a {algorithm} digest has exactly {digits} lower-case hexadecimal digits")
            }
        }
    }
}

impl std::error::Error for InvalidReference<'_> {}
