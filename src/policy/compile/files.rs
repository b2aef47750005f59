//! The files of principals that a document names, entry by entry: for operators' tools, and to say where each stands.

use crate::diag::{Place, Report, SourceId};
use crate::document::grants::PrincipalDocument;
use crate::document::people::{PeopleFile, Reader, read_people};

/// The entries of all files, for whoever looks at each.
pub(super) fn entries(files: &[PeopleFile], report: &mut Report) -> Vec<PrincipalDocument> {
    let read = |file: &PeopleFile| source_of(file, report).map(|source| read_people(source, file.format, report));
    files.iter().filter_map(read).flatten().collect()
}

/// The text of a file, which whoever read the document has to have read too.
pub(super) fn source_of(file: &PeopleFile, report: &mut Report) -> Option<SourceId> {
    if file.source.is_none() {
        let message = format!("`{}` was not read", file.name.value);
        report.error("unread_file", file.name.place, message).help("read the files of a document with the document");
    }
    file.source
}

/// The entry that stands on a line of one of these files.
pub(super) fn entry_at(files: &[PeopleFile], place: Place, report: &Report) -> Option<PrincipalDocument> {
    let file = files.iter().find(|file| file.source == Some(place.source))?;
    let (text, mut known) = (report.text(place.source), Report::new());
    let reader = Reader::new(place.source, file.format, &text, &mut known)?;
    reader.document(reader.lines().line_at(place.start)?, &mut known)
}
