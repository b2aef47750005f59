//! Where in the files of either side something is written.

use super::{Side, SidedPlace};
use crate::diag::Report;

/// The texts of both sides.
#[derive(Clone, Copy, Debug)]
pub struct Places<'r> {
    /// Those of the first.
    pub old: &'r Report,
    /// Those of the second.
    pub new: &'r Report,
}

impl Places<'_> {
    /// `old FILE:LINE:COLUMN` of a place.
    pub fn place(&self, (side, place): SidedPlace) -> String {
        let (word, texts) = match side {
            Side::Old => ("old", self.old),
            Side::New => ("new", self.new),
        };
        let location = texts.locate(place);
        format!("{word} {}:{}:{}", location.file, location.line, location.column)
    }
}
