//! Principals decide alike whether they stand in YAML or in files of their own, in every world.

use portcullis::document::people::PeopleFormat;
use proptest::collection::vec;

use crate::engine;
use crate::run::run;
use crate::support::people::{json_lines, table};
use crate::world::World;
use crate::worlds::{Sketch, sketch, world};
use crate::write::{target, told};

/// Requests that each world answers.
const A_WORLD: usize = 10;

fn alike(world: &World, sketches: &[Sketch]) -> Result<(), String> {
    let yaml = engine::load(world)?;
    let files = [
        engine::load_from_file(world, PeopleFormat::Table, |people| table(people, ""))?,
        engine::load_from_file(world, PeopleFormat::Table, |people| table(people, " "))?,
        engine::load_from_file(world, PeopleFormat::JsonLines, |people| json_lines(people, false))?,
    ];
    for sketch in sketches {
        let request = sketch.sent_to(world);
        let expected = engine::judge(&yaml, &request);
        for (number, file) in files.iter().enumerate() {
            let found = engine::judge(file, &request);
            if found != expected {
                let request = target(&request);
                return Err(format!("{request}: YAML says {expected}, file {number} says {found}"));
            }
        }
    }
    Ok(())
}

#[test]
fn principals_of_files_are_judged_as_those_of_yaml() {
    let case = (world(2), vec(sketch(), A_WORLD));
    let test = |(world, sketches): &(World, Vec<Sketch>)| alike(world, sketches);
    run(7, 100, &case, |(world, _)| told(world), test);
}
