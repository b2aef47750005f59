//! Diagnostics: what is wrong in a file, where, and what to do about it.

use std::sync::Arc;

/// One file (or other text) that was read, by its number in [`Sources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(u32);

/// A stretch of a source, in bytes from its start; `start == end` points between two characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The source.
    pub source: SourceId,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

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

    /// Adds another place that belongs to it.
    pub fn also(&mut self, place: Place, label: impl Into<String>) -> &mut Self {
        self.related.push((place, label.into()));
        self
    }
}

/// The texts that were read, for excerpts and for turning places into lines and columns.
#[derive(Debug, Default)]
pub struct Sources {
    files: Vec<(Arc<str>, Arc<str>)>,
}

/// A place as people read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The source's name, as it was written by whoever named it.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// The sources of one load and everything found in them. Faults are collected, never thrown one by one.
#[derive(Debug, Default)]
pub struct Report {
    sources: Sources,
    diagnostics: Vec<Diagnostic>,
}

impl Report {
    /// An empty report.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a text in. `name` is what diagnostics call it: the path as written.
    pub fn add_source(&mut self, name: &str, text: &str) -> SourceId {
        let id = SourceId(u32::try_from(self.sources.files.len()).unwrap_or(u32::MAX));
        self.sources.files.push((name.into(), text.into()));
        id
    }

    /// The text of a source.
    pub fn text(&self, source: SourceId) -> Arc<str> {
        self.file(source).1
    }

    /// The name of a source.
    pub fn name(&self, source: SourceId) -> Arc<str> {
        self.file(source).0
    }

    fn file(&self, source: SourceId) -> (Arc<str>, Arc<str>) {
        let file = usize::try_from(source.0).ok().and_then(|index| self.sources.files.get(index));
        file.cloned().unwrap_or_else(|| (Arc::from(""), Arc::from("")))
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

    /// Everything found so far, in the order of finding.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// Whether anything found forbids the use of the configuration.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|found| found.severity == Severity::Error)
    }

    /// How many errors were found.
    pub fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|found| found.severity == Severity::Error).count()
    }

    fn add(
        &mut self,
        severity: Severity,
        code: &'static str,
        place: Option<Place>,
        message: String,
    ) -> &mut Diagnostic {
        self.diagnostics.push(Diagnostic { severity, code, message, place, help: None, related: Vec::new() });
        let last = self.diagnostics.len() - 1;
        &mut self.diagnostics[last]
    }

    /// Line and column of a place's start.
    pub fn locate(&self, _place: Place) -> Location {
        todo!()
    }

    /// All findings as people read them: sorted by source and position, each with excerpt, caret and help.
    pub fn render(&self) -> String {
        todo!()
    }
}

/// Stub.
pub fn suggest<'n>(_name: &str, _candidates: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    None
}
