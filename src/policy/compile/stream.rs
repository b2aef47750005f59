//! Principals from files, by the million. Several threads take lines apart; every text that lines share is resolved once,
//! by the code that resolves what YAML says; then the threads gather who stands on the lines. A line that is not plain,
//! or of which any text does not resolve, is read again like an entry of YAML, so that each fault is told where it is.
//!
//! The pieces into which a file is cut depend on its text only, and what they say is resolved in their order, so many at a
//! time: the outcome does not depend on the number of threads.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::entries::{Names, Resolver};
use super::files::source_of;
use super::rows;
use crate::courtesy::{hands, in_turns, side_by_side};
use crate::diag::{Place, Report};
use crate::document::grants::PrincipalDocument;
use crate::document::people::{Bounds, KnownBy, Line, Lines, PeopleFile, Person, Reader};
use crate::model::tenant::is_subject;
use crate::model::{Guid, Tenant};
use crate::policy::names::Map;
use crate::policy::people::{BundleId, Chunk, ProfileId};

/// How much is read at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// How many threads read.
    threads: usize,
    /// Bytes of a piece of a file.
    piece: usize,
    /// Principals of all files together.
    most: usize,
}

/// Lines in one turn of a thread.
const TURN: u32 = 1_024;
/// More threads would wait for each other.
const MOST_THREADS: usize = 2;
/// How many pieces are read before all that was met in them is resolved. The more, the less the threads wait for each
/// other, and the more memory is in use meanwhile.
const ROUND: usize = 4;

impl Default for Pace {
    fn default() -> Self {
        Self { threads: hands().min(MOST_THREADS), piece: 1 << 21, most: Bounds::PRINCIPALS }
    }
}

/// Principals that were gathered, and where each is written.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// Who they are.
    pub(super) chunk: Chunk,
    /// By number in the chunk: the line.
    pub(super) places: Vec<Place>,
}

impl Gathered {
    pub(super) fn add(&mut self, line: Line<'_>, object: Guid, profile: ProfileId, own: &[BundleId], id: &str) {
        self.chunk.add(object, profile, own, id);
        self.places.push(line.place());
    }
}

/// What becomes of a line with a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnFault {
    /// Its faults are errors, which keep all from being used: somebody wrote a file.
    Error,
    /// It alone is left out, with a warning: it is a row of a database.
    LeaveOut,
}

/// Reads the files of a document.
pub(super) fn read<N: Names>(
    resolver: &mut Resolver<'_, N>,
    files: &[PeopleFile],
    pace: Pace,
    report: &mut Report,
) -> Vec<Gathered> {
    let mut all = Vec::new();
    for file in files {
        let Some(source) = source_of(file, report) else { continue };
        let text = report.text(source);
        let Some(reader) = Reader::new(source, file.format, &text, report) else { continue };
        if !read_lines(resolver, &reader, (pace, OnFault::Error), &mut all, report) {
            Bounds::too_many(pace.most, file.name.place, report);
            return all;
        }
    }
    all
}

/// Reads one text on behind what was gathered before. False when there are too many principals.
pub(super) fn read_lines<N: Names>(
    resolver: &mut Resolver<'_, N>,
    reader: &Reader<'_>,
    (pace, on_fault): (Pace, OnFault),
    all: &mut Vec<Gathered>,
    report: &mut Report,
) -> bool {
    let mut count: usize = all.iter().map(|gathered| gathered.places.len()).sum();
    let mut memory = Memory::new(reader);
    let mut pieces = reader.lines().pieces(pace.piece).into_iter().peekable();
    while pieces.peek().is_some() && report.errors() <= Bounds::FAULTS {
        let round = pieces.by_ref().take(ROUND).collect();
        let taken = side_by_side(pace.threads, round, &|piece| Taken::apart(reader, &piece));
        let known = taken.into_iter().map(|taken| memory.resolve(taken, resolver)).collect();
        for (mut gathered, left) in side_by_side(pace.threads, known, &Known::gather) {
            match on_fault {
                OnFault::Error => read_again(reader, &left, &mut gathered, resolver, report),
                OnFault::LeaveOut => rows::read_sound(reader, &left, &mut gathered, resolver, report),
            }
            count += gathered.places.len();
            all.push(gathered);
        }
        if count > pace.most {
            return false;
        }
    }
    true
}

