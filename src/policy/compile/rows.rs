//! Principals that are rows of a database: JSON lines, resolved against a domain that is compiled already.
//!
//! A row is one of many that nobody looks at before they are used. So a row with a fault is left out by itself: its
//! principal is nobody, and a warning tells why. Of rows that share an id or a key, none is used. A right or a flag
//! that nothing asks for comes to nothing, as it would if it had been written in the document; where the domain has a
//! catalogue, a right outside of it is a fault.

use std::collections::{HashMap, HashSet};
use std::thread::available_parallelism;

use super::entries::{Lists, Names, Resolver};
use super::stream::{Gathered, OnFault, Pace, read_lines};
use super::{text, unknown};
use crate::diag::{Place, Report, SourceId};
use crate::document::Located;
use crate::document::people::{Bounds, Line, PeopleFormat, Reader};
use crate::model::PrincipalKey;
use crate::policy::domain::{Domain, FlagId, Frame, RightId, ScopeId};
use crate::policy::hierarchy::Interval;
use crate::policy::people::{BundleId, Chunk, People, Principal, ProfileId, Tables};

/// A domain with rows in it.
#[derive(Debug)]
pub struct Applied {
    /// The domain.
    pub domain: Domain,
    /// How many rows were left out.
    pub refused: usize,
    /// Whether any was left out because of another one: a change of either may bring both back, which only all rows
    /// together tell.
    pub torn: bool,
}

/// The names that rows may use.
struct Known<'d>(&'d Frame);

impl Names for Known<'_> {
    fn node(&self, name: &Located<String>, report: &mut Report) -> Option<ScopeId> {
        let nodes = &self.0.vocabulary.nodes;
        let found = nodes.get(name.value.as_str()).copied();
        if found.is_none() {
            let names = nodes.keys().map(|name| &**name);
            unknown(report, name.place, format!("there is no scope node `{}`", name.value), &name.value, names);
        }
        found
    }

    fn interval(&self, node: ScopeId) -> Option<Interval> {
        self.0.scope_entry(node).map(|(_, interval)| *interval)
    }

    fn right<T>(&mut self, written: &Located<T>, name: &str, report: &mut Report) -> Option<RightId> {
        let vocabulary = &self.0.vocabulary;
        if !text::right_name(name, vocabulary.shape, written.place, report) {
            return None;
        }
        let found = self.0.rights.find(name).map(RightId);
        if found.is_none() && vocabulary.catalogued {
            let known = self.0.rights.all().iter().map(|known| &**known);
            unknown(report, written.place, format!("the catalogue has no right `{name}`"), name, known);
        }
        found
    }

    fn flag(&mut self, name: &Located<String>, _: &mut Report) -> Option<FlagId> {
        self.0.flags.find(&name.value).and_then(|number| u8::try_from(number).ok()).map(FlagId)
    }
}

/// A row without a fault.
#[derive(Debug)]
pub(super) struct Sound {
    id: String,
    key: PrincipalKey,
    profile: ProfileId,
    own: Vec<BundleId>,
}

/// What a row says. Its first fault is told in a warning; all of them go to `faults`, which is for nobody to see.
fn sound<N: Names>(
    reader: &Reader<'_>,
    line: Line<'_>,
    resolver: &mut Resolver<'_, N>,
    faults: &mut Report,
    report: &mut Report,
) -> Option<Sound> {
    let (before, kept) = (faults.errors(), faults.diagnostics().len());
    let found = reader.document(line, faults).and_then(|written| {
        let resolved = resolver.principal(&written, faults);
        let (key, profile) = resolved.stored?;
        Some(Sound { id: written.id.value.clone(), key, profile, own: resolved.own })
    });
    if faults.errors() == before && found.is_some() {
        return found;
    }
    let first = faults.diagnostics().get(kept);
    let why = first.map_or("it has a fault", |first| first.message.as_str());
    let help = first.and_then(|first| first.help.as_deref()).unwrap_or("look at the row");
    refuse(line.place(), why, help, report);
    None
}

fn refuse(place: Place, why: &str, help: &str, report: &mut Report) {
    report.warning("row_refused", place, format!("this row is left out: {why}")).help(help);
}

/// Gathers those of some lines that have no fault.
pub(super) fn read_sound<N: Names>(
    reader: &Reader<'_>,
    lines: &[Line<'_>],
    gathered: &mut Gathered,
    resolver: &mut Resolver<'_, N>,
    report: &mut Report,
) {
    let mut faults = Report::new();
    for line in lines {
        if let Some(Sound { id, key, profile, own }) = sound(reader, *line, resolver, &mut faults, report) {
            gathered.add(*line, key.object, profile, &own, &id);
        }
    }
}

/// The rows of a source, in which each stands on a line. No source means no rows.
fn reader<'t>(source: Option<SourceId>, text: &'t str, report: &mut Report) -> Option<Reader<'t>> {
    Reader::new(source?, PeopleFormat::JsonLines, text, report)
}

