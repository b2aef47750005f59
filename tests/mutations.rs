//! Every term of every requirement that the examples ship matters: whichever of them is dropped, turned round or
//! asked for elsewhere, some entry of `tests:` notices. What no entry can notice, because it means the same, is listed
//! with the reason.

mod mutants;
mod support;

use std::path::Path;

use http::request::Parts;
use portcullis::document::routes::TestDocument;
use support::world::{World, as_expected};

/// Mutants that mean what the original means, and why.
struct Same {
    /// The example.
    example: &'static str,
    /// How the mutants are described; `*` stands for anything.
    mutants: &'static str,
    /// Why nothing can tell them from the original.
    because: &'static str,
}

const SAME: &[Same] = &[
    Same { example: "ips-oms", mutants: "*: ips.territory* -> ips.territory:*", because: YES_OR_NO },
    Same {
        example: "ips-oms",
        mutants: "api.officer.*: without oms.officer* @command",
        because: "whoever holds all of an officer holds each part, which the next alternatives ask for",
    },
    Same {
        example: "ips-oms",
        mutants: "api.officer.*: oms.officer* @command -> oms.officer:*",
        because: "as above: what this alternative then misses, the next ones find",
    },
    Same {
        example: "ips-oms",
        mutants: "api.officer.*: oms.officer* @command -> oms.officer* @*",
        because: "as above: what this alternative then misses, the next ones find",
    },
    Same { example: "ips-oms", mutants: "across *", because: ONE_SOURCE },
    Same { example: "ips-oms", mutants: "within Nearest", because: NO_RIVALS },
    Same { example: "iom", mutants: "*: r* -> r*:*", because: "roles hold their rights whole: there are no levels" },
    Same {
        example: "iom",
        mutants: "*: main when missing: skip",
        because: "the right is the only term, and asked for at a skipped scope it fails with the same code",
    },
    Same {
        example: "iom",
        mutants: "return.returnables: without GET",
        because: "the next route takes these requests too, and asks the same",
    },
    Same { example: "iom", mutants: "across *", because: ONE_SOURCE },
    Same { example: "iom", mutants: "within Nearest", because: NO_RIVALS },
    Same { example: "imsma", mutants: "* -> *@root/*", because: "there are no scopes, so nothing is below the root" },
    Same { example: "imsma", mutants: "form.*: def.*:write -> def.*:read", because: YES_OR_NO },
    Same { example: "imsma", mutants: "template.*:write -> form_template.*:read", because: YES_OR_NO },
    Same { example: "imsma", mutants: "account.*_admin:write -> *_admin:read", because: YES_OR_NO },
    Same { example: "imsma", mutants: "aux.export: *:write -> *:read", because: YES_OR_NO },
    Same { example: "imsma", mutants: "across *", because: ONE_SOURCE },
    Same { example: "imsma", mutants: "within Nearest", because: NO_RIVALS },
    Same {
        example: "imos",
        mutants: "company_match: *company_mismatch with its sides changed",
        because: "two things are the same whichever is named first",
    },
    Same { example: "imos", mutants: "approvals: *@approval_company/*", because: LEAF },
    Same { example: "imos", mutants: "invoice.*@type -> *@type/*", because: LEAF },
    Same { example: "imos", mutants: "vessel.view: *@vessel/*", because: LEAF },
    Same { example: "imos", mutants: "vessel.view: *@vtype/*", because: LEAF },
    Same {
        example: "imos",
        mutants: "*.approve: approval_company when missing: *",
        because: "it comes from where `company` comes from, which has failed before",
    },
];

const YES_OR_NO: &str = "the right is held or not: nobody holds it at a level between";
const ONE_SOURCE: &str = "there are no groups, so each principal is its only source";
const NO_RIVALS: &str = "nothing is denied, and nobody holds a right near at one level and far at a higher one";
const LEAF: &str = "an object of this kind has nothing below it";

/// The cases of an example that ask with the same settings.
struct Group {
    /// A case whose settings these are.
    sample: TestDocument,
    cases: Vec<(TestDocument, Parts)>,
}

/// The cases of an example, ready to be asked again and again.
struct Suite(Vec<Group>);

impl Suite {
    fn of(world: &World) -> Self {
        let mut groups: Vec<Group> = Vec::new();
        for (_, test) in world.tests() {
            let settings = |test: &TestDocument| {
                test.settings.iter().map(|(name, value)| (name.value.clone(), value.clone())).collect::<Vec<_>>()
            };
            let case = (test.clone(), world.request(test));
            match groups.iter_mut().find(|group| settings(&group.sample) == settings(test)) {
                Some(group) => group.cases.push(case),
                None => groups.push(Group { sample: test.clone(), cases: vec![case] }),
            }
        }
        Self(groups)
    }

    /// Whether some case is decided otherwise than it says, or the policy is not even accepted.
    fn notices(&self, world: Result<World, String>) -> bool {
        let Ok(world) = world else { return true };
        self.0.iter().any(|group| {
            let Ok(world) = world.with_settings(0, &group.sample.settings) else { return true };
            group.cases.iter().any(|(test, head)| as_expected(test, &world.judge(head.clone())).is_err())
        })
    }
}

/// Whether a text is what a pattern with `*` describes.
fn fits(text: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => text == pattern,
        Some((head, rest)) => text
            .strip_prefix(head)
            .is_some_and(|text| (0..=text.len()).filter_map(|start| text.get(start..)).any(|text| fits(text, rest))),
    }
}

#[test]
fn no_term_of_an_example_can_change_without_a_case_that_notices() {
    let mut unnoticed = Vec::new();
    let mut idle: Vec<&Same> = SAME.iter().collect();
    for example in ["ips-oms", "iom", "imsma", "imos"] {
        let world = World::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(example));
        let suite = Suite::of(&world);
        assert!(!suite.notices(world.with_routes(world.routes.clone())), "{example}: the original fails");
        let of_routes = mutants::of(&world.routes[0]).into_iter();
        let mut mutants: Vec<_> =
            of_routes.map(|mutant| (mutant.what, world.with_routes(vec![mutant.routes]))).collect();
        assert!(mutants.len() > 50, "{example}: {} mutants", mutants.len());
        let of_strategy = mutants::of_strategy(&world.grants[0]).into_iter();
        mutants.extend(of_strategy.map(|(what, grants)| (what, world.with_grants(vec![grants]))));
        let (count, refused) = (mutants.len(), mutants.iter().filter(|(_, world)| world.is_err()).count());
        let survivors: Vec<String> =
            mutants.into_iter().filter_map(|(what, world)| (!suite.notices(world)).then_some(what)).collect();
        println!("{example}: {count} mutants, {refused} refused at load, {} mean the same", survivors.len());
        for what in survivors {
            let excused = |same: &Same| same.example == example && fits(&what, same.mutants);
            idle.retain(|same| !excused(same));
            if !SAME.iter().any(excused) {
                unnoticed.push(format!("{example}: {what}"));
            }
        }
    }
    assert!(unnoticed.is_empty(), "no case notices\n{}", unnoticed.join("\n"));
    let idle: Vec<_> = idle.iter().map(|same| (same.example, same.mutants, same.because)).collect();
    assert!(idle.is_empty(), "these are noticed, or are gone: {idle:#?}");
}
