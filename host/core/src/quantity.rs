//! Kubernetes quantities, such as `100m` or `1.5Gi`, as comparable numbers.

/// The suffixes with their factors and divisors: a division by 1,000 is exact, and a multiplication by 0.001 is not.
/// <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>
const SUFFIXES: [(&str, f64, f64); 14] = [
    ("Ki", 1024.0, 1.0),
    ("Mi", 1_048_576.0, 1.0),
    ("Gi", 1_073_741_824.0, 1.0),
    ("Ti", 1_099_511_627_776.0, 1.0),
    ("Pi", 1_125_899_906_842_624.0, 1.0),
    ("Ei", 1_152_921_504_606_846_976.0, 1.0),
    ("m", 1.0, 1e3),
    ("k", 1e3, 1.0),
    ("M", 1e6, 1.0),
    ("G", 1e9, 1.0),
    ("T", 1e12, 1.0),
    ("P", 1e15, 1.0),
    ("E", 1e18, 1.0),
    ("", 1.0, 1.0),
];

/// Returns the value of a quantity that is not negative and has no exponent; `None` for any other text.
///
/// A float is precise enough to compare the quantities of manifests, and has the range for all of them.
pub fn value(text: &str) -> Option<f64> {
    scaled(text, 1.0)
}

/// Returns the value of a quantity in thousandths, or in units, rounded up.
pub fn rounded_up(text: &str, in_thousandths: bool) -> Option<u64> {
    let value = scaled(text, if in_thousandths { 1e3 } else { 1.0 })?.ceil();
    // Floats beyond the range are converted to the largest number.
    value.is_finite().then_some(value as u64)
}

fn scaled(text: &str, scale: f64) -> Option<f64> {
    let digits = text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let (_, factor, divisor) = SUFFIXES.into_iter().find(|(known, ..)| *known == suffix)?;
    if number.starts_with('.') || number.ends_with('.') {
        return None;
    }
    let number: f64 = number.parse().ok()?;
    // The product is exact for all usual quantities, and the quotient of whole numbers is then exact too.
    Some(number * factor * scale / divisor)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_compare_across_suffixes() {
        for (one, other) in [
            ("500m", "0.5"),
            ("300m", "0.3"),
            ("1000m", "1"),
            ("1Gi", "1024Mi"),
            ("1.5Gi", "1536Mi"),
            ("1k", "1000"),
            ("1E", "1000P"),
            ("1Ei", "1024Pi"),
            ("0", "0m"),
            ("007", "7"),
        ] {
            assert_eq!(value(one), value(other), "{one} {other}");
            assert!(value(one).is_some(), "{one}");
        }
        for (less, more) in [("999m", "1"), ("1G", "1Gi"), ("900Mi", "1Gi"), ("1T", "1Ti"), ("100m", "100")] {
            assert!(value(less) < value(more), "{less} {more}");
        }
    }

    #[test]
    fn values_are_rounded_up() {
        for (text, thousandths, units) in [
            ("300m", 300, 1),
            ("0.1", 100, 1),
            ("2", 2_000, 2),
            ("1.5Gi", 1_610_612_736_000, 1_610_612_736),
            ("0", 0, 0),
        ] {
            assert_eq!((rounded_up(text, true), rounded_up(text, false)), (Some(thousandths), Some(units)), "{text}");
        }
        for millis in 0..5_000 {
            assert_eq!(rounded_up(&format!("{millis}m"), true), Some(millis));
        }
        assert_eq!(rounded_up(&"9".repeat(400), false), None);
        assert_eq!(rounded_up("99999Ei", false), Some(u64::MAX));
    }

    #[test]
    fn an_invalid_quantity_has_no_value() {
        for text in
            ["", "m", "-1", "+1", "1e3", "1 Gi", "1gi", "1KI", ".5", "5.", "1.2.3", "lots", "1Gi ", "NaN", "inf"]
        {
            assert_eq!(value(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_a_value_or_none(text in ".*") {
            prop_assert!(value(&text).is_none_or(|value| value >= 0.0));
        }
    }
}
