//! Secrets in every shape that they could be written in, to be searched for.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use aho_corasick::AhoCorasick;
use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// How much of a value is searched for, in bytes: more than can be there by chance, and a leak of a
/// part is one too.
const PART: usize = 16;

/// A shape that a value can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// As it is.
    Plain,
    /// In base64, standard or URL-safe, wherever in what is encoded it begins.
    Base64,
    /// Percent-encoded, as a query, a path or a form has it, or every byte of it.
    Percent,
    /// Escaped as in JSON, once or twice, or every character of it; a text's `Debug` is like that.
    Json,
    /// In hexadecimal digits.
    Hex,
    /// As the `Debug` of bytes: decimal numbers.
    Numbers,
}

/// Values in each shape that they could be written in.
pub struct Needles {
    automaton: AhoCorasick,
    shapes: Vec<Shape>,
    values: usize,
}

impl Needles {
    /// Values in all shapes.
    ///
    /// # Errors
    /// When there are too many of them.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        Self::of(values, &[])
    }

    /// Some values in all shapes, and those of which there are a great many as they are and in
    /// base64.
    ///
    /// # Errors
    /// When there are too many of them.
    pub fn of<'a>(values: impl IntoIterator<Item = &'a str>, many: &[&'a str]) -> Result<Self> {
        let (mut all, mut needles) = (BTreeSet::new(), BTreeSet::new());
        let cheap = [Shape::Plain, Shape::Base64];
        let wanted = values.into_iter().map(|value| (value, true));
        for (value, thorough) in wanted.chain(many.iter().map(|value| (*value, false))) {
            all.insert(value);
            for (shape, text) in shapes(part(value)) {
                if thorough || cheap.contains(&shape) {
                    needles.insert((text, shape));
                }
            }
        }
        let automaton = AhoCorasick::new(needles.iter().map(|(text, _)| text))?;
        let shapes = needles.into_iter().map(|(_, shape)| shape).collect();
        Ok(Self { automaton, shapes, values: all.len() })
    }

    /// How many values there are.
    pub fn values(&self) -> usize {
        self.values
    }

    /// The shape in which one of the values is in a text.
    pub fn find(&self, text: &str) -> Option<Shape> {
        self.automaton.find(text).map(|found| self.shapes[found.pattern().as_usize()])
    }

    /// The same for a file, whatever its size.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn find_in_file(&self, path: &Path) -> Result<Option<Shape>> {
        let file = BufReader::new(File::open(path)?);
        let found = self.automaton.stream_find_iter(file).next().transpose()?;
        Ok(found.map(|found| self.shapes[found.pattern().as_usize()]))
    }
}

/// The part that tells a value from others: its beginning, but the signature of a token, whose
/// beginning is every token's.
fn part(value: &str) -> &str {
    let signature = value.rsplit('.').next().filter(|_| value.starts_with("eyJ"));
    let value = signature.unwrap_or(value);
    &value[..value.floor_char_boundary(PART)]
}

fn shapes(text: &str) -> Vec<(Shape, Vec<u8>)> {
    let part = text.as_bytes();
    let quoted = |text: &str| {
        let quoted = serde_json::Value::from(text).to_string();
        quoted[1..quoted.len() - 1].to_owned()
    };
    let mut all = vec![(Shape::Plain, text.to_owned())];
    all.extend(base64(part).map(|encoded| (Shape::Base64, encoded)));
    for upper in [true, false] {
        let digits = |byte: u8| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") };
        let percent = |kept: fn(u8) -> bool, space: &'static str| {
            let encode = |byte: &u8| match *byte {
                b' ' => space.to_owned(),
                byte if kept(byte) => char::from(byte).to_string(),
                byte => format!("%{}", digits(byte)),
            };
            part.iter().map(encode).collect::<String>()
        };
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let in_form = |byte: u8| byte.is_ascii_alphanumeric() || b"*-._".contains(&byte);
        all.extend([
            (Shape::Percent, percent(unreserved, "%20")),
            (Shape::Percent, percent(in_form, "+")),
            (Shape::Percent, percent(|byte| byte.is_ascii_alphanumeric(), "%20")),
            (Shape::Percent, percent(|_| false, "%20")),
        ]);
        all.push((Shape::Hex, part.iter().map(|byte| digits(*byte)).collect()));
        let escaped = text.encode_utf16().fold(String::new(), |mut escaped, unit| {
            let [high, low] = unit.to_be_bytes();
            // Writing to a text can't fail.
            let _ = write!(escaped, "\\u{}{}", digits(high), digits(low));
            escaped
        });
        all.push((Shape::Json, escaped));
    }
    all.extend([(Shape::Json, quoted(text)), (Shape::Json, quoted(&quoted(text)))]);
    for between in [", ", ","] {
        let numbers: Vec<String> = part.iter().map(u8::to_string).collect();
        all.push((Shape::Numbers, numbers.join(between)));
    }
    // What is the same in another shape is found as it is.
    all.into_iter()
        .filter(|(shape, other)| *shape == Shape::Plain || *other != text)
        .map(|(shape, text)| (shape, text.into_bytes()))
        .collect()
}

