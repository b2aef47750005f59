//! The engine and the naive evaluator agree, and the run that shows it has been everywhere.

use std::cell::{Cell, RefCell};
use std::env;
use std::hash::{BuildHasher, RandomState};

use proptest::collection::vec;

use crate::engine;
use crate::evaluator::judge;
use crate::reach::Reach;
use crate::run::run;
use crate::world::World;
use crate::worlds::{Sketch, sketch, world};
use crate::write::{target, told};

/// Decisions of the ordinary run, which is the same each time.
const DECISIONS: usize = 20_000;
/// How many of them each world takes.
const A_WORLD: usize = 10;
/// Denials in ten grants.
const DENIALS: u32 = 2;

/// Whether both say the same of every request, and how many they allow; otherwise what each said of the first one on
/// which they differ.
fn agree(world: &World, sketches: &[Sketch], reach: Option<&RefCell<Reach>>) -> Result<usize, String> {
    let loaded = engine::load(world)?;
    let mut judged = Vec::new();
    for sketch in sketches {
        let request = sketch.sent_to(world);
        let expected = judge(world, &request);
        let found = engine::judge(&loaded, &request);
        if found != expected.text {
            let caller = request.caller.as_ref();
            return Err(format!(
                "{} {}\nheaders: {:?}\ncaller: {caller:?}\nthe engine:    {found}\nthe evaluator: {}",
                request.method,
                target(&request),
                request.headers,
                expected.text
            ));
        }
        judged.push((request, expected));
    }
    if let Some(reach) = reach {
        reach.borrow_mut().count(world, &judged);
    }
    Ok(judged.iter().filter(|(_, answer)| answer.text == "allow").count())
}

#[test]
fn the_engine_and_the_naive_evaluator_agree_everywhere() {
    let reach = RefCell::new(Reach::default());
    let case = (world(DENIALS), vec(sketch(), A_WORLD));
    let test = |(world, sketches): &(World, Vec<Sketch>)| agree(world, sketches, Some(&reach)).map(|_| ());
    run(1, DECISIONS / A_WORLD, &case, |(world, _)| told(world), test);
    let reach = reach.into_inner();
    assert!(reach.decisions() >= DECISIONS, "only {} decisions", reach.decisions());
    println!("{reach}");
    assert_eq!(reach.unreached(), [""; 0], "{reach}");
}

/// Only when asked for: `PORTCULLIS_LONG` is the number of decisions.
#[test]
fn the_engine_and_the_naive_evaluator_agree_for_long() {
    let Ok(decisions) = env::var("PORTCULLIS_LONG") else { return };
    let decisions: usize = decisions.parse().expect("PORTCULLIS_LONG is a number of decisions");
    let seed = env::var("PORTCULLIS_SEED").ok().map(|seed| seed.parse().expect("PORTCULLIS_SEED is a number"));
    let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(()));
    println!("PORTCULLIS_SEED={seed}");
    let (done, allowed) = (Cell::new(0_usize), Cell::new(0_usize));
    let test = |(world, sketches): &(World, Vec<Sketch>)| {
        allowed.set(allowed.get() + agree(world, sketches, None)?);
        done.set(done.get() + sketches.len());
        Ok(())
    };
    let a_world = 3 * A_WORLD;
    run(seed, decisions.div_ceil(a_world), &(world(DENIALS), vec(sketch(), a_world)), |(world, _)| told(world), test);
    println!("{} decisions, {} of them allow", done.get(), allowed.get());
}
