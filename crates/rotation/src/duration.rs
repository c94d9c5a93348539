//! Durations in manifests and flags: `30s`, `3m`, `1h30m`, `720h`.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use chrono::TimeDelta;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Duration between zero and [`K8sDuration::MAX`], in whole milliseconds.
///
/// The format is that of Go and Kubernetes without fractions and signs: one to four numbers of at
/// most six digits, each with the unit `ms`, `s`, `m` or `h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct K8sDuration(Duration);

/// Why a text is not a valid [`K8sDuration`]. Users see the message.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum K8sDurationError {
    /// The text does not match [`K8sDuration::PATTERN`].
    #[error("not a duration; use numbers with the units h, m, s or ms, such as 30s, 3m or 1h30m")]
    Malformed,
    /// The duration is longer than [`K8sDuration::MAX`].
    #[error("longer than the maximum of {max}", max = K8sDuration::MAX)]
    TooLong,
}

impl K8sDuration {
    /// Maximum: ten years of 365 days. A longer duration is most likely a typing error.
    pub const MAX: Self = Self::from_secs(87_600 * 3600);
    /// Zero.
    pub const ZERO: Self = Self(Duration::ZERO);
    /// Regular expression for the CustomResourceDefinitions.
    pub const PATTERN: &'static str = "^([0-9]{1,6}(ms|s|m|h)){1,4}$";

    /// Returns a duration of whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Returns a duration of whole milliseconds.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(Duration::from_millis(milliseconds))
    }

    /// Converts the duration for timers.
    pub const fn to_std(self) -> Duration {
        self.0
    }

    /// Converts the duration for arithmetic with timestamps.
    pub fn to_delta(self) -> TimeDelta {
        // The conversion cannot fail: ten years fit into a TimeDelta.
        TimeDelta::from_std(self.0).unwrap_or(TimeDelta::MAX)
    }

    /// Returns whether the duration is zero.
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl FromStr for K8sDuration {
    type Err = K8sDurationError;

    fn from_str(text: &str) -> Result<Self, K8sDurationError> {
        let mut rest = text;
        let mut total: u64 = 0;
        for _ in 0..4 {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 || digits > 6 {
                return Err(K8sDurationError::Malformed);
            }
            let (number, tail) = rest.split_at(digits);
            let number: u64 = number.parse().map_err(|_| K8sDurationError::Malformed)?;
            // "ms" comes before "m", which is a prefix of it.
            let (unit, tail) = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)]
                .into_iter()
                .find_map(|(name, unit)| tail.strip_prefix(name).map(|tail| (unit, tail)))
                .ok_or(K8sDurationError::Malformed)?;
            total += number * unit;
            rest = tail;
            if rest.is_empty() {
                let duration = Self::from_millis(total);
                if duration > Self::MAX {
                    return Err(K8sDurationError::TooLong);
                }
                return Ok(duration);
            }
        }
        Err(K8sDurationError::Malformed)
    }
}

impl fmt::Display for K8sDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.0.as_millis();
        if total == 0 {
            return f.write_str("0s");
        }
        let parts = [
            (total / 3_600_000, "h"),
            (total / 60_000 % 60, "m"),
            (total / 1000 % 60, "s"),
            (total % 1000, "ms"),
        ];
        for (number, unit) in parts {
            if number > 0 {
                write!(f, "{number}{unit}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for K8sDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for K8sDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for K8sDuration {
    fn schema_name() -> Cow<'static, str> {
        "K8sDuration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": 32, "pattern": Self::PATTERN })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parses_valid_durations() {
        for (text, milliseconds) in [
            ("0s", 0),
            ("250ms", 250),
            ("30s", 30_000),
            ("3m", 180_000),
            ("1h30m", 5_400_000),
            ("720h", 2_592_000_000),
            ("1m30s500ms", 90_500),
        ] {
            assert_eq!(text.parse(), Ok(K8sDuration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn rejects_invalid_durations_and_names_the_maximum() {
        for text in
            ["", " ", "-5m", "+5m", "5", "h", "1d", "1.5h", "1h ", "٣s", "1h1m1s1ms1h", "1000000s"]
        {
            assert_eq!(text.parse::<K8sDuration>(), Err(K8sDurationError::Malformed), "{text:?}");
        }
        assert_eq!("87600h1ms".parse::<K8sDuration>(), Err(K8sDurationError::TooLong));
        assert_eq!("999999h".parse::<K8sDuration>(), Err(K8sDurationError::TooLong));
        assert!(K8sDurationError::TooLong.to_string().contains("87600h"));
    }

    proptest! {
        #[test]
        fn printed_duration_parses_back(milliseconds in 0..=K8sDuration::MAX.0.as_millis() as u64) {
            let duration = K8sDuration::from_millis(milliseconds);
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }

        #[test]
        fn parses_or_rejects_any_text(text in "\\PC{0,40}") {
            let _ = text.parse::<K8sDuration>();
        }
    }
}
