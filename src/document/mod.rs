//! The files as they are written: documents with the place of every value, before anything is resolved.
//!
//! `parse` turns text into a tree of nodes within bounds; `gateway`, `routes` with `entrance` and `upstream`, `grants` and `revoked` read
//! the tree into mirrors of the kinds of file and report every fault of shape at once. Whether names resolve is for the
//! compilers of `config`, `route` and `policy`.

pub mod database;
mod decode;
pub mod entrance;
pub mod gateway;
pub mod grants;
mod parse;
pub mod people;
mod position;
pub mod revoked;
pub mod routes;
pub mod shadow;
mod syntax;
pub mod upstream;

use std::fmt;

use crate::diag::{Place, Report, SourceId};

pub use parse::Limits;

/// A value and the place where it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Located<T> {
    /// Where it stands.
    pub place: Place,
    /// What stands there.
    pub value: T,
}

impl<T> Located<T> {
    /// Puts a value at a place.
    pub const fn new(place: Place, value: T) -> Self {
        Self { place, value }
    }
}

/// A map whose keys are names, in the order of writing; the names are distinct.
pub type Entries<T> = Vec<(Located<String>, T)>;

/// A constant of the configuration: a setting, an attribute of an object, or one side of a comparison.
/// Plain (unquoted) scalars follow the YAML 1.2 core schema for booleans and integers; all else is text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Literal {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Anything else that is one word or quoted.
    Text(String),
    /// A list of these.
    List(Vec<Literal>),
}

impl fmt::Display for Literal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(out, "{value}"),
            Self::Int(value) => write!(out, "{value}"),
            Self::Text(value) => out.write_str(value),
            Self::List(list) => {
                out.write_str("[")?;
                for (number, item) in list.iter().enumerate() {
                    write!(out, "{}{item}", if number > 0 { ", " } else { "" })?;
                }
                out.write_str("]")
            }
        }
    }
}

/// Reads a `gateway.yaml`. Faults go to `report`; `None` when no document could be made at all.
pub fn read_gateway(source: SourceId, report: &mut Report) -> Option<gateway::GatewayDocument> {
    let root = parse::parse(source, &Limits::default(), report)?;
    decode::gateway(&root, report)
}

/// Reads a `routes.yaml`. Faults go to `report`; `None` when no document could be made at all.
pub fn read_routes(source: SourceId, report: &mut Report) -> Option<routes::RoutesDocument> {
    let root = parse::parse(source, &Limits::default(), report)?;
    decode::routes(&root, report)
}

/// Reads a `grants.yaml`. Faults go to `report`; `None` when no document could be made at all.
pub fn read_grants(source: SourceId, report: &mut Report) -> Option<grants::GrantsDocument> {
    let root = parse::parse(source, &Limits::grants(), report)?;
    decode::grants(&root, report)
}

/// Reads a `revoked.yaml`. Faults go to `report`; `None` when no document could be made at all.
pub fn read_revoked(source: SourceId, report: &mut Report) -> Option<Vec<revoked::RevocationDocument>> {
    let root = parse::parse(source, &Limits::revoked(), report)?;
    decode::revoked(&root, report)
}

/// Reads entries of a `revoked.yaml` as operators send them: one, or `{revoked: [...]}`. Faults go to `report`; `None`
/// when nothing could be made of it at all.
pub fn read_revocations(source: SourceId, report: &mut Report) -> Option<Vec<revoked::RevocationDocument>> {
    let root = parse::parse(source, &Limits::default(), report)?;
    decode::revocations(&root, report)
}

/// Reads a file that holds nothing but `tests:`, as route maps have them. Faults go to `report`; `None` when no
/// document could be made at all.
pub fn read_tests(source: SourceId, report: &mut Report) -> Option<Vec<routes::TestDocument>> {
    let root = parse::parse(source, &Limits::default(), report)?;
    decode::tests(&root, report)
}
