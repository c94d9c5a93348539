//! Search patterns for secret values in every encoding in which they could be written.

use std::{collections::BTreeSet, fs::File, io::BufReader, path::Path};

use aho_corasick::AhoCorasick;
use anyhow::Result;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

/// Number of bytes of a value that are searched for: too many to occur by chance, and few enough to
/// find a partial leak.
const PREFIX_LENGTH: usize = 16;

/// Encoding of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Encoding {
    Plain,
    /// Base64, standard or URL-safe, at any position in the encoded text.
    Base64,
    /// Percent-encoded as in a query, a path or a form, or every byte.
    Percent,
    /// Escaped as in JSON, once or twice, or every character. Rust's `Debug` of a text is like that.
    Json,
    /// Hexadecimal digits.
    Hex,
    /// Decimal numbers, as in Rust's `Debug` of bytes.
    Numbers,
}

/// Values in each encoding.
pub struct SecretPatterns {
    automaton: AhoCorasick,
    /// The encoding of each pattern of the automaton.
    encodings: Vec<Encoding>,
    values: usize,
}

impl SecretPatterns {
    /// Returns the patterns of values in all encodings.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        Self::with_many(values, &[])
    }

    /// Returns the patterns of some values in all encodings, and of a large number of others, such
    /// as tokens, only in plain text and base64.
    pub fn with_many<'a>(
        values: impl IntoIterator<Item = &'a str>,
        many: &[&'a str],
    ) -> Result<Self> {
        let (mut distinct, mut patterns) = (BTreeSet::new(), BTreeSet::new());
        for value in values {
            distinct.insert(value);
            patterns.extend(encodings(significant_part(value)));
        }
        for value in many {
            distinct.insert(value);
            let all = encodings(significant_part(value)).into_iter();
            patterns.extend(
                all.filter(|pattern| {
                    matches!(pattern.encoding, Encoding::Plain | Encoding::Base64)
                }),
            );
        }
        let automaton = AhoCorasick::new(patterns.iter().map(|pattern| &pattern.text))?;
        let encodings = patterns.into_iter().map(|pattern| pattern.encoding).collect();
        Ok(Self { automaton, encodings, values: distinct.len() })
    }

    /// Returns the number of distinct values.
    pub fn values(&self) -> usize {
        self.values
    }

    /// Returns the encoding in which a text contains one of the values.
    pub fn find(&self, text: &str) -> Option<Encoding> {
        self.automaton.find(text).map(|found| self.encodings[found.pattern().as_usize()])
    }

    /// Returns the encoding in which a file of any size contains one of the values.
    pub fn find_in_file(&self, path: &Path) -> Result<Option<Encoding>> {
        let file = BufReader::new(File::open(path)?);
        let found = self.automaton.stream_find_iter(file).next().transpose()?;
        Ok(found.map(|found| self.encodings[found.pattern().as_usize()]))
    }
}

/// Pattern that is searched for.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Pattern {
    text: Vec<u8>,
    encoding: Encoding,
}

/// Returns the part that distinguishes a value from others: its beginning, or the beginning of its
/// signature if it is a JWT, because all JWTs begin with similar headers.
fn significant_part(value: &str) -> &str {
    let signature = value.rsplit('.').next().filter(|_| value.starts_with("eyJ"));
    let value = signature.unwrap_or(value);
    &value[..value.floor_char_boundary(PREFIX_LENGTH)]
}

/// Returns the patterns of a text in every encoding.
fn encodings(text: &str) -> Vec<Pattern> {
    let bytes = text.as_bytes();
    let mut all = vec![(Encoding::Plain, text.to_owned())];
    all.extend(base64(bytes).map(|encoded| (Encoding::Base64, encoded)));
    for case in [HexCase::Upper, HexCase::Lower] {
        all.extend([
            (Encoding::Percent, percent_encode(bytes, case, is_unreserved, "%20")),
            (Encoding::Percent, percent_encode(bytes, case, is_kept_in_forms, "+")),
            (
                Encoding::Percent,
                percent_encode(bytes, case, |byte| byte.is_ascii_alphanumeric(), "%20"),
            ),
            (Encoding::Percent, percent_encode(bytes, case, |_| false, "%20")),
            (Encoding::Hex, bytes.iter().map(|byte| case.digits(*byte)).collect()),
            (Encoding::Json, escape_all(text, case)),
        ]);
    }
    all.push((Encoding::Json, json_escape(text)));
    all.push((Encoding::Json, json_escape(&json_escape(text))));
    let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
    all.push((Encoding::Numbers, numbers.join(", ")));
    all.push((Encoding::Numbers, numbers.join(",")));
    // A text that an encoding doesn't change is found in plain text.
    all.into_iter()
        .filter(|(encoding, encoded)| *encoding == Encoding::Plain || encoded != text)
        .map(|(encoding, encoded)| Pattern { text: encoded.into_bytes(), encoding })
        .collect()
}

#[derive(Clone, Copy)]
enum HexCase {
    Upper,
    Lower,
}

impl HexCase {
    fn digits(self, byte: u8) -> String {
        match self {
            Self::Upper => format!("{byte:02X}"),
            Self::Lower => format!("{byte:02x}"),
        }
    }
}