impl Domain {
    /// The same domain with all rows of a source beside the principals that it has; of these, none gives way to a row.
    /// Errors mean that there are too many rows.
    pub fn with_rows(&self, source: Option<SourceId>, report: &mut Report) -> Applied {
        let mut tables = self.tables.apart();
        let text = source.map(|source| report.text(source)).unwrap_or_default();
        let before = report.warnings();
        let mut gathered = Vec::new();
        if let Some(reader) = reader(source, &text, report) {
            let (names, lists) = (&mut Known(self), &mut Lists::default());
            let mut resolver = Resolver { names, tables: &mut tables, lists, vocabulary: &self.vocabulary };
            let pace = Pace::default();
            if !read_lines(&mut resolver, &reader, (pace, OnFault::LeaveOut), &mut gathered, report) {
                let place = reader.lines().iter().next().map(|line| line.place());
                place.into_iter().for_each(|place| Bounds::too_many(Bounds::PRINCIPALS, place, report));
            }
        }
        tables.seal(&self.right_intervals);
        let (people, torn) = together(self, gathered, &tables, report);
        let refused = report.warnings().saturating_sub(before);
        Applied { domain: self.around(tables, people), refused, torn }
    }

    /// Its principals, in no order.
    pub fn everybody(&self) -> impl Iterator<Item = Principal<'_>> {
        self.people.iter(&self.tables)
    }

    /// Their ids, in no order.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.everybody().map(|principal| principal.id())
    }

    /// The same domain, in which the principals with these ids are what the rows of a source say, and nobody else has
    /// changed. `own` is the domain without any rows: nobody of it gives way to a row. Where the domain was `torn`
    /// before, it does not tell who shares something with somebody who was left out, so nobody new comes in.
    pub fn with_changed_rows(
        &self,
        (own, torn): (&Self, bool),
        ids: &HashSet<&str>,
        source: Option<SourceId>,
        report: &mut Report,
    ) -> Applied {
        let mut tables = self.tables.clone();
        let text = source.map(|source| report.text(source)).unwrap_or_default();
        let (mut rows, mut refused, was_torn, mut torn) = (Vec::new(), 0, torn, torn);
        if let Some(reader) = reader(source, &text, report) {
            let (names, lists, mut faults) = (&mut Known(self), &mut Lists::default(), Report::new());
            let mut resolver = Resolver { names, tables: &mut tables, lists, vocabulary: &self.vocabulary };
            for line in reader.lines().iter() {
                match sound(&reader, line, &mut resolver, &mut faults, report) {
                    Some(row) if ids.contains(row.id.as_str()) => rows.push((row, line.place())),
                    Some(_) | None => refused += 1,
                }
            }
        }
        tables.seal(&self.right_intervals);

        let (mut by_id, mut by_key): (HashMap<&str, usize>, HashMap<PrincipalKey, usize>) = Default::default();
        for (row, _) in &rows {
            *by_id.entry(&row.id).or_default() += 1;
            *by_key.entry(row.key).or_default() += 1;
        }
        let own_ids: HashSet<&str> = own.ids().collect();
        let alone = |row: &Sound| by_id.get(row.id.as_str()) == Some(&1) && by_key.get(&row.key) == Some(&1);
        let free = |row: &Sound| !own_ids.contains(row.id.as_str()) && own.principal(row.key).is_none();

        let mut people = self.people.clone();
        for key in self.keys_of(ids, rows.iter().map(|(row, _)| row)) {
            if own.principal(key).is_none() {
                people = people.with(key, None, &tables);
            }
        }
        for (row, place) in &rows {
            // Whoever is found now is of another row that has not changed, or of one of these.
            let other = people.find(row.key, &tables).is_some();
            let is_known = || self.principal(row.key).is_some_and(|known| known.id() == row.id);
            if was_torn && !other && !is_known() {
                refused += 1;
                continue;
            }
            if free(row) && alone(row) && !other {
                people = people.with(row.key, Some((row.profile, &row.own, &row.id)), &tables);
                continue;
            }
            refused += 1;
            torn = true;
            if free(row) && other {
                people = people.with(row.key, None, &tables);
            }
            refuse(*place, "another principal has its id or its key", SHARED, report);
        }
        Applied { domain: self.around(tables, people), refused, torn }
    }

    /// The keys of the principals with these ids. Whoever has the key that its row says is found by it; only for others
    /// all have to be looked at.
    fn keys_of<'r>(&self, ids: &HashSet<&str>, rows: impl Iterator<Item = &'r Sound>) -> Vec<PrincipalKey> {
        let mut left = ids.clone();
        let mut keys = Vec::new();
        for row in rows {
            if self.principal(row.key).is_some_and(|known| known.id() == row.id) && left.remove(row.id.as_str()) {
                keys.push(row.key);
            }
        }
        if !left.is_empty() {
            let all = self.people.iter(&self.tables).filter(|principal| left.contains(principal.id()));
            keys.extend(all.map(|principal| principal.key()));
        }
        keys
    }
}

