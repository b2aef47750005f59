//! Rights that a requirement asks for: by name or by a template, at a level, in a scope of the route.

use super::requirement::{Label, Writer};
use super::{text, unknown};
use crate::diag::{Place, suggest};
use crate::document::Located;
use crate::model::Level;
use crate::policy::domain::RightId;
use crate::policy::rules::{Asked, At, Check, RightRef};

impl Writer<'_, '_> {
    pub(super) fn right(&mut self, written: &str, place: Place, otherwise: Option<Label>) {
        let parts = text::split(written);
        let level = match parts.suffix {
            None => Asked::Level(Level::Read),
            Some("by_method") => Asked::ByMethod,
            Some(level) => match Level::parse(level) {
                Some(level) => Asked::Level(level),
                None => {
                    let message = format!("`{level}` is no level that can be asked for");
                    let help = "use `read`, `write`, `delete` or `by_method`";
                    self.report.error("bad_level", place, message).help(help);
                    return;
                }
            },
        };
        let (at, below) = match parts.at.map(|at| at.strip_suffix("/*").map_or((at, false), |at| (at, true))) {
            None => (self.asking.scope("main").map_or(At::Root, At::Scope), false),
            Some((at, below)) => match self.at(at, place) {
                Some(at) => (at, below),
                None => return,
            },
        };
        if let Some(right) = self.right_ref(parts.name, place) {
            self.check(Check::Right { right, level, at, below }, otherwise);
        }
    }

    pub(super) fn unless_denied(&mut self, written: &str, place: Place, otherwise: Option<Label>) {
        let parts = text::split(written);
        if parts.suffix.is_some() || parts.at.is_some_and(|at| at.ends_with("/*")) {
            let message = "`unless_denied` asks for no level and looks at one scope";
            self.report.error("bad_level", place, message).help("write `RIGHT` or `RIGHT @SCOPE`");
            return;
        }
        let at = match parts.at {
            None => Some(self.asking.scope("main").map_or(At::Root, At::Scope)),
            Some(at) => self.at(at, place),
        };
        if !parts.name.contains('{') && !self.builder.is_known(parts.name) {
            let message = format!("no grant and no role knows the right `{}`, so it is never denied", parts.name);
            self.report
                .warning("unknown_right", place, message)
                .help("look for other spellings of it in grants and roles");
        }
        if let (Some(at), Some(right)) = (at, self.right_ref(parts.name, place)) {
            self.check(Check::UnlessDenied { right, at }, otherwise);
        }
    }

    fn at(&mut self, name: &str, place: Place) -> Option<At> {
        if name == "root" {
            return Some(At::Root);
        }
        let found = self.asking.scope(name).map(At::Scope);
        if found.is_none() {
            let known = self.asking.route.scopes.iter().map(|scope| scope.name.value.as_str());
            unknown(self.report, place, format!("the route has no scope `{name}`"), name, known);
        }
        found
    }

    /// A right by name, or by a template whose variable has a closed list.
    fn right_ref(&mut self, name: &str, place: Place) -> Option<RightRef> {
        let Some((before, rest)) = name.split_once('{') else {
            return self.asked_right(name, place).map(RightRef::Fixed);
        };
        let Some((variable, after)) = rest.split_once('}').filter(|(_, after)| !after.contains(['{', '}'])) else {
            let message = format!("`{name}` is no name for a right");
            self.report.error("bad_name", place, message).help("one `{variable}` may stand in it");
            return None;
        };
        let at = Located::new(place, ());
        let variable_name = variable;
        let variable = self.asking.variable(variable, &at, self.report)?;
        let Some(closed) = self.closed.iter().find(|closed| closed.variable == variable).cloned() else {
            let message = format!("nothing bounds the values of `{{{variable_name}}}`, which names a right");
            let help = format!("put `{{in: [path.{variable_name}, ...], reason: ...}}` before it in the same list");
            self.report.error("open_right", place, message).help(help);
            return None;
        };
        let mut rights = Vec::new();
        for value in closed.values {
            let right = self.asked_right(&format!("{before}{value}{after}"), place)?;
            rights.push((value, right));
        }
        Some(RightRef::Named { variable, rights, code: closed.code })
    }

    /// A right that routes ask for need not be held by anybody, but with a catalogue it must be in it.
    fn asked_right(&mut self, name: &str, place: Place) -> Option<RightId> {
        let builder = &mut *self.builder;
        if !text::right_name(name, builder.shape(), place, self.report) {
            return None;
        }
        if builder.catalogued && !builder.is_known(name) {
            let known = builder.known.iter().map(|right| builder.domain.rights.name(*right));
            unknown(self.report, place, format!("the catalogue has no right `{name}`"), name, known);
            return None;
        }
        if !builder.is_known(name) {
            let rights = builder.known.iter().map(|right| builder.domain.rights.name(*right));
            // The name of a definition is written as that of a right is, so a slip of the pen in one looks like a right.
            let definitions = self.asking.definitions.iter().flat_map(|list| list.iter());
            let known = rights.chain(definitions.map(|definition| definition.name.value.as_str()));
            let near = if self.report.errors() < 100 { suggest(name, known) } else { None };
            let help = near.map_or_else(
                || "until it is granted to somebody, nobody passes here".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            let message = format!("nobody and no role holds `{name}`");
            self.report.warning("unknown_right", place, message).help(help);
        }
        Some(RightId(builder.domain.rights.intern(name)))
    }
}
