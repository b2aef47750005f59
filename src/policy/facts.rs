//! What the decision may ask of a request. The policy knows neither HTTP nor files: whoever enforces it answers.

use super::supplied::Supplied;

/// The values that a request brings. Names are those of the configuration. Whatever has to be decoded was decoded before
/// the decision, once: what it is lent here costs it no memory.
pub trait Facts {
    /// The path segment with this index, decoded.
    fn segment(&self, index: usize) -> Option<&str>;

    /// The path from the segment with this index to its end, decoded.
    fn rest(&self, index: usize) -> Option<&str>;

    /// Calls `each` with every value of a query parameter, in order.
    fn query<'r>(&'r self, name: &str, each: &mut dyn FnMut(&'r str));

    /// Calls `each` with every value of a field of the form in the body, in order.
    fn form<'r>(&'r self, name: &str, each: &mut dyn FnMut(&'r str));

    /// The value of a header.
    fn header(&self, name: &str) -> HeaderValue<'_>;

    /// What was found of an object of a kind that is looked up; `None` if nobody has looked, and then such a request
    /// is denied.
    fn supplied(&self) -> Option<&Supplied> {
        None
    }
}

/// The value of a header, or why it has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderValue<'r> {
    /// The header is not there.
    Absent,
    /// It stands there once, and is text.
    One(&'r str),
    /// It stands there more than once, or cannot be read as text.
    Unclear,
}