const SHARED: &str = "give each principal its own id, and its own oid or subject in its tenant";

/// The principals of a domain and those of rows, without rows that share an id or a key with anybody; whether there
/// were any.
fn together(own: &Domain, gathered: Vec<Gathered>, tables: &Tables, report: &mut Report) -> (People, bool) {
    let threads = available_parallelism().map_or(1, usize::from);
    let mut first = Chunk::default();
    for principal in own.people.iter(tables) {
        first.add(principal.key().object, principal.profile(), principal.own(), principal.id());
    }
    let owned = first.len();
    let (rows, places): (Vec<Chunk>, Vec<Vec<Place>>) =
        gathered.into_iter().map(|part| (part.chunk, part.places)).unzip();
    let mut chunks = vec![first];
    chunks.extend(rows);
    let (people, doubles) = People::build(&chunks, tables, threads);
    let pairs = doubles.ids.iter().chain(&doubles.keys);
    let shared: HashSet<usize> = pairs.flat_map(|(first, later)| [*first, *later]).filter(|n| *n >= owned).collect();
    if shared.is_empty() {
        return (people, false);
    }
    let numbered = (owned..).zip(places.iter().flatten());
    for (_, place) in numbered.filter(|(number, _)| shared.contains(number)) {
        refuse(*place, "another principal has its id or its key", SHARED, report);
    }
    let mut start = 0;
    let mut rest = Vec::new();
    for chunk in chunks {
        rest.push(chunk.without(|position| shared.contains(&(start + position)), tables));
        start += chunk.len();
    }
    (People::build(&rest, tables, threads).0, true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::document::{self, grants::GrantsDocument};
    use crate::model::{Guid, Status, Tenant};
    use crate::policy::{Builder, Held, Keep};

    const HEAD: &str = "version: 1\ndomain: d\nimplies: {edit: [view]}\nscopes: {forest: {\"n:a\": root, \"n:b\": root}}\n\
                        roles: {clerk: {rights: [view, edit]}}\ngroups: {g: {flags: [f], grants: [\"view:deny @n:b\"]}}\n\
                        principals:\n  - {id: own, tenant: t, oid: 00000000-0000-0000-0000-000000000009, grants: [view]}\n";

    fn domain(head: &str) -> Domain {
        let mut report = Report::new();
        let source = report.add_source("grants.yaml", head);
        let document: GrantsDocument = document::read_grants(source, &mut report).unwrap();
        let tenants = [Tenant::of_objects("t", Guid(7))];
        let domain = Builder::new(&document, &tenants, Keep::Decisions, &mut report).finish(&mut report).0;
        assert_eq!(report.render(), "");
        domain
    }

    fn row(id: &str, object: u8, rest: &str) -> String {
        format!("{{\"id\":\"{id}\",\"tenant\":\"t\",\"oid\":\"00000000-0000-0000-0000-{object:012}\"{rest}}}\n")
    }

    fn source(text: &str, report: &mut Report) -> Option<SourceId> {
        (!text.is_empty()).then(|| report.add_source("rows", text))
    }

    fn with_all(own: &Domain, text: &str) -> (Applied, String) {
        let mut report = Report::new();
        let source = source(text, &mut report);
        let applied = own.with_rows(source, &mut report);
        assert!(!report.has_errors());
        (applied, report.render())
    }

    /// What everybody holds, by key.
    fn everything(domain: &Domain) -> Vec<(PrincipalKey, String)> {
        let mut all: Vec<_> = domain
            .people
            .iter(&domain.tables)
            .map(|principal| {
                let pairs =
                    domain.rights().flat_map(|(right, _)| domain.scopes().map(move |(scope, _)| (right, scope)));
                let held: Vec<Held> = pairs.map(|(right, scope)| domain.held(principal, right, scope)).collect();
                let flags: Vec<bool> = domain.flags().map(|(flag, _)| domain.bears(principal, flag)).collect();
                (principal.key(), format!("{} {:?} {flags:?} {held:?}", principal.id(), principal.status()))
            })
            .collect();
        all.sort_unstable();
        all
    }

    const fn key(object: u128) -> PrincipalKey {
        PrincipalKey { tenant: Guid(7), object: Guid(object) }
    }

    #[test]
    fn rows_stand_beside_the_principals_of_the_document() {
        let own = domain(HEAD);
        let text =
            row("p", 1, ",\"status\":\"inactive\"") + &row("q", 2, ",\"grants\":[{\"role\":\"clerk\",\"at\":\"n:a\"}]");
        let (applied, warnings) = with_all(&own, &text);
        assert_eq!((warnings.as_str(), applied.refused, applied.torn), ("", 0, false));
        let found = applied.domain;
        assert_eq!(found.counts().0, 3);
        assert_eq!(found.principal(key(1)).unwrap().status(), Status::Inactive);
        let (view, node) = (found.find_right("view").unwrap(), found.find_scope("n:a").unwrap());
        assert!(matches!(found.held(found.principal(key(2)).unwrap(), view, node), Held::Up(_)));
        assert_eq!(with_all(&own, "").0.domain.counts(), own.counts());
    }

    #[test]
    fn what_nothing_asks_for_comes_to_nothing_but_is_a_fault_where_there_is_a_catalogue() {
        let text = row("p", 1, ",\"flags\":[\"odd\"],\"grants\":[\"view\",\"odd\",\"odd.er:deny @n:a\"]");
        let (applied, warnings) = with_all(&domain(HEAD), &text);
        assert_eq!((warnings.as_str(), applied.domain.counts()), ("", (2, 2)));
        let (applied, warnings) =
            with_all(&domain(&HEAD.replace("domain: d", "domain: d\nrights: [view, edit]")), &text);
        assert_eq!((applied.refused, applied.domain.counts().0), (1, 1));
        assert!(warnings.contains("the catalogue has no right `odd`"), "{warnings}");
    }

    #[test]
    fn of_rows_that_share_an_id_or_a_key_none_counts_and_nobody_of_the_document_gives_way() {
        let own = domain(HEAD);
        for (text, left) in [
            (row("p", 1, "") + &row("p", 2, "") + &row("q", 3, ""), vec!["own", "q"]),
            (row("p", 1, "") + &row("q", 1, "") + &row("r", 3, ""), vec!["own", "r"]),
            (row("p", 1, "") + &row("p", 1, ""), vec!["own"]),
            (row("own", 1, "") + &row("q", 9, ""), vec!["own"]),
        ] {
            let (applied, warnings) = with_all(&own, &text);
            let mut ids: Vec<&str> = applied.domain.ids().collect();
            ids.sort_unstable();
            assert_eq!(ids, left, "{text}");
            assert!(applied.torn && applied.refused == 2, "{warnings}");
            assert_eq!(applied.domain.principal(key(9)).unwrap().id(), "own");
        }
    }

    proptest! {
        #[test]
        fn changes_one_after_the_other_never_give_more_than_all_rows_at_once_and_the_same_where_none_share_anything(
            changes in prop::collection::vec(
                prop::collection::vec((0..5_u8, prop::option::of((0..6_u8, 0..5_usize))), 1..4),
                1..12,
            ),
        ) {
            const SAYS: [&str; 5] = [
                "",
                ",\"grants\":[\"view @n:a\"]",
                ",\"grants\":[{\"role\":\"clerk\"}],\"groups\":[\"g\"]",
                ",\"status\":\"inactive\",\"grants\":[\"edit\"]",
                ",\"groups\":[\"nobody\"]",
            ];
            let own = domain(HEAD);
            let mut rows: std::collections::BTreeMap<u8, String> = Default::default();
            let (mut whole, mut torn) = (with_all(&own, "").0.domain, false);
            for change in changes {
                let mut changed = std::collections::BTreeMap::new();
                for (id, to) in change {
                    let row = to.map(|(object, says)| row(&format!("p{id}"), object, SAYS[says])).unwrap_or_default();
                    changed.insert(id, row);
                }
                let ids: Vec<String> = changed.keys().map(|id| format!("p{id}")).collect();
                let mut report = Report::new();
                let text: String = changed.values().map(String::as_str).collect();
                let source = source(&text, &mut report);
                let ids: HashSet<&str> = ids.iter().map(String::as_str).collect();
                let applied = whole.with_changed_rows((&own, torn), &ids, source, &mut report);
                torn = applied.torn;
                whole = applied.domain;
                rows.extend(changed);
                let all: String = rows.values().map(String::as_str).collect();
                let at_once = everything(&with_all(&own, &all).0.domain);
                let found = everything(&whole);
                prop_assert!(found.iter().all(|one| at_once.contains(one)), "{:?}\n{:?}", found, at_once);
                prop_assert!(torn || found == at_once, "{:?}\n{:?}", found, at_once);
            }
        }
    }
}
