//! From documents to a domain: names become numbers, hierarchies are closed, every fault is reported with its place.
//!
//! A domain is compiled in three steps, since rights are named in grants and in routes alike: [`Builder::new`] takes
//! the grants document in, [`Builder::rules`] compiles what routes ask (and may name rights that nobody holds yet),
//! and [`Builder::finish`] closes the tables.

mod all;
mod asked;
mod change;
mod condition;
mod declared;
mod doubles;
mod entries;
mod files;
mod grants;
mod implications;
mod members;
mod never;
mod objects;
mod operand;
mod requirement;
mod reserved;
mod roles;
mod rows;
mod rules;
mod stream;
mod taken;
mod text;
mod values;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::domain::{Domain, FlagId, Frame, MAX_FLAGS, RightId, ScopeId};
use super::hierarchy::{Interval, number};
use super::origins::Origins;
use super::people::{People, Tables};
use super::survey::Order;
use crate::diag::{Place, Report, SourceId, suggest};
use crate::document::grants::{GrantsDocument, RightsShape};
use crate::document::{Literal, Located};
use crate::model::Tenant;

pub use all::{Builders, Finished};
pub(super) use entries::{Vocabulary, counts};
pub use reserved::{Sha256, check_reserved};
pub use rows::Applied;
pub use rules::Asking;
pub use taken::Taken;

use taken::{Begun, Closed};

/// A domain that is being compiled.
#[derive(Debug)]
pub struct Builder {
    /// The text of the document.
    source: SourceId,
    domain: Frame,
    tables: Tables,
    people: People,
    shape: RightsShape,
    /// Scope nodes by their full names.
    nodes: Arc<HashMap<Arc<str>, ScopeId>>,
    /// By kind of object: the attributes that any object of the kind carries.
    carried: Arc<HashMap<u32, HashSet<u32>>>,
    /// Rights that the grants document knows: its catalogue if it has one, otherwise all that it mentions.
    known: Vec<u32>,
    catalogued: bool,
    /// By kind of object and attribute: what the objects say.
    said: Arc<HashMap<(u32, u32), values::Said>>,
    /// By kind of object: what each route about such objects reads of them.
    routes_about: HashMap<u32, Vec<values::Read>>,
    /// The flags that any route forbids.
    forbidden: u128,
    /// Where everything was written, if that is to be kept.
    origins: Option<Origins>,
    /// The principals in their order, if that is to be kept.
    order: Option<Order>,
    /// Whether the document was read for this, or before.
    begun: Begun,
}

/// What is kept of the documents beside what decisions need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Nothing: for serving.
    #[default]
    Decisions,
    /// Where every grant and every term is written: for operators' tools.
    Origins,
}

impl Builder {
    /// Takes a grants document in. `tenants` are the names and ids of `gateway.yaml`.
    pub fn new(document: &GrantsDocument, tenants: &[Tenant], keep: Keep, report: &mut Report) -> Self {
        let mut builder = Self {
            source: document.domain.place.source,
            domain: Frame { name: document.domain.value.as_str().into(), ..Frame::default() },
            tables: Tables::default(),
            people: People::default(),
            shape: document.strategy.rights,
            nodes: Arc::new(HashMap::from([("root".into(), ScopeId::ROOT)])),
            carried: Arc::default(),
            known: Vec::new(),
            catalogued: document.rights.is_some(),
            origins: (keep == Keep::Origins).then(Origins::default),
            order: (keep == Keep::Origins).then(Order::default),
            said: Arc::default(),
            routes_about: HashMap::new(),
            forbidden: 0,
            begun: Begun::Once,
        };
        builder.scopes(document, report);
        builder.catalogue(document, report);
        builder.strategy(document, report);
        builder.implications(document, report);
        grants::compile(&mut builder, document, tenants, report);
        builder.objects(document, report);
        for (flag, _) in &document.strategy.caps {
            let id = builder.flag(flag, report);
            builder.warn_of_flag(id, flag.place, report);
        }
        if !builder.catalogued {
            builder.known = (0..builder.domain.rights.len()).filter_map(|number| u32::try_from(number).ok()).collect();
        }
        declared::compile(&mut builder, document, report);
        builder
    }

    /// Closes the tables.
    pub fn finish(self, report: &mut Report) -> (Domain, Option<Origins>) {
        let Closed { domain, origins, taken: _ } = self.close(report);
        (domain, origins)
    }