/// A text as it is written; many are empty. To compare two empty texts as any others is a call that looks at no byte,
/// but on some processors takes longer than all the rest of a line: it asks for none of the bytes at an address where
/// there are none.
#[derive(Clone, Copy, Eq)]
struct Written<'t>(&'t str);

impl PartialEq for Written<'_> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && (self.0.is_empty() || self.0 == other.0)
    }
}

impl Hash for Written<'_> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// What a line says of a principal that many lines say alike.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Standing<'t> {
    by_subject: bool,
    /// See [`Person::standing`].
    written: [Written<'t>; 4],
    /// It says which grants of groups count.
    boundary: Written<'t>,
}

/// A grant within a boundary.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Entry<'t> {
    boundary: Written<'t>,
    written: Written<'t>,
}

/// Different texts in the order in which they came.
struct Distinct<'t, T> {
    numbers: Map<T, usize>,
    /// By number: where each stood first, as line and position on it.
    first: Vec<(T, Line<'t>, usize)>,
}

impl<'t, T: Copy + Eq + Hash> Distinct<'t, T> {
    fn new() -> Self {
        Self { numbers: Map::default(), first: Vec::new() }
    }

    fn number(&mut self, text: T, line: Line<'t>, position: usize) -> usize {
        let next = self.first.len();
        let number = *self.numbers.entry(text).or_insert(next);
        if number == next {
            self.first.push((text, line, position));
        }
        number
    }
}

/// What names a principal, checked as far as it can be without its tenant.
enum Name<'t> {
    Object(Guid),
    Subject(Cow<'t, str>),
}

impl<'t> Name<'t> {
    fn of(known_by: KnownBy<'t>) -> Option<Self> {
        match known_by {
            KnownBy::ObjectId(text) => text.parse().ok().map(Self::Object),
            KnownBy::Subject(text) => is_subject(&text).then_some(Self::Subject(text)),
        }
    }
}

/// A principal whose texts are numbers in its piece.
struct Row<'t> {
    line: Line<'t>,
    id: Cow<'t, str>,
    name: Name<'t>,
    standing: usize,
    /// Where its entries end in the list of all.
    end: usize,
}

/// A piece of a file, taken apart.
struct Taken<'t> {
    rows: Vec<Row<'t>>,
    /// The entries of all rows, one after the other.
    held: Vec<usize>,
    standings: Distinct<'t, Standing<'t>>,
    entries: Distinct<'t, Entry<'t>>,
    /// Lines that have to be read like YAML.
    left: Vec<Line<'t>>,
}

impl<'t> Taken<'t> {
    fn apart(reader: &Reader<'t>, piece: &Lines<'t>) -> Self {
        let (standings, entries) = (Distinct::new(), Distinct::new());
        let mut taken = Self { rows: Vec::new(), held: Vec::new(), standings, entries, left: Vec::new() };
        let mut grants = Vec::new();
        for line in in_turns(TURN, piece.iter()) {
            if reader.quick(line, &mut grants).and_then(|person| taken.add(line, person, &grants)).is_none() {
                taken.left.push(line);
            }
        }
        taken
    }

    fn add(&mut self, line: Line<'t>, person: Person<'t>, grants: &[&'t str]) -> Option<()> {
        let Person { id, known_by, standing: written, boundary } = person;
        let name = Name::of(known_by)?;
        let (written, boundary) = (written.map(Written), Written(boundary));
        let standing = Standing { by_subject: matches!(name, Name::Subject(_)), written, boundary };
        let standing = self.standings.number(standing, line, 0);
        for (position, written) in grants.iter().enumerate() {
            let entry = Entry { boundary, written: Written(written) };
            self.held.push(self.entries.number(entry, line, position));
        }
        self.rows.push(Row { line, id, name, standing, end: self.held.len() });
        Some(())
    }
}

/// What the texts of one file say, as far as they were met and say anything.
struct Memory<'r, 't> {
    reader: &'r Reader<'t>,
    standings: Map<Standing<'t>, (ProfileId, Tenant)>,
    entries: Map<Entry<'t>, Arc<[BundleId]>>,
    /// Takes the faults of lines that will be read again.
    faults: Report,
}

/// A piece of a file with what its texts say; nothing where that has faults.
struct Known<'t> {
    taken: Taken<'t>,
    standings: Vec<Option<(ProfileId, Tenant)>>,
    entries: Vec<Option<Arc<[BundleId]>>>,
}

