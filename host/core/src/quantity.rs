//! Kubernetes quantities, such as `100m`, `1.5Gi` or `1e9`, as comparable numbers.

/// The suffixes with their factors and divisors: a division by 1,000 is exact, and a multiplication by 0.001 is not.
/// <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>
const SUFFIXES: [(&str, f64, f64); 16] = [
    ("Ki", 1024.0, 1.0),
    ("Mi", 1_048_576.0, 1.0),
    ("Gi", 1_073_741_824.0, 1.0),
    ("Ti", 1_099_511_627_776.0, 1.0),
    ("Pi", 1_125_899_906_842_624.0, 1.0),
    ("Ei", 1_152_921_504_606_846_976.0, 1.0),
    ("n", 1.0, 1e9),
    ("u", 1.0, 1e6),
    ("m", 1.0, 1e3),
    ("k", 1e3, 1.0),
    ("M", 1e6, 1.0),
    ("G", 1e9, 1.0),
    ("T", 1e12, 1.0),
    ("P", 1e15, 1.0),
    ("E", 1e18, 1.0),
    ("", 1.0, 1.0),
];

/// No quantity is larger than 2^63-1 or has digits below 10^-9, so that greater exponents make no difference.
const MAX_EXPONENT: i32 = 300;

/// A quantity that is not negative. A float is precise enough to compare the quantities of manifests, and has the range for all
/// of them.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    number: f64,
    factor: f64,
    divisor: f64,
}

impl Quantity {
    /// Parses a quantity with the grammar of `resource.ParseQuantity` of `k8s.io/apimachinery`. Returns `None` for any other text,
    /// and for negative quantities, which the API server rejects in resources.
    pub fn parse(text: &str) -> Option<Self> {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        // Unlike the grammar of quantities, that of floats has no number without digits; both have `.5` and `5.`.
        let number: f64 = number.parse().ok()?;
        if text.starts_with('-') && number > 0.0 {
            return None;
        }
        let (factor, divisor) = match SUFFIXES.into_iter().find(|(known, ..)| *known == suffix) {
            Some((_, factor, divisor)) => (factor, divisor),
            None => power_of_ten(suffix.strip_prefix(['e', 'E'])?)?,
        };
        Some(Self { number, factor, divisor })
    }

    /// The value in units.
    pub fn value(self) -> f64 {
        self.scaled(1.0)
    }

    /// The value in units, rounded up.
    pub fn units(self) -> u64 {
        // Floats beyond the range are converted to the largest number.
        self.scaled(1.0).ceil() as u64
    }

    /// The value in thousandths, rounded up.
    pub fn thousandths(self) -> u64 {
        self.scaled(1e3).ceil() as u64
    }

    fn scaled(self, scale: f64) -> f64 {
        // The product is exact for all usual quantities, and the quotient of whole numbers is then exact too.
        self.number * self.factor * scale / self.divisor
    }
}

/// Returns the factor and the divisor of an exponent.
fn power_of_ten(exponent: &str) -> Option<(f64, f64)> {
    let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let power = 10_f64.powi(digits.parse().unwrap_or(MAX_EXPONENT).min(MAX_EXPONENT));
    Some(if exponent.starts_with('-') { (1.0, power) } else { (power, 1.0) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(text: &str) -> Option<f64> {
        Quantity::parse(text).map(Quantity::value)
    }

    #[test]
    fn values_compare_across_suffixes() {
        for (one, other) in [
            ("500m", "0.5"),
            ("300m", "0.3"),
            ("1000m", "1"),
            ("1000000u", "1"),
            ("300000000n", "300m"),
            ("1Gi", "1024Mi"),
            ("1.5Gi", "1536Mi"),
            ("1k", "1000"),
            ("1E", "1000P"),
            ("1Ei", "1024Pi"),
            ("0", "0m"),
            ("-0", "0"),
            ("007", "7"),
            ("+1", "1"),
            (".5", "500m"),
            ("5.", "5"),
            ("1e3", "1k"),
            ("1E3", "1k"),
            ("1e+3", "1k"),
            ("3e-1", "300m"),
            ("129e6", "129M"),
            ("1.5e0", "1500m"),
            ("0e400", "0"),
        ] {
            assert_eq!(value(one), value(other), "{one} {other}");
            assert!(value(one).is_some(), "{one}");
        }
        for (less, more) in [
            ("999m", "1"),
            ("1G", "1Gi"),
            ("900Mi", "1Gi"),
            ("1T", "1Ti"),
            ("100m", "100"),
            ("4Gi", "1e12"),
            ("1E", "1e99999999999"),
            ("1e-99999999999", "1n"),
        ] {
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
            ("-0", 0, 0),
            ("1n", 1, 1),
            ("1001u", 2, 1),
            ("129e6", 129_000_000_000, 129_000_000),
            ("1e-99", 1, 1),
            ("99999Ei", u64::MAX, u64::MAX),
            ("1e99", u64::MAX, u64::MAX),
        ] {
            let quantity = Quantity::parse(text).expect(text);
            assert_eq!((quantity.thousandths(), quantity.units()), (thousandths, units), "{text}");
        }
        for millis in 0..5_000 {
            assert_eq!(Quantity::parse(&format!("{millis}m")).map(Quantity::thousandths), Some(millis));
        }
        assert_eq!(Quantity::parse(&"9".repeat(400)).map(Quantity::units), Some(u64::MAX));
    }

    #[test]
    fn an_invalid_quantity_has_no_value() {
        for text in [
            "", "m", "-1", "-1m", "--0", "+", ".", "1 Gi", "1gi", "1KI", "1K", "1.2.3", "lots", "1Gi ", "NaN", "inf",
            "1e", "1e+", "1e1.5", "1e3Ki", "1ee3", "1e+-3", "e3", "0x10", "1_000",
        ] {
            assert_eq!(value(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_a_value_or_none(text in r"[+-]?[0-9.]{0,4}([eE][+-]?[0-9]{0,4}|[a-zA-Z]{0,2})|.*") {
            prop_assert!(value(&text).is_none_or(|value| value >= 0.0));
        }
    }
}
