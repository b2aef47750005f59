//! The decision, pure: knows neither HTTP nor files.
/// All domains by name.
#[derive(Debug, Default)]
pub struct Domains {}
