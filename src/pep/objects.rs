//! Objects that have to be looked up before a request about them can be judged: what is asked for, and what was found.
//! Both are named as in the configuration, since the policy may be another one by the time they are used.

use std::sync::Arc;
use std::time::Instant;

use super::RequestFacts;
use crate::document::Literal;
use crate::model::Reason;
use crate::pep::Refusal;
use crate::policy::{Domain, Member, Missed, Rules, needed_object};

/// An object that a request is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// The domain whose database knows it.
    pub domain: Arc<str>,
    /// Its kind.
    pub kind: Arc<str>,
    /// Its key, as the path has it.
    pub key: Box<str>,
}

/// Attributes of an object, by name. One that is not there has no value.
pub type Attributes = Arc<[(Box<str>, Literal)]>;

/// What a look-up came to.
#[derive(Clone, Debug)]
pub struct Given {
    /// What was asked for.
    pub wanted: Wanted,
    /// What was found.
    pub found: Result<Attributes, Missed>,
    /// From when on it is not believed any more: whatever still runs by it has to ask again. `None` where nobody else
    /// could say.
    pub until: Option<Instant>,
}

/// Whether a request can be judged.
pub(super) enum Ready<'r> {
    /// By these facts.
    Yes(RequestFacts<'r>),
    /// Not before this was looked up.
    Wants(Wanted),
}

/// Puts the object that the rules are about among the facts. For a member that may do nothing at all, none is looked
/// up.
pub(super) fn supply<'r>(
    (domain, rules, member): (&Domain, &Rules, Member<'_>),
    facts: RequestFacts<'r>,
    given: &[Given],
) -> Ready<'r> {
    let Some((kind, key)) = needed_object(domain, rules, &facts) else { return Ready::Yes(facts) };
    let is_it = |given: &&Given| {
        let Wanted { domain: of, kind: found, key: asked } = &given.wanted;
        (&**of, &**found, &**asked) == (&**domain.name(), kind, key)
    };
    if let Some(given) = given.iter().find(is_it) {
        let found = given.found.as_ref().map(|attributes| &**attributes).map_err(|missed| *missed);
        let supplied = domain.supply(kind, key, found);
        return Ready::Yes(facts.with_object(supplied));
    }
    if member.barred().is_some() {
        return Ready::Yes(facts);
    }
    Ready::Wants(Wanted { domain: Arc::clone(domain.name()), kind: kind.into(), key: key.into() })
}

/// The refusal where nobody can look anything up.
pub(super) fn not_looked_up() -> Refusal {
    Refusal::about(Reason::ObjectUnavailable, "not_looked_up")
}
