//! JSON (RFC 8259) read so that no two readers could read it differently: no name twice in one object, whatever its
//! escapes; bounded depth; nothing after the value. serde_json alone keeps the last of two equal names.

use std::cell::Cell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use foldhash::quality::RandomState;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};

/// Deepest nesting of objects and lists that is read, the outermost one included.
const DEPTH: u8 = 16;
/// For how many names there is room from the beginning in the outermost object.
const NAMES: usize = 28;
/// Largest whole number that every JSON reader agrees on (RFC 8259 section 6): 2^53.
const LARGEST: u64 = 1 << 53;

/// Why a text was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Not JSON, not an object, too deep, or something follows.
    Syntax,
    /// A name stands twice in one object.
    Duplicate,
}

/// A JSON value.
#[derive(Debug, PartialEq)]
pub(super) enum Json {
    /// A string.
    Text(String),
    /// A number that is whole and from 0 to 2^53, however it was written.
    Whole(u64),
    /// A list. A list in it is read and not kept.
    List(Vec<Json>),
    /// An object; boxed, so that lists of anything else stay small.
    Object(Box<Object>),
    /// `true` or `false`.
    Truth(bool),
    /// `null`, any other number or a list in a list: nothing that a token or key needs.
    Other,
}

/// A JSON object, its names unique. Hashed with a seed of the process: thousands of names chosen by a stranger cost no
/// more than others.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Object(HashMap<String, Json, RandomState>);

impl Json {
    /// The text, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Whole(_) | Self::List(_) | Self::Object(_) | Self::Truth(_) | Self::Other => None,
        }
    }

    /// The texts of a list of nothing but texts.
    pub(super) fn texts(&self) -> Option<Vec<&str>> {
        match self {
            Self::List(items) => items.iter().map(Self::text).collect(),
            Self::Text(_) | Self::Whole(_) | Self::Object(_) | Self::Truth(_) | Self::Other => None,
        }
    }
}

impl Object {
    /// Reads an object.
    pub(super) fn read(json: &[u8]) -> Result<Self, Flaw> {
        let flaw = Cell::new(Flaw::Syntax);
        let mut reader = serde_json::Deserializer::from_slice(json);
        let value = Seed { left: DEPTH, flaw: &flaw }.deserialize(&mut reader).map_err(|_| flaw.get())?;
        match (value, reader.end()) {
            (Json::Object(object), Ok(())) => Ok(*object),
            _ => Err(Flaw::Syntax),
        }
    }

    /// The member of this name.
    pub(super) fn get(&self, name: &str) -> Option<&Json> {
        self.0.get(name)
    }

    /// Whether there is a member of this name, `null` included.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The names of all members, in no order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The member of this name, if it is text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Json::text)
    }
}

struct Seed<'a> {
    left: u8,
    flaw: &'a Cell<Flaw>,
}

impl Seed<'_> {
    fn inner<E: Error>(&self) -> Result<Self, E> {
        let left = self.left.checked_sub(1).ok_or_else(|| E::custom("nested too deeply"))?;
        Ok(Self { left, flaw: self.flaw })
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Json;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Json, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Json;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Json, E> {
        Ok(Json::Truth(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(u64::try_from(number).map_or(Json::Other, whole))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(whole(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json, E> {
        if number.fract() != 0.0 || !(0.0..=LARGEST as f64).contains(&number) {
            return Ok(Json::Other);
        }
        Ok(whole(number as u64))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Json::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.inner()?)? {
            list.push(match item {
                Json::List(_) => Json::Other,
                item => item,
            });
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        // A token's payload has some twenty names, what is in it has few.
        let expected = if self.left == DEPTH { NAMES } else { 0 };
        let mut object = HashMap::with_capacity_and_hasher(expected, RandomState::default());
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(self.inner()?)?;
            match object.entry(name) {
                Entry::Vacant(free) => free.insert(value),
                Entry::Occupied(_) => {
                    self.flaw.set(Flaw::Duplicate);
                    return Err(Error::custom("a name stands twice"));
                }
            };
        }
        Ok(Json::Object(Box::new(Object(object))))
    }
}

fn whole(number: u64) -> Json {
    if number <= LARGEST { Json::Whole(number) } else { Json::Other }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn no_two_objects_hash_names_alike() {
        let (one, other) = (Object::default(), Object::default());
        assert!((0..4).any(|name| one.0.hasher().hash_one(name) != other.0.hasher().hash_one(name)));
    }

    #[test]
    fn a_name_may_stand_once_in_an_object_whatever_its_escapes() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"{"a":[{"b":1,"b":null}]}"#,
            r#"{"":1,"":2}"#,
        ] {
            assert_eq!(Object::read(text.as_bytes()), Err(Flaw::Duplicate), "{text}");
        }
        assert!(Object::read(br#"{"a":1,"A":2,"b":{"a":3}}"#).is_ok());
    }

    #[test]
    fn only_one_object_is_read() {
        for text in [
            "",
            " ",
            "[]",
            "1",
            "null",
            "\"a\"",
            "{",
            "{}x",
            "{}{}",
            "{\"a\":}",
            "{'a':1}",
            "{\"a\":1,}",
            "{\"a\":NaN}",
            "{\"a\":Infinity}",
            "{\"a\":01}",
            "{\"a\":+1}",
            "{\"a\":.5}",
            "{\"a\":1e999}",
            "{a:1}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":1}\0",
            "\u{feff}{}",
            "{\"a\":\"\n\"}",
            "{/**/}",
            "{\"a\":tru}",
        ] {
            assert_eq!(Object::read(text.as_bytes()), Err(Flaw::Syntax), "{text}");
        }
        assert_eq!(Object::read(b"{\"a\":\"\xff\"}"), Err(Flaw::Syntax));
        assert_eq!(Object::read(b"{\"b\":\"\xc0\x80\"}"), Err(Flaw::Syntax));
        assert!(Object::read(b" {\"a\": 1}\n").is_ok());
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(Object::read(nested(usize::from(DEPTH) - 1).as_bytes()).is_ok());
        assert_eq!(Object::read(nested(usize::from(DEPTH) + 1).as_bytes()), Err(Flaw::Syntax));
        assert_eq!(Object::read("{\"a\":".repeat(100_000).as_bytes()), Err(Flaw::Syntax));
    }

    #[test]
    fn whole_numbers_are_those_that_every_reader_agrees_on() {
        for (text, expected) in [
            ("0", Json::Whole(0)),
            ("1700000000", Json::Whole(1_700_000_000)),
            ("1.7e9", Json::Whole(1_700_000_000)),
            ("1700000000.0", Json::Whole(1_700_000_000)),
            ("9007199254740992", Json::Whole(LARGEST)),
            ("9007199254740993", Json::Other),
            ("18446744073709551615", Json::Other),
            ("18446744073709551616", Json::Other),
            ("1e300", Json::Other),
            ("-1", Json::Other),
            ("1.5", Json::Other),
            ("true", Json::Truth(true)),
            ("\"1\"", Json::Text("1".into())),
        ] {
            let object = Object::read(format!("{{\"n\":{text}}}").as_bytes()).unwrap();
            assert_eq!(object.get("n"), Some(&expected), "{text}");
        }
    }
}
