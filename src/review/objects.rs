//! What a database would say of objects, as operators write it: `KIND:KEY NAME=VALUE`, once for each attribute.

use std::sync::Arc;

use super::explain::literal;
use super::request::{BadRequest, Request, Said};
use crate::document::Literal;

/// Attributes by name.
type Row = Vec<(Box<str>, Literal)>;

impl Request {
    /// The same request, with this to be said of objects that are looked up. `KIND:KEY` alone is one of whose attributes none
    /// has a value. A value is `true`, `false`, a whole number, a list in brackets, or else text, which quotes keep from being
    /// anything else.
    ///
    /// # Errors
    /// When it says nothing of an object, or something twice.
    pub fn with_objects(self, said: &[String]) -> Result<Self, BadRequest> {
        let mut objects: Vec<(String, Row)> = Vec::new();
        for text in said {
            let bad = |message: String| {
                BadRequest::new(message, "write `KIND:KEY NAME=VALUE`, once for each attribute".to_owned())
            };
            let (object, attribute) = match text.split_once('=') {
                None => (text.trim(), None),
                Some((left, value)) => {
                    let named = left.trim().rsplit_once(' ').filter(|(_, name)| !name.is_empty());
                    let (object, name) = named.ok_or_else(|| bad(format!("`{text}` names no attribute")))?;
                    (object.trim(), Some((name, value.trim())))
                }
            };
            if !object.split_once(':').is_some_and(|(kind, key)| !kind.is_empty() && !key.is_empty()) {
                return Err(bad(format!("`{text}` names no object")));
            }
            let known = match objects.iter().position(|(known, _)| known == object) {
                Some(known) => known,
                None => {
                    objects.push((object.to_owned(), Vec::new()));
                    objects.len() - 1
                }
            };
            if let (Some((name, value)), Some((_, attributes))) = (attribute, objects.get_mut(known)) {
                if attributes.iter().any(|(known, _)| **known == *name) {
                    return Err(bad(format!("`{name}` of `{object}` is said twice")));
                }
                attributes.push((name.into(), value_of(value)));
            }
        }
        let objects = objects.into_iter().map(|(name, attributes)| (name, Said::Ok(Arc::from(attributes))));
        Ok(Self { objects: objects.collect(), ..self })
    }
}

fn value_of(text: &str) -> Literal {
    let within = |open, close| text.strip_prefix(open).and_then(|text| text.strip_suffix(close)).map(str::trim);
    match (within('"', '"'), within('[', ']')) {
        (Some(text), _) => Literal::Text(text.to_owned()),
        (_, Some("")) => Literal::List(Vec::new()),
        (_, Some(list)) => Literal::List(list.split(',').map(|item| value_of(item.trim())).collect()),
        _ => literal(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::review::Asker;

    fn said(texts: &[&str]) -> Result<Vec<(String, Said)>, BadRequest> {
        let request = Request::parse("GET https://h/", Vec::new(), Asker::Nobody).unwrap();
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        request.with_objects(&texts).map(|request| request.objects)
    }

    #[test]
    fn attributes_of_an_object_are_said_one_by_one() {
        let texts = ["officer:a b place=north x", "ship:7", "officer:a b age=30", "officer:a b crew=[ann, \"7\", 7]"];
        let objects =
            said(&[&texts[..], &["officer:a b none=[]", "officer:a b id=\"7\"", "officer:a b on=true"]].concat());
        let objects = objects.unwrap();
        let text = |text: &str| Literal::Text(text.to_owned());
        let officer = [
            ("place", text("north x")),
            ("age", Literal::Int(30)),
            ("crew", Literal::List(vec![text("ann"), text("7"), Literal::Int(7)])),
            ("none", Literal::List(Vec::new())),
            ("id", text("7")),
            ("on", Literal::Bool(true)),
        ];
        let officer: Row = officer.map(|(name, value)| (name.into(), value)).into();
        let expected = [("officer:a b", officer), ("ship:7", Vec::new())];
        assert_eq!(objects.len(), expected.len());
        for ((name, said), (expected, attributes)) in objects.iter().zip(expected) {
            assert_eq!((name.as_str(), said.as_deref()), (expected, Ok(&*attributes)));
        }
    }

    #[test]
    fn what_says_nothing_of_an_object_or_something_twice_is_refused() {
        for texts in [
            &[""][..],
            &["officer"],
            &["officer:"],
            &[":7 a=b"],
            &["officer:7=b"],
            &["place=north"],
            &["officer:7 =b"],
            &["officer:7 a=b", "officer:7 a=c"],
        ] {
            assert!(said(texts).is_err(), "{texts:?}");
        }
    }
}
