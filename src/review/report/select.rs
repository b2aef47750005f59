//! What of a domain a report is about: names that must exist, patterns, and which rows to leave out.

use super::{Asker, Fact, Row, State, Value, level_fact};
use crate::diag::suggest;
use crate::model::Level;
use crate::policy::{Principal, RightId, ScopeId};

/// A name that nothing has: a sentence for whoever wrote it, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName {
    /// What is wrong.
    pub message: String,
    /// What to do about it, if that is known.
    pub help: Option<String>,
}

impl UnknownName {
    pub(super) fn new<'n>(what: &str, name: &str, known: impl Iterator<Item = &'n str>) -> Self {
        let help = suggest(name, known).map(|near| format!("did you mean `{near}`?"));
        let fits = if name.contains('*') { format!("no {what} fits") } else { format!("there is no {what}") };
        Self { message: format!("{fits} `{name}`"), help }
    }
}

/// A name in which `*` stands for any letters, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// Takes any text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Whether a whole name fits.
    pub fn fits(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        // Each part as early as it can be leaves the most room for those that follow.
        for part in parts {
            let Some(at) = rest.find(part) else { return false };
            rest = rest.split_at_checked(at + part.len()).map_or("", |(_, after)| after);
        }
        rest.ends_with(last)
    }
}

/// Which rows a report has.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Principals whose ids fit.
    pub principal: Option<Glob>,
    /// Members of this group, be it through another.
    pub group: Option<String>,
    /// Those who hold something at this level at least.
    pub level: Option<Level>,
    /// Those who hold something.
    pub only_held: bool,
}

impl Filter {
    /// Checks that the filter names what exists.
    pub(super) fn check(&self, asker: &Asker<'_>) -> Result<(), UnknownName> {
        let domain = asker.world.domain;
        if let Some(group) = &self.group {
            let known = || asker.world.document.groups.iter().map(|group| group.name.value.as_str());
            if !known().any(|name| name == group) {
                return Err(UnknownName::new("group", group, known()));
            }
        }
        if let Some(glob) = &self.principal {
            let known = || domain.principals().iter().map(Principal::id);
            if !known().any(|id| glob.fits(id)) {
                return Err(UnknownName::new("principal", &glob.0, known()));
            }
        }
        Ok(())
    }

    /// Whether a principal is to be looked at.
    pub(super) fn admits(&self, principal: Principal<'_>) -> bool {
        let of_group = |group: &String| principal.groups().iter().any(|name| **name == **group);
        self.principal.as_ref().is_none_or(|glob| glob.fits(principal.id())) && self.group.as_ref().is_none_or(of_group)
    }

    /// Whether a row has enough in it to be shown.
    pub(super) fn keeps(&self, row: &Row<'_>) -> bool {
        let least = match (self.level, self.only_held) {
            (Some(level), _) => level,
            (None, true) => Level::Read,
            (None, false) => return true,
        };
        row.cells.iter().any(|cell| match cell.state(row.status) {
            State::Off => false,
            State::Up(level) if level >= least => true,
            State::Up(_) | State::Nothing | State::Denied => cell.lower.is_some_and(|lower| lower.level >= least),
        })
    }

    /// What was asked for, as a report tells it.
    pub(super) fn facts(&self) -> impl Iterator<Item = Fact> {
        let text = |label, text: &str| Fact { label, value: Value::Text(text.to_owned()) };
        let principal = self.principal.iter().map(move |glob| text("principals", &glob.0));
        let group = self.group.iter().map(move |group| text("members of", group));
        let held = (self.only_held && self.level.is_none()).then(|| text("only", "those who hold something"));
        principal.chain(group).chain(self.level.map(level_fact)).chain(held)
    }
}

impl Asker<'_> {
    /// A right by its name.
    pub(super) fn right(&self, name: &str) -> Result<RightId, UnknownName> {
        let domain = self.world.domain;
        domain.find_right(name).ok_or_else(|| UnknownName::new("right", name, domain.rights().map(|(_, name)| name)))
    }

    /// A node by its full name.
    pub(super) fn scope(&self, name: &str) -> Result<ScopeId, UnknownName> {
        let domain = self.world.domain;
        domain
            .find_scope(name)
            .ok_or_else(|| UnknownName::new("scope node", name, domain.scopes().map(|(_, name)| name)))
    }

    /// Nodes in pre-order: all, or those that fit.
    pub(super) fn scopes_that_fit(&self, glob: Option<&Glob>) -> Result<Vec<ScopeId>, UnknownName> {
        let domain = self.world.domain;
        let fits = |name: &str| glob.is_none_or(|glob| glob.fits(name));
        let scopes: Vec<ScopeId> = domain.scopes().filter(|(_, name)| fits(name)).map(|(scope, _)| scope).collect();
        match glob {
            Some(glob) if scopes.is_empty() => {
                Err(UnknownName::new("scope node", &glob.0, domain.scopes().map(|(_, name)| name)))
            }
            _ => Ok(scopes),
        }
    }

    /// Rights, each before those below it: all, or those that fit.
    pub(super) fn rights(&self, glob: Option<&Glob>) -> Result<Vec<RightId>, UnknownName> {
        let domain = self.world.domain;
        let fits = |right: RightId| glob.is_none_or(|glob| glob.fits(domain.right_name(right)));
        let rights: Vec<RightId> =
            domain.rights_in_order().into_iter().map(|(right, _)| right).filter(|right| fits(*right)).collect();
        match glob {
            Some(glob) if rights.is_empty() => {
                Err(UnknownName::new("right", &glob.0, domain.rights().map(|(_, name)| name)))
            }
            _ => Ok(rights),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_letters_and_nothing_else_is_special() {
        for (glob, name, fits) in [
            ("olga", "olga", true),
            ("olga", "olga2", false),
            ("olga", "", false),
            ("*", "", true),
            ("*", "anything", true),
            ("org:*", "org:7", true),
            ("org:*", "site:7", false),
            ("*.view", "orders.view", true),
            ("*.view", "orders.view.all", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("ab*b", "ab", false),
            ("a.c", "abc", false),
            ("a?c", "abc", false),
            ("*aab", "aaab", true),
        ] {
            assert_eq!(Glob::new(glob).fits(name), fits, "{glob} {name}");
        }
    }
}