/// In both alphabets, for each of the three places in a group of three bytes at which a value can
/// begin. Padding stands behind what is searched for.
fn base64(part: &[u8]) -> impl Iterator<Item = String> {
    (0..3usize).flat_map(|before| {
        let bytes = [&[0; 2][..before], part].concat();
        // The first characters have bits of what comes before, the last ones of what comes after.
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

    fn find(text: &str) -> Option<Shape> {
        Needles::new([VALUE]).unwrap().find(text)
    }

    #[test]
    fn a_value_is_found_as_it_is_and_a_part_of_it() {
        assert_eq!(find(&format!("it is {VALUE}.")), Some(Shape::Plain));
        assert_eq!(find(&VALUE[..20]), Some(Shape::Plain));
        assert_eq!(find(&VALUE[1..]), None);
        assert_eq!(find("rotation 2 started"), None);
    }

    #[test]
    fn it_is_found_in_base64_wherever_it_begins_with_padding_and_without() {
        for before in ["", "x", "xy", "xyz", "client:", "{\"client_secret\":\""] {
            for after in ["", "!", "!!", ", and more"] {
                let text = format!("{before}{VALUE}{after}");
                for engine in [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD] {
                    let encoded = engine.encode(&text);
                    assert_eq!(find(&encoded), Some(Shape::Base64), "{text} as {encoded}");
                }
            }
        }
    }

    #[test]
    fn it_is_found_percent_encoded() {
        let all = VALUE.bytes().fold(String::new(), |all, byte| all + &format!("%{byte:02x}"));
        for text in [
            "secret=kT9-x_Qw8%2F%3F%3E~%20zLpA",
            "secret=kT9-x_Qw8%2f%3f%3e%7e+zLpA",
            "kT9%2Dx%5FQw8%2F%3F%3E%7E%20zLpA",
            &all,
            &all.to_uppercase(),
        ] {
            assert_eq!(find(text), Some(Shape::Percent), "{text}");
        }
    }

    #[test]
    fn it_is_found_escaped_as_json_once_and_twice() {
        let value = "a\"quoted\\secret,\u{e4}longer";
        let needles = Needles::new([value]).unwrap();
        let once = serde_json::Value::from(format!("x{value}")).to_string();
        let twice = serde_json::Value::from(once.clone()).to_string();
        for text in [&once, &twice, &format!("{value:?}")] {
            assert_eq!(needles.find(text), Some(Shape::Json), "{text}");
        }
        let all = VALUE.chars().fold(String::new(), |all, c| all + &format!("\\u{:04x}", c as u32));
        assert_eq!(find(&all), Some(Shape::Json));
    }

    #[test]
    fn it_is_found_as_digits_and_as_the_debug_of_bytes() {
        let hex = VALUE.bytes().fold(String::new(), |all, byte| all + &format!("{byte:02x}"));
        assert_eq!(find(&hex), Some(Shape::Hex));
        assert_eq!(find(&hex.to_uppercase()), Some(Shape::Hex));
        assert_eq!(find(&format!("{:?}", VALUE.as_bytes())), Some(Shape::Numbers));
        assert_eq!(find(&serde_json::json!(VALUE.as_bytes()).to_string()), Some(Shape::Numbers));
    }

    #[test]
    fn a_token_is_found_by_its_signature() {
        let needles = Needles::new(["eyJhbGciOiJSUzI1NiJ9.e30.MEUCIQDx9sO2kTqYw7"]).unwrap();
        assert_eq!(needles.find("MEUCIQDx9sO2kTqYw7"), Some(Shape::Plain));
        assert_eq!(needles.find("eyJhbGciOiJSUzI1NiJ9.e30.x"), None);
    }

    #[test]
    fn what_there_is_much_of_is_found_as_it_is_and_in_base64() {
        let needles = Needles::of(["another-secret-value"], &[VALUE]).unwrap();
        assert_eq!(needles.find(VALUE), Some(Shape::Plain));
        assert_eq!(needles.find(&STANDARD.encode(VALUE)), Some(Shape::Base64));
        assert_eq!(needles.values(), 2);
    }

    #[test]
    fn files_are_searched_across_their_pieces() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, format!("{}{VALUE}", "line\n".repeat(100_000))).unwrap();
        let needles = Needles::new([VALUE]).unwrap();
        assert_eq!(needles.find_in_file(&path).unwrap(), Some(Shape::Plain));
        std::fs::write(&path, "line\n".repeat(100_000)).unwrap();
        assert_eq!(needles.find_in_file(&path).unwrap(), None);
    }
}