    fn close(mut self, report: &mut Report) -> Closed {
        let intervals = self.number_rights();
        let placeless = Interval { first: u32::MAX, end: u32::MAX };
        self.domain.tree_of_rights = self.shape == RightsShape::Tree;
        self.domain.right_intervals = intervals.into_iter().map(|interval| interval.unwrap_or(placeless)).collect();
        self.seal();
        grants::seal(&mut self.origins, &self.domain.right_intervals);
        self.domain.mapping.may_take_away = self.domain.group_may_take_away(&self.tables, self.forbidden);
        self.check_values(report);
        self.close_implications();
        if self.domain.flags.len() > MAX_FLAGS {
            let message = format!("domain `{}` has more than {MAX_FLAGS} flags", self.domain.name);
            report.error("too_many_flags", None, message).help("merge flags that always go together");
        }
        self.closed()
    }

    /// The shape of its rights' names.
    pub(super) const fn shape(&self) -> RightsShape {
        self.shape
    }

    /// Whether the places of grants and terms are kept.
    pub(super) const fn keeps_origins(&self) -> bool {
        self.origins.is_some()
    }

    fn scopes(&mut self, document: &GrantsDocument, report: &mut Report) {
        let mut index: HashMap<&str, usize> = HashMap::from([("root", 0)]);
        for (position, (name, _)) in document.forest.iter().enumerate() {
            if name.value == "root" {
                let message = "`root` is the node above all others and cannot be declared";
                report
                    .error("reserved_name", name.place, message)
                    .help("remove it; nodes at the top have the parent `root`");
            }
            index.insert(&name.value, position + 1);
        }
        let mut parents = vec![None];
        for (name, parent) in &document.forest {
            parents.push(index.get(parent.value.as_str()).copied().or_else(|| {
                let message = format!("`{}` lies below `{}`, which is no node", name.value, parent.value);
                unknown(report, parent.place, message, &parent.value, index.keys().copied());
                Some(0)
            }));
        }
        let intervals = number(&parents);
        let mut nodes: Vec<(Arc<str>, Interval)> = vec![("root".into(), Interval { first: 0, end: 1 }); parents.len()];
        let names = std::iter::once(None).chain(document.forest.iter().map(|(name, _)| Some(name)));
        for (name, interval) in names.zip(&intervals) {
            match (interval, name) {
                (Some(interval), name) => {
                    let text = name.map_or("root", |name| name.value.as_str());
                    if let Some(slot) = usize::try_from(interval.first).ok().and_then(|slot| nodes.get_mut(slot)) {
                        *slot = (text.into(), *interval);
                    }
                    Arc::make_mut(&mut self.nodes).insert(text.into(), ScopeId(interval.first));
                    if let Some((kind, value)) = text.split_once(':') {
                        self.name_scope(kind, value, ScopeId(interval.first));
                    }
                }
                (None, Some(name)) => {
                    let message = format!("`{}` lies below itself", name.value);
                    report.error("cycle", name.place, message).help("give one node of the cycle the parent `root`");
                }
                (None, None) => {}
            }
        }
        self.domain.scopes = nodes.into();
        self.aliases(document, report);
    }

    fn name_scope(&mut self, kind: &str, value: &str, scope: ScopeId) {
        let kind = self.kind(kind);
        if let Some(values) = usize::try_from(kind).ok().and_then(|kind| self.domain.values.get_mut(kind)) {
            Arc::make_mut(values).insert(value, scope);
        }
    }

    fn kind(&mut self, kind: &str) -> u32 {
        let kind = self.domain.kinds.intern(kind);
        self.domain.values.resize_with(self.domain.kinds.len(), Default::default);
        kind
    }

    /// Finds a node by its full name, or reports that there is none.
    fn node(&self, name: &Located<String>, report: &mut Report) -> Option<ScopeId> {
        let found = self.nodes.get(name.value.as_str()).copied();
        if found.is_none() {
            let nodes = self.nodes.keys().map(|name| &**name);
            unknown(report, name.place, format!("there is no scope node `{}`", name.value), &name.value, nodes);
        }
        found
    }

    fn catalogue(&mut self, document: &GrantsDocument, report: &mut Report) {
        for right in document.rights.iter().flatten() {
            if text::right_name(&right.value, self.shape, right.place, report) {
                let number = self.domain.rights.intern(&right.value);
                self.known.push(number);
            }
        }
    }

    fn strategy(&mut self, document: &GrantsDocument, report: &mut Report) {
        self.domain.strategy.within = document.strategy.within;
        self.domain.strategy.across = document.strategy.across;
        for (flag, level) in &document.strategy.caps {
            let flag = self.flag(flag, report);
            self.domain.strategy.caps.push((flag, level.value));
        }
    }

