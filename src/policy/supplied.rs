//! Objects of which somebody outside knows: looked up before the decision, and supplied to it. Of such a kind, an object
//! that nobody has looked up is never taken for one without attributes: the request is denied.

use super::compile::scalars;
use super::denial::{Denial, Subject};
use super::domain::{Attribute, AttributeId, Domain, Frame, KindId, Object};
use super::facts::Facts;
use super::rules::Rules;
use super::scopes;
use crate::document::Literal;
use crate::model::Reason;

/// What was found of one object, for decisions of the domain that made it.
#[derive(Clone, Debug)]
pub struct Supplied {
    kind: KindId,
    key: Box<str>,
    found: Result<Object, Denial>,
}

/// Why nothing is known of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// There is none with this key; a word for how that is known.
    Unknown(&'static str),
    /// Nobody could say; a word for why.
    Unavailable(&'static str),
}

impl Missed {
    const fn denial(self) -> Denial {
        match self {
            Self::Unknown(word) => Denial::new(Reason::ObjectUnknown, Subject::Object(word)),
            Self::Unavailable(word) => Denial::new(Reason::ObjectUnavailable, Subject::Object(word)),
        }
    }
}

impl Frame {
    /// Whether objects of a kind are looked up by somebody outside.
    #[inline]
    pub(super) fn is_looked_up(&self, kind: KindId) -> bool {
        !self.looked_up.is_empty() && self.looked_up.contains(&kind.0)
    }

    /// Whether the object of these rules is looked up, so that it may have any attributes.
    pub(super) fn looks_up_object_of(&self, rules: &Rules) -> bool {
        rules.object.as_ref().is_some_and(|rule| self.is_looked_up(rule.kind))
    }

    /// What was found of an object, as decisions of this domain read it: attributes by their names, of which those that
    /// nobody reads come to nothing. `None` if the domain has no such kind.
    pub fn supply(&self, kind: &str, key: &str, found: Result<&[(Box<str>, Literal)], Missed>) -> Option<Supplied> {
        let kind = KindId(self.kinds.find(kind)?);
        let attribute = |(name, value): &(Box<str>, Literal)| {
            let texts = scalars(value).into_iter().map(String::into_boxed_str).collect();
            Some((AttributeId(self.attributes.find(name)?), Attribute { value: value.clone(), texts }))
        };
        let object = |attributes: &[_]| Object { attributes: attributes.iter().filter_map(attribute).collect() };
        Some(Supplied { kind, key: key.into(), found: found.map(object).map_err(Missed::denial) })
    }
}

/// The kind and key of the object that a decision by these rules cannot do without and that has to be looked up; its
/// facts need not have it yet.
pub fn needed_object<'c>(domain: &'c Domain, rules: &Rules, facts: &'c impl Facts) -> Option<(&'c str, &'c str)> {
    let rule = rules.object.as_ref().filter(|rule| domain.is_looked_up(rule.kind))?;
    Some((domain.kind_name(rule.kind), scopes::path(rule.key, facts)?))
}

/// The supplied object of this kind and key. Whatever else was supplied, it is none.
pub(super) fn object<'c>(facts: &'c impl Facts, kind: KindId, key: Option<&str>) -> Result<&'c Object, Denial> {
    let Some(key) = key else { return Err(Missed::Unknown("key").denial()) };
    let supplied = facts.supplied().filter(|supplied| supplied.kind == kind && *supplied.key == *key);
    match supplied {
        Some(Supplied { found: Ok(object), .. }) => Ok(object),
        Some(Supplied { found: Err(denial), .. }) => Err(*denial),
        None => Err(Missed::Unavailable("not_looked_up").denial()),
    }
}