impl<'r, 't> Memory<'r, 't> {
    fn new(reader: &'r Reader<'t>) -> Self {
        Self { reader, standings: Map::default(), entries: Map::default(), faults: Report::new() }
    }

    fn resolve<N: Names>(&mut self, taken: Taken<'t>, resolver: &mut Resolver<'_, N>) -> Known<'t> {
        let mut known = Known { taken, standings: Vec::new(), entries: Vec::new() };
        let Taken { standings, entries, .. } = &known.taken;
        for (text, line, _) in &standings.first {
            if !self.standings.contains_key(text)
                && let Some(mut written) = self.document(*line)
                && let Some(found) = self.standing(&mut written, resolver)
            {
                self.standings.insert(*text, found);
            }
            known.standings.push(self.standings.get(text).cloned());
        }
        // Entries of one line follow each other.
        let mut last: Option<(Line<'t>, Option<PrincipalDocument>)> = None;
        for (text, line, position) in &entries.first {
            if !self.entries.contains_key(text) {
                let (_, written) = match last.take() {
                    Some(last) if last.0 == *line => last,
                    Some(_) | None => (*line, self.document(*line)),
                };
                let found = written.as_ref().and_then(|written| self.entry(written, *position, resolver));
                if let Some(found) = found {
                    self.entries.insert(*text, found);
                }
                last = Some((*line, written));
            }
            known.entries.push(self.entries.get(text).cloned());
        }
        known
    }

    /// What a line says, if it has no fault of shape.
    fn document(&mut self, line: Line<'t>) -> Option<PrincipalDocument> {
        let before = self.faults.errors();
        let written = self.reader.document(line, &mut self.faults);
        written.filter(|_| self.faults.errors() == before)
    }

    fn standing<N: Names>(
        &mut self,
        written: &mut PrincipalDocument,
        resolver: &mut Resolver<'_, N>,
    ) -> Option<(ProfileId, Tenant)> {
        let before = self.faults.errors();
        // A fault in one of its grants is none of whoever else stands so.
        written.grants.clear();
        let (_, profile) = resolver.principal(written, &mut self.faults).stored?;
        let tenant = resolver.vocabulary.tenants.get(&written.tenant.value)?.clone();
        (self.faults.errors() == before).then_some((profile, tenant))
    }

    fn entry<N: Names>(
        &mut self,
        written: &PrincipalDocument,
        position: usize,
        resolver: &mut Resolver<'_, N>,
    ) -> Option<Arc<[BundleId]>> {
        let before = self.faults.errors();
        let boundary = resolver.boundary(&written.id, written.boundary.as_deref(), &mut self.faults);
        // Without a fault, nothing comes of a right that nobody asks for.
        let gives = resolver.gives(written.grants.get(position)?, &mut self.faults);
        let bundles = gives.map(|gives| resolver.bundles(&gives, boundary.as_deref())).unwrap_or_default();
        (self.faults.errors() == before).then(|| bundles.into())
    }
}

impl<'t> Known<'t> {
    /// Gathers who is known, and says which lines have to be read again.
    fn gather(self) -> (Gathered, Vec<Line<'t>>) {
        let Self { taken, standings, entries } = self;
        let (mut gathered, mut left) = (Gathered::default(), taken.left);
        let mut own = Vec::new();
        let mut start = 0;
        for row in in_turns(TURN, taken.rows) {
            let held = taken.held.get(start..row.end).unwrap_or_default();
            start = row.end;
            own.clear();
            let whole = held.iter().all(|entry| {
                let found = entries.get(*entry).and_then(Option::as_ref);
                own.extend(found.into_iter().flat_map(|bundles| bundles.iter()));
                found.is_some()
            });
            let standing = standings.get(row.standing).and_then(Option::as_ref);
            let found = standing.filter(|_| whole).and_then(|(profile, tenant)| {
                let object = match &row.name {
                    Name::Object(object) => *object,
                    Name::Subject(subject) => tenant.principal(subject)?.object,
                };
                Some((object, *profile))
            });
            match found {
                Some((object, profile)) => gathered.add(row.line, object, profile, &own, &row.id),
                None => left.push(row.line),
            }
        }
        (gathered, left)
    }
}

