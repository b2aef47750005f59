//! Stub.
use crate::diag::{Place, Report, SourceId};
/// Bounds.
#[derive(Default)]
pub struct Limits {}
impl Limits {
    /// For grants.
    pub fn grants() -> Self {
        Self {}
    }
}
pub(super) struct Node {
    pub place: Place,
}
pub(super) fn parse(_s: SourceId, _l: &Limits, _r: &mut Report) -> Option<Node> {
    todo!()
}
