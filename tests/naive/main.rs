//! An independent proof of the decision: a second, naive evaluator, written from the rules' text, and the engine agree
//! on random worlds and requests, to the last letter of every reason; and laws that hold in every world.
//!
//! `PORTCULLIS_LONG=1000000 cargo test --test naive agree` compares as many decisions on other worlds each
//! time; `PORTCULLIS_SEED` repeats one such run.

#[path = "../support/mod.rs"]
mod support;

mod agreement;
mod differ;
mod engine;
mod evaluator;
mod explained;
mod fit;
mod held;
mod laws;
mod member;
mod membership;
mod people;
mod reach;
mod run;
mod world;
mod worlds;
mod write;
