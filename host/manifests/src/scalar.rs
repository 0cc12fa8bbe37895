//! The types of plain YAML scalars, with the rules of the YAML library of kubectl.
//!
//! <https://github.com/yaml/go-yaml/blob/v2/resolve.go>: YAML 1.1, so `yes` and `on` are true, `0777` is octal, and digits
//! can be grouped by `_`. A timestamp is a string.

use base64::prelude::{BASE64_STANDARD, Engine as _};

use crate::tree::Scalar;

const PREFIX: &str = "tag:yaml.org,2002:";

/// Resolves the type of a scalar. `is_plain` means that it is not quoted. Returns an error if the value does not match
/// its tag.
pub(crate) fn resolve<'a>(text: &'a str, tag: Option<&str>, is_plain: bool) -> Result<Scalar<'a>, String> {
    let Some(tag) = tag else {
        return Ok(if is_plain { untagged(text) } else { Scalar::Text(text) });
    };
    let resolved = match tag.strip_prefix(PREFIX) {
        Some("str" | "timestamp" | "binary") => Scalar::Text(text),
        Some("int" | "float" | "bool" | "null") => untagged(text),
        _ => Scalar::Text(text),
    };
    let fits = match (tag.strip_prefix(PREFIX), resolved) {
        (Some("int"), scalar) => matches!(scalar, Scalar::Integer(_) | Scalar::Unsigned(_)),
        (Some("float"), scalar) => matches!(scalar, Scalar::Integer(_) | Scalar::Float(_)),
        (Some("bool"), scalar) => matches!(scalar, Scalar::Bool(_)),
        (Some("null"), scalar) => scalar == Scalar::Null,
        _ => true,
    };
    if fits {
        Ok(resolved)
    } else {
        Err(format!("the value does not match its tag !!{}", tag.trim_start_matches(PREFIX)))
    }
}

/// Decodes a value with the tag `!!binary`.
pub(crate) fn binary(text: &str) -> Result<String, &'static str> {
    let packed: String = text.chars().filter(|character| !matches!(character, '\r' | '\n')).collect();
    match BASE64_STANDARD.decode(packed) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(_) => Err("the value does not match its tag !!binary: base64 is expected"),
    }
}

/// Converts a key to a string, as kubectl does, or returns `None` if a key cannot have this type.
pub(crate) fn key<'a>(scalar: Scalar<'a>, buffer: &'a mut String) -> Option<&'a str> {
    use std::fmt::Write as _;
    match scalar {
        Scalar::Text(text) => return Some(text),
        Scalar::Bool(value) => return Some(if value { "true" } else { "false" }),
        Scalar::Integer(number) => write!(buffer, "{number}").ok()?,
        Scalar::Float(number) => write!(buffer, "{}", number as f32).ok()?,
        Scalar::Null | Scalar::Unsigned(_) => return None,
    }
    Some(buffer)
}

fn untagged(text: &str) -> Scalar<'_> {
    let Some(first) = text.bytes().next() else { return Scalar::Null };
    match first {
        b'y' | b'Y' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'o' | b'O' | b'~' => word(text),
        b'.' => match text {
            ".nan" | ".NaN" | ".NAN" => Scalar::Float(f64::NAN),
            ".inf" | ".Inf" | ".INF" => Scalar::Float(f64::INFINITY),
            _ => float(text).map_or(Scalar::Text(text), Scalar::Float),
        },
        b'+' | b'-' | b'0'..=b'9' => number(text),
        _ => Scalar::Text(text),
    }
}

fn word(text: &str) -> Scalar<'_> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Scalar::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Scalar::Bool(false),
        "~" | "null" | "Null" | "NULL" => Scalar::Null,
        _ => Scalar::Text(text),
    }
}

fn number(text: &str) -> Scalar<'_> {
    match text {
        "+.inf" | "+.Inf" | "+.INF" => return Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Scalar::Float(f64::NEG_INFINITY),
        _ => {}
    }
    let is_numeric =
        |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b'+' | b'-' | b'.' | b'_' | b'x' | b'X' | b'o' | b'O');
    if !text.bytes().all(is_numeric) {
        return Scalar::Text(text);
    }
    let plain = text.replace('_', "");
    if let Some(number) = integer(&plain) {
        return number;
    }
    float(&plain).map_or(Scalar::Text(text), Scalar::Float)
}