/// Percent-encodes the bytes that are not kept. A space becomes `space`.
fn percent_encode(bytes: &[u8], case: HexCase, is_kept: fn(u8) -> bool, space: &str) -> String {
    let encode = |byte: &u8| match *byte {
        b' ' => space.to_owned(),
        byte if is_kept(byte) => char::from(byte).to_string(),
        byte => format!("%{}", case.digits(byte)),
    };
    bytes.iter().map(encode).collect()
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn is_kept_in_forms(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"*-._".contains(&byte)
}

/// Escapes a text as the content of a JSON string.
fn json_escape(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Escapes every character as in JSON.
fn escape_all(text: &str, case: HexCase) -> String {
    let escape = |unit: u16| {
        let [high, low] = unit.to_be_bytes();
        format!("\\u{}{}", case.digits(high), case.digits(low))
    };
    text.encode_utf16().map(escape).collect()
}

/// Returns the base64 encodings in both alphabets, for each of the three positions in a group of
/// three bytes at which a value can begin. Padding follows after the pattern.
fn base64(part: &[u8]) -> impl Iterator<Item = String> {
    (0..3usize).flat_map(|before| {
        let bytes = [&[0; 2][..before], part].concat();
        // The first character has bits of the preceding bytes, the last one of the following bytes.
        let own = (before * 8).div_ceil(6)..bytes.len() * 8 / 6;
        [STANDARD_NO_PAD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)]
            .map(|text| text[own.clone()].to_owned())
    })
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    use super::*;

    const VALUE: &str = "kT9-x_Qw8/?>~ zLpA0vbnmRteYuI2oPsD";

    fn find(text: &str) -> Option<Encoding> {
        SecretPatterns::new([VALUE]).unwrap().find(text)
    }

    #[test]
    fn finds_a_value_and_its_beginning() {
        assert_eq!(find(&format!("it is {VALUE}.")), Some(Encoding::Plain));
        assert_eq!(find(&VALUE[..20]), Some(Encoding::Plain));
        assert_eq!(find(&VALUE[1..]), None);
        assert_eq!(find("rotation 2 started"), None);
    }

    #[test]
    fn finds_base64_at_any_position_with_and_without_padding() {
        for before in ["", "x", "xy", "xyz", "client:", "{\"client_secret\":\""] {
            for after in ["", "!", "!!", ", and more"] {
                let text = format!("{before}{VALUE}{after}");
                for engine in [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD] {
                    let encoded = engine.encode(&text);
                    assert_eq!(find(&encoded), Some(Encoding::Base64), "{text} as {encoded}");
                }
            }
        }
    }

    #[test]
    fn finds_percent_encoding() {
        let all = VALUE.bytes().fold(String::new(), |all, byte| all + &format!("%{byte:02x}"));
        for text in [
            "secret=kT9-x_Qw8%2F%3F%3E~%20zLpA",
            "secret=kT9-x_Qw8%2f%3f%3e%7e+zLpA",
            "kT9%2Dx%5FQw8%2F%3F%3E%7E%20zLpA",
            &all,
            &all.to_uppercase(),
        ] {
            assert_eq!(find(text), Some(Encoding::Percent), "{text}");
        }
    }

    #[test]
    fn finds_json_escaped_once_and_twice() {
        let value = "a\"quoted\\secret,\u{e4}longer";
        let patterns = SecretPatterns::new([value]).unwrap();
        let once = serde_json::Value::from(format!("x{value}")).to_string();
        let twice = serde_json::Value::from(once.clone()).to_string();
        for text in [&once, &twice, &format!("{value:?}")] {
            assert_eq!(patterns.find(text), Some(Encoding::Json), "{text}");
        }
        let all = VALUE.chars().fold(String::new(), |all, c| all + &format!("\\u{:04x}", c as u32));
        assert_eq!(find(&all), Some(Encoding::Json));
    }

    #[test]
    fn finds_hexadecimal_and_decimal_bytes() {
        let hex = VALUE.bytes().fold(String::new(), |all, byte| all + &format!("{byte:02x}"));
        assert_eq!(find(&hex), Some(Encoding::Hex));
        assert_eq!(find(&hex.to_uppercase()), Some(Encoding::Hex));
        assert_eq!(find(&format!("{:?}", VALUE.as_bytes())), Some(Encoding::Numbers));
        assert_eq!(find(&serde_json::json!(VALUE.as_bytes()).to_string()), Some(Encoding::Numbers));
    }

    #[test]
    fn finds_a_token_by_its_signature() {
        let patterns =
            SecretPatterns::new(["eyJhbGciOiJSUzI1NiJ9.e30.MEUCIQDx9sO2kTqYw7"]).unwrap();
        assert_eq!(patterns.find("MEUCIQDx9sO2kTqYw7"), Some(Encoding::Plain));
        assert_eq!(patterns.find("eyJhbGciOiJSUzI1NiJ9.e30.x"), None);
    }

    #[test]
    fn finds_many_values_in_plain_text_and_base64() {
        let patterns = SecretPatterns::with_many(["another-secret-value"], &[VALUE]).unwrap();
        assert_eq!(patterns.find(VALUE), Some(Encoding::Plain));
        assert_eq!(patterns.find(&STANDARD.encode(VALUE)), Some(Encoding::Base64));
        assert_eq!(patterns.values(), 2);
    }

    #[test]
    fn finds_a_value_at_the_end_of_a_large_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, format!("{}{VALUE}", "line\n".repeat(100_000))).unwrap();
        let patterns = SecretPatterns::new([VALUE]).unwrap();
        assert_eq!(patterns.find_in_file(&path).unwrap(), Some(Encoding::Plain));
        std::fs::write(&path, "line\n".repeat(100_000)).unwrap();
        assert_eq!(patterns.find_in_file(&path).unwrap(), None);
    }
}
