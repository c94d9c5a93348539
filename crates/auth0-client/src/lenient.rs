//! Fields and entries of any type, so that one odd client does not spoil a response.

use std::{fmt, marker::PhantomData};

use secrecy::SecretString;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

/// A value that is a text, or anything else. For fields that are no secrets: the text is copied.
#[derive(Default)]
pub(crate) struct Text(pub(crate) Option<String>);

/// A value that is a boolean, or anything else.
#[derive(Default)]
pub(crate) struct Flag(pub(crate) Option<bool>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let visitor = ScalarVisitor { text: |text| Some(text.to_owned()), flag: |_| None };
        deserializer.deserialize_any(visitor).map(Self)
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let visitor = ScalarVisitor { text: |_| None, flag: Some };
        deserializer.deserialize_any(visitor).map(Self)
    }
}

/// Returns `None` for values of other types than those that its functions accept.
struct ScalarVisitor<T> {
    text: fn(&str) -> Option<T>,
    flag: fn(bool) -> Option<T>,
}

impl<'de, T> Visitor<'de> for ScalarVisitor<T> {
    type Value = Option<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Option<T>, E> {
        Ok((self.text)(text))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Option<T>, E> {
        Ok((self.flag)(flag))
    }

    fn visit_unit<E>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Option<T>, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Option<T>, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

/// The field `client_secret`, with a value of any type. A text is not copied on the way.
#[derive(Default)]
pub(crate) enum SecretField {
    #[default]
    Absent,
    Text(SecretString),
    /// Neither a text nor null.
    NoText,
}

impl<'de> Deserialize<'de> for SecretField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecretVisitor)
    }
}

struct SecretVisitor;

impl<'de> Visitor<'de> for SecretVisitor {
    type Value = SecretField;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<SecretField, E> {
        Ok(SecretField::Text(text.into()))
    }

    fn visit_unit<E>(self) -> Result<SecretField, E> {
        Ok(SecretField::Absent)
    }

    fn visit_bool<E>(self, _: bool) -> Result<SecretField, E> {
        Ok(SecretField::NoText)
    }

    fn visit_i64<E>(self, _: i64) -> Result<SecretField, E> {
        Ok(SecretField::NoText)
    }

    fn visit_u64<E>(self, _: u64) -> Result<SecretField, E> {
        Ok(SecretField::NoText)
    }

    fn visit_f64<E>(self, _: f64) -> Result<SecretField, E> {
        Ok(SecretField::NoText)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<SecretField, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(SecretField::NoText)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<SecretField, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(SecretField::NoText)
    }
}

/// An entry of a list: an object with the fields of `T`, or anything else.
pub(crate) struct Entry<T>(pub(crate) Option<T>);

impl<T> Default for Entry<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entry<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntryVisitor(PhantomData))
    }
}

struct EntryVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for EntryVisitor<T> {
    type Value = Entry<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Entry<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(entries)).map(Some).map(Entry)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Entry<T>, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Entry(None))
    }

    fn visit_str<E>(self, _: &str) -> Result<Entry<T>, E> {
        Ok(Entry(None))
    }

    fn visit_unit<E>(self) -> Result<Entry<T>, E> {
        Ok(Entry(None))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Entry<T>, E> {
        Ok(Entry(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Entry<T>, E> {
        Ok(Entry(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Entry<T>, E> {
        Ok(Entry(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Entry<T>, E> {
        Ok(Entry(None))
    }
}
