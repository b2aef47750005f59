//! The documents by themselves, as they are written.

use super::{PolicyFiles, decode, fetch};
use crate::diag::Report;
use crate::document::grants::GrantsDocument;
use crate::document::routes::RoutesDocument;

/// Reads all documents for their faults of shape only, where not all of them can be read.
pub fn check_shape(files: &PolicyFiles, report: &mut Report) {
    let fetched = fetch(files, report);
    decode(files, fetched, report).with_people(report);
}

/// Reads all documents as they are written, with the principals of the files that they name. What cannot be read is
/// reported and left out.
pub fn read_documents(files: &PolicyFiles, report: &mut Report) -> (Vec<RoutesDocument>, Vec<GrantsDocument>) {
    let fetched = fetch(files, report);
    let (decoded, _named) = decode(files, fetched, report).with_people(report);
    (decoded.routes, decoded.grants)
}
