//! Durations as written on the command line: `0s`, `500ms`, `30s`, `24h`, `1d`.

use std::time::Duration;

/// Parses one duration: an integer followed by `ms`, `s`, `m`, `h` or `d`.
///
/// # Errors
///
/// A message that quotes the input and shows the accepted format.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let invalid = || {
        format!(
            "invalid duration {text:?}: expected an integer and a unit (ms, s, m, h or d), \
             for example 500ms, 30s, 5m, 24h or 1d"
        )
    };
    let number: u64 = number.parse().map_err(|_| invalid())?;
    let milliseconds_per_unit: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(invalid()),
    };
    let milliseconds = number
        .checked_mul(milliseconds_per_unit)
        .ok_or_else(|| format!("duration {text:?} is too long"))?;
    Ok(Duration::from_millis(milliseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_every_unit() {
        assert_eq!(parse_duration("0s"), Ok(Duration::ZERO));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration(" 24h "), Ok(Duration::from_secs(86_400)));
        assert_eq!(parse_duration("1d"), parse_duration("24h"));
    }

    #[test]
    fn error_for_invalid_duration_shows_an_example() {
        for bad in ["", "30", "s", "-1s", "1.5s", "3 s", "1w"] {
            let error = parse_duration(bad).unwrap_err();
            assert!(error.contains("for example"), "{bad}: {error}");
        }
        assert!(parse_duration("99999999999999999d").is_err());
    }
}