/// Parses a whole number, like `strconv.ParseInt` of Go with base 0.
fn integer(text: &str) -> Option<Scalar<'static>> {
    let (is_negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (digits, radix) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&digits[2..], 16),
        [b'0', b'o' | b'O', ..] => (&digits[2..], 8),
        [b'0', b'b' | b'B', ..] => (&digits[2..], 2),
        [b'0', _, ..] => (&digits[1..], 8),
        _ => (digits, 10),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    match (is_negative, i64::try_from(magnitude)) {
        (false, Ok(number)) => Some(Scalar::Integer(number)),
        (false, Err(_)) => Some(Scalar::Unsigned(magnitude)),
        (true, Ok(number)) => Some(Scalar::Integer(-number)),
        (true, Err(_)) => (magnitude == 1 << 63).then_some(Scalar::Integer(i64::MIN)),
    }
}

/// Parses `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`.
fn float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) =
        unsigned.split_once(['e', 'E']).map_or((unsigned, None), |(mantissa, exponent)| (mantissa, Some(exponent)));
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let has_digits = !whole.is_empty() || !fraction.is_empty();
    let has_exponent = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !digits.is_empty() && are_digits(digits)
    });
    // For kubectl, a number that is out of range is a string.
    let is_float = has_digits && has_exponent && are_digits(whole) && are_digits(fraction);
    if is_float { text.parse().ok().filter(|number: &f64| number.is_finite()) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Scalar<'_> {
        resolve(text, None, true).unwrap_or(Scalar::Null)
    }

    #[test]
    fn plain_scalars_have_the_types_of_yaml_1_1() {
        for (text, scalar) in [
            ("", Scalar::Null),
            ("~", Scalar::Null),
            ("nULL", Scalar::Text("nULL")),
            ("yes", Scalar::Bool(true)),
            ("Off", Scalar::Bool(false)),
            ("nginx", Scalar::Text("nginx")),
            ("42", Scalar::Integer(42)),
            ("-1_000", Scalar::Integer(-1000)),
            ("0777", Scalar::Integer(511)),
            ("0o17", Scalar::Integer(15)),
            ("0x1F", Scalar::Integer(31)),
            ("0b101", Scalar::Integer(5)),
            ("089", Scalar::Float(89.0)),
            ("18446744073709551615", Scalar::Unsigned(u64::MAX)),
            ("-9223372036854775808", Scalar::Integer(i64::MIN)),
            ("1.5", Scalar::Float(1.5)),
            (".5", Scalar::Float(0.5)),
            ("1.", Scalar::Float(1.0)),
            ("1e3", Scalar::Float(1000.0)),
            ("1e400", Scalar::Text("1e400")),
            ("-1.5e400", Scalar::Text("-1.5e400")),
            (".1e400", Scalar::Text(".1e400")),
            ("1.29.3", Scalar::Text("1.29.3")),
            ("1:30", Scalar::Text("1:30")),
            ("100m", Scalar::Text("100m")),
            ("2026-01-31", Scalar::Text("2026-01-31")),
            ("2026-01-31T12:00:00Z", Scalar::Text("2026-01-31T12:00:00Z")),
            ("-", Scalar::Text("-")),
            (".", Scalar::Text(".")),
            ("e3", Scalar::Text("e3")),
        ] {
            assert_eq!(plain(text), scalar, "{text:?}");
        }
    }

    #[test]
    fn tags_override_the_type_of_a_scalar() {
        assert_eq!(resolve("5", Some("tag:yaml.org,2002:str"), true), Ok(Scalar::Text("5")));
        assert_eq!(resolve("5", Some("!local"), true), Ok(Scalar::Text("5")));
        assert_eq!(resolve("5", Some("tag:yaml.org,2002:int"), false), Ok(Scalar::Integer(5)));
        assert!(resolve("five", Some("tag:yaml.org,2002:int"), true).is_err());
        assert_eq!(resolve("5", None, false), Ok(Scalar::Text("5")));
    }

    #[test]
    fn keys_are_converted_to_strings() {
        let text = |scalar| key(scalar, &mut String::new()).map(str::to_owned);
        assert_eq!(text(plain("yes")).as_deref(), Some("true"));
        assert_eq!(text(plain("0x10")).as_deref(), Some("16"));
        assert_eq!(text(plain("1.5")).as_deref(), Some("1.5"));
        assert_eq!(text(plain("~")), None);
    }
}