    /// A right named by a grant, role or implication: must be well formed and, with a catalogue, in it.
    fn granted_right<T>(&mut self, at: &Located<T>, name: &str, report: &mut Report) -> Option<RightId> {
        if !text::right_name(name, self.shape, at.place, report) {
            return None;
        }
        if self.catalogued && !self.is_known(name) {
            let known = self.known.iter().map(|right| self.domain.rights.name(*right));
            unknown(report, at.place, format!("the catalogue has no right `{name}`"), name, known);
            return None;
        }
        Some(RightId(self.domain.rights.intern(name)))
    }

    /// Whether the grants document knows a right: by name or, in a tree, above or below a name that it knows.
    fn is_known(&self, name: &str) -> bool {
        let below = |long: &str, short: &str| long.strip_prefix(short).is_some_and(|rest| rest.starts_with('.'));
        self.known.iter().map(|right| self.domain.rights.name(*right)).any(|known| match self.shape {
            RightsShape::Flat => known == name,
            RightsShape::Tree if self.catalogued => known == name || below(known, name),
            RightsShape::Tree => known == name || below(known, name) || below(name, known),
        })
    }

    fn flag(&mut self, flag: &Located<String>, report: &mut Report) -> FlagId {
        if flag.value.is_empty() || flag.value.chars().any(|c| c.is_whitespace() || c.is_control()) {
            let message = format!("`{}` is no name for a flag", flag.value);
            report.error("bad_name", flag.place, message).help("use letters, digits, `.`, `_` and `-`");
        }
        FlagId(u8::try_from(self.domain.flags.intern(&flag.value)).unwrap_or(u8::MAX))
    }

    /// A flag that nobody has is no fault (its last bearer may have lost it), but where it would forbid something it may
    /// be a slip of the pen.
    fn warn_of_flag(&self, flag: FlagId, place: Place, report: &mut Report) {
        let mapped = self.domain.mapping.groups.iter().any(|group| group.flags & flag.mask() != 0);
        if !mapped && !self.tables.profiles().any(|profile| profile.flags & flag.mask() != 0) {
            let message = format!("no principal has the flag `{}`, so it forbids nothing", self.domain.flag_name(flag));
            report.warning("unknown_flag", place, message).help("give it to a principal or group, or remove the term");
        }
    }

    fn number_rights(&mut self) -> Vec<Option<Interval>> {
        match self.shape {
            RightsShape::Flat => number(&vec![None; self.domain.rights.len()]),
            RightsShape::Tree => {
                let mut parents = Vec::new();
                let mut next = 0;
                // Prefixes are rights too; interning one makes the table longer while it is walked.
                while let Some(name) = self.domain.rights.all().get(next).cloned() {
                    let parent = name.rsplit_once('.').map(|(prefix, _)| self.domain.rights.intern(prefix));
                    parents.push(parent.and_then(|parent| usize::try_from(parent).ok()));
                    next += 1;
                }
                number(&parents)
            }
        }
    }
}

/// The texts of a constant that may name scopes: of a list, each element.
pub(super) fn scalars(literal: &Literal) -> Vec<String> {
    match literal {
        Literal::Bool(value) => vec![value.to_string()],
        Literal::Int(value) => vec![value.to_string()],
        Literal::Text(value) => vec![value.clone()],
        Literal::List(list) => list.iter().flat_map(scalars).collect(),
    }
}

/// Reports a name that does not resolve, with the nearest that would.
fn unknown<'n>(
    report: &mut Report,
    place: Place,
    message: String,
    name: &str,
    candidates: impl Iterator<Item = &'n str>,
) {
    let mut candidates = candidates.peekable();
    let help = if candidates.peek().is_none() {
        "none is declared".to_owned()
    } else if report.errors() >= 100 {
        // Comparing with every candidate is dear; after this many faults nobody reads the suggestions.
        "look for other spellings".to_owned()
    } else {
        let known: Vec<&str> = candidates.collect();
        suggest(name, known.iter().copied()).map_or_else(|| some_of(known), |near| format!("did you mean `{near}`?"))
    };
    report.error("unknown_name", place, message).help(help);
}

/// The first few names of a list, in the order of letters.
fn some_of(mut names: Vec<&str>) -> String {
    const SOME: usize = 5;
    let more = if names.len() > SOME { " ..." } else { "" };
    if names.len() > SOME {
        names.select_nth_unstable(SOME);
        names.truncate(SOME);
    }
    names.sort_unstable();
    let shown: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    format!("known: {}{more}", shown.join(", "))
}
