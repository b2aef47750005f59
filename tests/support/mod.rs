//! What several test files share. Each includes the parts that it needs.

pub mod world;