/// Reads lines like entries of YAML, so that their faults are told.
fn read_again<N: Names>(
    reader: &Reader<'_>,
    lines: &[Line<'_>],
    gathered: &mut Gathered,
    resolver: &mut Resolver<'_, N>,
    report: &mut Report,
) {
    for line in in_turns(TURN, lines) {
        if report.errors() > Bounds::FAULTS {
            return;
        }
        let Some(written) = reader.document(*line, report) else { continue };
        let resolved = resolver.principal(&written, report);
        if let Some((key, profile)) = resolved.stored {
            gathered.add(*line, key.object, profile, &resolved.own, &written.id.value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::mem;

    use super::*;
    use crate::document::people::PeopleFormat;
    use crate::document::{self, Located};
    use crate::policy::Keep;
    use crate::policy::compile::Builder;
    use crate::policy::compile::entries::Lists;

    const GRANTS: &str = "version: 1\ndomain: d\nscopes: {forest: {m: root, n: m}}\nroles: {R: {rights: [a, b]}}\n\
                          groups: {G: {flags: [g]}}\n";

    /// People of several kinds: with escapes, with faults, alone and with much in common.
    fn table() -> String {
        let line = |number: u32| {
            let id = if number.is_multiple_of(7) { format!("p\\\\{number}") } else { format!("p{number}") };
            let right = if number.is_multiple_of(11) { format!("c{number}@n") } else { "role=R@m".to_owned() };
            let group = if number.is_multiple_of(13) { "H" } else { "G" };
            format!("{id}\tt\t00000000-0000-0000-0000-{number:012}\t{group}\t{right},a:read\n")
        };
        format!("id\ttenant\toid\tgroups\tgrants\n{}", (0..200).map(line).collect::<String>())
    }

    /// What is gathered at a pace, in words, and the faults.
    fn read_at(pace: Pace, text: &str) -> (Vec<Gathered>, String) {
        let mut report = Report::new();
        let source = report.add_source("grants.yaml", GRANTS);
        let document = document::read_grants(source, &mut report).unwrap();
        let mut builder = Builder::new(&document, &[Tenant::of_objects("t", Guid(7))], Keep::Decisions, &mut report);
        let vocabulary = mem::take(&mut builder.domain.vocabulary);
        let (mut tables, mut lists) = (mem::take(&mut builder.tables), Lists::default());
        let mut resolver =
            Resolver { names: &mut builder, tables: &mut tables, lists: &mut lists, vocabulary: &vocabulary };
        let source = Some(report.add_source("p.tsv", text));
        let name = Located::new(document.domain.place, "p.tsv".to_owned());
        let file = PeopleFile { name, format: PeopleFormat::Table, source };
        let found = read(&mut resolver, &[file], pace, &mut report);
        (found, report.render())
    }

    #[test]
    fn the_outcome_does_not_depend_on_the_number_of_threads() {
        let text = table();
        for piece in [1, 300, 1 << 22] {
            let alone = read_at(Pace { threads: 1, piece, ..Pace::default() }, &text);
            for threads in [0, 2, 3, 8] {
                let found = read_at(Pace { threads, piece, ..Pace::default() }, &text);
                assert!(format!("{found:?}") == format!("{alone:?}"), "{threads} threads, {piece} bytes");
            }
        }
    }

    #[test]
    fn every_sound_line_is_gathered_once_and_every_faulty_one_told_whatever_the_pieces() {
        let text = table();
        for piece in [1, 100, 1_000, 1 << 22] {
            let (found, faults) = read_at(Pace { threads: 2, piece, ..Pace::default() }, &text);
            let mut places: Vec<Place> = found.iter().flat_map(|gathered| gathered.places.clone()).collect();
            assert_eq!(places.len(), found.iter().map(|gathered| gathered.chunk.len()).sum::<usize>());
            places.sort_unstable();
            places.dedup();
            // A principal is stored without a group that there is not; the report keeps all from being used.
            assert_eq!(places.len(), 200);
            assert!(faults.ends_with("16 errors\n"), "{faults}");
        }
    }

    #[test]
    fn no_more_principals_are_read_than_there_may_be() {
        let text = table().replace("\tH\t", "\tG\t");
        for (most, faults) in [(199, 1), (200, 0)] {
            let (found, report) = read_at(Pace { threads: 2, piece: 1_000, most }, &text);
            assert_eq!(report.matches("error[too_large]").count(), faults, "{report}");
            assert!(found.iter().map(|gathered| gathered.places.len()).sum::<usize>() <= 200);
        }
    }
}
