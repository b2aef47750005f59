//! Diagnostics: what is wrong in a file, where, and what to do about it.
//!
//! Every reader of the configuration takes a [`Report`], puts in what it finds and goes on, so that one run shows all
//! faults of all files. [`Report::render`] turns them into text for people.

mod render;
mod sources;
mod suggest;

use std::collections::HashSet;
use std::sync::Arc;

pub use render::printable;
pub use sources::{Location, Place, SourceId};
pub use suggest::suggest;

use sources::Sources;

/// How many findings are kept with all their details; further ones are only counted. A file of a hundred megabytes
/// with a fault in each line must not fill the memory or the terminal.
const MOST: usize = 1_000;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can be used, but something is odd.
    Warning,
}

/// One finding.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// A stable word for the class of the finding, such as `unknown_key`.
    pub code: &'static str,
    /// What is wrong: lower case, no full stop, names in backticks.
    pub message: String,
    /// Where; `None` for what has no text, such as a missing file.
    pub place: Option<Place>,
    /// What to do about it.
    pub help: Option<String>,
    /// Other places that belong to it, each with a few words.
    pub related: Vec<(Place, String)>,
}

impl Diagnostic {
    /// Says what to do about it.
    pub fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }

    /// The same, with all its places somewhere else.
    #[must_use]
    pub fn moved(mut self, to: impl Fn(Place) -> Place) -> Self {
        self.place = self.place.map(&to);
        self.related.iter_mut().for_each(|(place, _)| *place = to(*place));
        self
    }

    /// Adds another place that belongs to it.
    pub fn also(&mut self, place: Place, label: impl Into<String>) -> &mut Self {
        self.related.push((place, label.into()));
        self
    }
}

/// How much was found at some moment; see [`Report::warnings_since`].
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    listed: usize,
    errors: usize,
    warnings: usize,
}

/// The sources of one load and everything found in them. Faults are collected, never thrown one by one.
#[derive(Debug, Default)]
pub struct Report {
    sources: Sources,
    diagnostics: Vec<Diagnostic>,
    /// Places and codes of these, so that one fault found twice is found quickly.
    known: HashSet<(Place, &'static str)>,
    errors: usize,
    warnings: usize,
    /// The newest finding beyond [`MOST`]: whoever found it may still add to it.
    excess: Option<Diagnostic>,
}

impl Report {
    /// An empty report.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a text in. `name` is what diagnostics call it: the path as written.
    pub fn add_source(&mut self, name: &str, text: impl Into<String>) -> SourceId {
        self.sources.add(name, Arc::new(text.into()))
    }

    /// Takes a text in that somebody else has too.
    pub fn add_shared(&mut self, name: &str, text: Arc<String>) -> SourceId {
        self.sources.add(name, text)
    }

    /// The text of a source.
    pub fn text(&self, source: SourceId) -> Arc<String> {
        self.sources.text(source)
    }

    /// The name of a source.
    pub fn name(&self, source: SourceId) -> Arc<str> {
        self.sources.name(source)
    }

    /// Records an error.
    pub fn error(
        &mut self,
        code: &'static str,
        place: impl Into<Option<Place>>,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        self.add(Severity::Error, code, place.into(), message.into())
    }

    /// Records a warning.
    pub fn warning(
        &mut self,
        code: &'static str,
        place: impl Into<Option<Place>>,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        self.add(Severity::Warning, code, place.into(), message.into())
    }

    /// What was found so far, in the order of finding. Beyond the first thousand, findings are counted only.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// Whether anything found forbids the use of the configuration.
    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// How many errors were found.
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// How many warnings were found.
    pub fn warnings(&self) -> usize {
        self.warnings
    }

    /// How much was found so far.
    pub fn mark(&self) -> Mark {
        Mark { listed: self.diagnostics.len(), errors: self.errors, warnings: self.warnings }
    }

    /// All that was found since then, if it was nothing but warnings, and all of them are listed.
    pub fn warnings_since(&self, Mark { listed, errors, warnings }: Mark) -> Option<&[Diagnostic]> {
        let found = self.diagnostics.get(listed..)?;
        (self.errors == errors && self.warnings.checked_sub(warnings) == Some(found.len())).then_some(found)
    }

    /// Records once more what another report had, with places of the same sources.
    pub fn repeat(&mut self, found: &Diagnostic) {
        let known = self.add(found.severity, found.code, found.place, found.message.clone());
        known.help.clone_from(&found.help);
        known.related.clone_from(&found.related);
    }

    fn add(
        &mut self,
        severity: Severity,
        code: &'static str,
        place: Option<Place>,
        message: String,
    ) -> &mut Diagnostic {
        let found = Diagnostic { severity, code, message, place, help: None, related: Vec::new() };
        // A definition that many routes name is compiled once for each; its fault is one fault.
        let same = |known: &Diagnostic| known.place == place && known.code == code && known.message == found.message;
        let seen = place.is_some_and(|place| self.known.contains(&(place, code)));
        let mut index = if seen { self.diagnostics.iter().position(same) } else { None };
        if index.is_none() {
            match severity {
                Severity::Error => self.errors += 1,
                Severity::Warning => self.warnings += 1,
            }
            if self.diagnostics.len() < MOST {
                index = Some(self.diagnostics.len());
                self.known.extend(place.map(|place| (place, code)));
                self.diagnostics.push(found.clone());
            }
        }
        match index.and_then(|index| self.diagnostics.get_mut(index)) {
            Some(known) => {
                known.related.clear();
                known
            }
            None => self.excess.insert(found),
        }
    }

    /// Drops the findings that a test does not hold for.
    pub fn retain(&mut self, keep: impl Fn(&Diagnostic) -> bool) {
        let of = |all: &[Diagnostic], severity| all.iter().filter(|found| found.severity == severity).count();
        let before = (of(&self.diagnostics, Severity::Error), of(&self.diagnostics, Severity::Warning));
        self.diagnostics.retain(|found| keep(found));
        self.errors -= before.0 - of(&self.diagnostics, Severity::Error);
        self.warnings -= before.1 - of(&self.diagnostics, Severity::Warning);
    }

    /// Line and column of a place's start.
    pub fn locate(&self, place: Place) -> Location {
        self.sources.locate(place)
    }

    /// All findings as people read them: sorted by source and position, those without a place first, each with
    /// excerpt, caret and help; then how many there are. Empty when nothing was found. Long lines are cut around the
    /// caret, and control characters are made visible.
    pub fn render(&self) -> String {
        render::render(self)
    }
}
