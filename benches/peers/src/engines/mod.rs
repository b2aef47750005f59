//! The engines, each with the world and the questions in the form that suits it best.

pub mod casbin;
pub mod cedar;
pub mod portcullis;
pub mod rego;

/// Something that answers the cases.
pub trait Engine {
    /// How the table calls it.
    fn name(&self) -> &'static str;
    /// The answer to the case of this number.
    fn allows(&mut self, case: usize) -> bool;
}
