//! What the live policy was made of, for the next one to go on from: where only routes change, a million principals are
//! neither read nor compiled again. A grants document and its files of principals must say what they said; all else is
//! taken in anew.

use std::collections::{BTreeMap, HashSet};
use std::mem;
use std::path::PathBuf;
use std::sync::Arc;

use super::load::{Content, Digest, Paths};
use super::named::{Named, Seen};
use crate::document::grants::{GrantsDocument, PrincipalDocument};
use crate::document::people::PeopleFile;
use crate::policy::Taken;
use crate::source::file::stamp::Stamp;

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Ground {
    /// By the path of the grants document.
    documents: BTreeMap<PathBuf, Arc<Taken>>,
    /// Files of principals, those whose stamps tell whether they are still what was read.
    stamps: BTreeMap<PathBuf, Stamp>,
    /// Principals whom tests name.
    tried: Tried,
}

/// Principals of files whom tests name: to find them, a whole file has to be gone through.
#[derive(Debug, Default)]
pub(super) struct Tried {
    /// All names that tests have, whoever they are.
    pub(super) names: HashSet<String>,
    /// By domain.
    pub(super) found: BTreeMap<String, Vec<PrincipalDocument>>,
}

/// What of a candidate need not be taken in again, by number of grants document.
#[derive(Debug, Default)]
pub(super) struct Spared {
    pub(super) taken: Vec<Option<Arc<Taken>>>,
    /// The files of principals of these, which were not read, and what they say.
    pub(super) people: Vec<Vec<(PathBuf, Digest, PeopleFile)>>,
}

impl Ground {
    /// What was made of grants documents, whose principals come from the files that `named` knows.
    pub(super) fn of(grants: &[GrantsDocument], paths: &Paths, taken: &[Option<Arc<Taken>>], named: &Named) -> Self {
        let documents = grants.iter().zip(taken).filter_map(|(document, taken)| {
            let path = paths.get(&document.domain.place.source)?;
            Some((path.clone(), Arc::clone(taken.as_ref()?)))
        });
        Self { documents: documents.collect(), stamps: named.stamps().clone(), tried: Tried::default() }
    }

    /// The same, with those whom tests name.
    pub(super) fn having_tried(self, tried: Tried) -> Self {
        Self { tried, ..self }
    }

    /// Those whom tests named, if they named nobody whom these tests do not name.
    pub(super) fn tried(&self, names: &HashSet<String>) -> Option<&Tried> {
        names.is_subset(&self.tried.names).then_some(&self.tried)
    }

    /// Files of principals with their stamps, and what they said then: of `content`, which this is of.
    pub(super) fn stamped(&self, content: &Content) -> BTreeMap<PathBuf, (Stamp, Digest)> {
        let stamped = self.stamps.iter();
        let known = stamped.filter_map(|(path, stamp)| Some((path.clone(), (*stamp, content.of_people(path)?))));
        known.collect()
    }

    /// Finds the documents that say what those of `content` say, which this is of, and takes their files of principals away:
    /// nothing of these has to be read. What had to be read to know that goes to `seen`.
    pub(super) fn spare(
        &self,
        content: &Content,
        (grants, paths): (&mut [GrantsDocument], &Paths),
        digests: &BTreeMap<PathBuf, Digest>,
        (named, seen): (&mut Named, &mut Seen),
    ) -> Spared {
        let mut spared = Spared::default();
        for document in grants {
            let path = paths.get(&document.domain.place.source);
            let says = |path: &PathBuf| content.of_document(path).is_some_and(|said| Some(&said) == digests.get(path));
            let taken = path.filter(|path| says(path)).and_then(|path| self.documents.get(path));
            let taken = taken.filter(|taken| taken.is_of(document));
            let same = |people: &PeopleFile| named.still_says(people, content, seen);
            let people: Option<Vec<_>> = taken.and_then(|_| document.principals_from.iter().map(same).collect());
            match (taken, people) {
                (Some(taken), Some(people)) => {
                    let files = mem::take(&mut document.principals_from);
                    let unread = people.into_iter().zip(files).map(|((path, digest), file)| (path, digest, file));
                    spared.taken.push(Some(Arc::clone(taken)));
                    spared.people.push(unread.collect());
                }
                _ => {
                    spared.taken.push(None);
                    spared.people.push(Vec::new());
                }
            }
        }
        spared
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::thread::sleep;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::diag::Report;
    use crate::document::{read_grants, read_routes};
    use crate::model::{Guid, Tenant};
    use crate::policy::{Domain, Domains};
    use crate::reload::load::{Change, Documents, PolicyFiles, load, load_if_changed};
    use crate::reload::trials;
    use crate::review::impact;
    use crate::route::RouteMap;

    /// A folder with two domains, `a` with principals in a file and `b` with its own, as it was loaded last.
    struct Fixture {
        folder: tempfile::TempDir,
        content: Content,
        ground: Ground,
        domains: Arc<Domains>,
    }

    fn routes(more: &str, tests: &str) -> String {
        let route = |domain: &str, asked: &str| {
            format!(
                "  - name: {domain}\n    hosts: [{domain}.test]\n    domain: {domain}\n    upstream: u\n    \
                 gate: {{tenants: [t], audiences: [x]}}\n    routes:\n      \
                 - {{id: r, match: {{methods: [GET], path: /r}}, require: [{asked}]}}\n"
            )
        };
        let (a, b) = (route("a", &format!("read{more}")), route("b", "read"));
        format!("version: 1\nupstreams: {{u: {{servers: [\"http://127.0.0.1:9\"]}}}}\napplications:\n{a}{b}{tests}")
    }

    /// Tests by which these principals may read, and nobody else of them.
    fn tests(who: &[(&str, &str)]) -> String {
        let test = |(id, expect): &(&str, &str)| {
            format!("  - {{id: \"{id}\", as: {id}, request: \"GET https://a.test/r\", expect: {expect}}}\n")
        };
        format!("tests:\n{}", who.iter().map(test).collect::<String>())
    }

    fn people(grants: &str) -> String {
        let line =
            |(number, id): (usize, &&str)| format!("{id}\tt\t00000000-0000-0000-0000-00000000000{number}\t{grants}\n");
        format!("id\ttenant\toid\tgrants\n{}", ["olga", "vera"].iter().enumerate().map(line).collect::<String>())
    }

    const OTHER: &str = "version: 1\ndomain: b\nprincipals:\n  - {id: ina, tenant: t, oid: 00000000-0000-0000-0000-00000000000b, \
                         grants: [read]}\n";

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let (content, ground, domains) = Default::default();
            let mut fixture = Self { folder, content, ground, domains };
            fixture.put("routes.yaml", &routes("", ""));
            fixture.put("a.yaml", "version: 1\ndomain: a\nprincipals_from: [people.tsv]\n");
            fixture.put("b.yaml", OTHER);
            fixture.put("people.tsv", &people("read"));
            let mut report = Report::new();
            let loaded = load(&fixture.files(), &mut report);
            assert!(!report.has_errors(), "{}", report.render());
            (fixture.content, fixture.ground) = (loaded.content, loaded.ground);
            fixture.domains = Arc::new(loaded.compiled.unwrap().domains);
            fixture
        }

        fn put(&self, name: &str, text: &str) {
            fs::write(self.folder.path().join(name), text).unwrap();
        }

        fn files(&self) -> PolicyFiles {
            let at = |name: &str| self.folder.path().join(name);
            PolicyFiles {
                routes: vec![at("routes.yaml")],
                grants: vec![at("a.yaml"), at("b.yaml")],
                tenants: vec![Tenant::of_objects("t", Guid(1))],
                feeds: Vec::new(),
            }
        }

        /// Reloads, and says which of the two domains are the very same as before. `Err` is what is wrong.
        fn reload(&mut self, trusting: bool) -> Result<[bool; 2], String> {
            match load_if_changed(&self.files(), (&self.content, &self.ground), None, trusting) {
                Change::Good { loaded, domains, .. } => {
                    let same = ["a", "b"].map(|name| self.domain(name).is_same(domains.find(name).unwrap().1));
                    (self.content, self.ground, self.domains) = (loaded.content, loaded.ground, domains);
                    Ok(same)
                }
                Change::Faulty { report, .. } => Err(report),
                Change::None | Change::Passed => Err("nothing new".to_owned()),
            }
        }

        fn domain(&self, name: &str) -> &Domain {
            self.domains.find(name).unwrap().1
        }
    }

    #[test]
    fn only_what_changed_is_taken_in_again() {
        for (name, text, same) in [
            ("routes.yaml", routes(", write", ""), [false, true]),
            ("routes.yaml", routes(", read", ""), [true, true]),
            ("people.tsv", people("read,write"), [false, true]),
            ("a.yaml", "version: 1\ndomain: a\nprincipals_from: [people.tsv]\n# new\n".to_owned(), [false, true]),
            ("b.yaml", format!("{OTHER}# new\n"), [true, false]),
        ] {
            for trusting in [false, true] {
                let mut fixture = Fixture::new();
                fixture.put(name, &text);
                assert_eq!(fixture.reload(trusting), Ok(same), "{name} {text}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        /// Whatever was edited before, and whether or not that was taken.
        #[test]
        fn a_reload_publishes_what_a_start_would(
            edits in prop::collection::vec((0_usize..5, 0_usize..6, any::<bool>()), 1..10),
        ) {
            let mut fixture = Fixture::new();
            for (file, how, trusting) in edits {
                let asked = ["", ", write", ", a.b", ", \"read:write\"", ", {flag: f}", ", nonsense:x"][how];
                let held = ["read", "read,write", "a", "read:deny", "", "read\tx"][how];
                match file {
                    0 => fixture.put("routes.yaml", &routes(asked, "")),
                    1 => fixture.put("routes.yaml", &routes(asked, &tests(&[("olga", "allow")]))),
                    2 => fixture.put("people.tsv", &people(held)),
                    3 => fixture.put("a.yaml", &format!("version: 1\ndomain: a\n{}principals_from: [people.tsv]\n", A[how])),
                    _ => fixture.put("b.yaml", &OTHER.replace("[read]", &format!("[{held}]"))),
                }
                let taken = fixture.reload(trusting);
                let mut report = Report::new();
                let fresh = load(&fixture.files(), &mut report);
                prop_assert!(taken.is_err() || !report.has_errors(), "{}", report.render());
                let Some(fresh) = fresh.compiled.filter(|_| taken.is_ok()) else { continue };
                let live = &*fixture.domains;
                for sides in [(live, &fresh.domains), (&fresh.domains, live)] {
                    let same = impact((&fresh.routes, sides.0), (&fresh.routes, sides.1));
                    for (name, domain) in &same.domains {
                        prop_assert_eq!((domain.gain, domain.lose), (0, 0), "{}: {:?}", name, domain);
                    }
                }
            }
        }
    }

    /// What a grants document may say beside its principals.
    const A: [&str; 6] = [
        "",
        "strategy: {rights: tree}\n",
        "implies: {write: [read]}\n",
        "token_groups: {x: g}\ngroups: {g: {flags: [f]}}\n",
        "rights: [read, write, a]\n",
        "groups: {g: {grants: [\"read:deny\"]}}\n",
    ];

    #[test]
    fn what_comes_of_it_has_the_digest_of_what_the_files_say() {
        let mut fixture = Fixture::new();
        fixture.put("routes.yaml", &routes(", read", ""));
        fixture.reload(true).unwrap();
        assert_eq!(fixture.content, load(&fixture.files(), &mut Report::new()).content);
        assert_eq!(fixture.reload(true), Err("nothing new".to_owned()));
    }

    #[test]
    fn a_file_of_principals_that_has_its_stamp_is_not_read_and_one_that_has_another_is() {
        let mut fixture = Fixture::new();
        // Stamps of files that were just written tell nothing yet.
        assert!(fixture.ground.stamped(&fixture.content).is_empty());
        sleep(Duration::from_millis(2_100));
        fixture.put("routes.yaml", &routes(", read", ""));
        fixture.reload(true).unwrap();
        let stamped = fixture.ground.stamped(&fixture.content);
        assert_eq!(stamped.len(), 1);
        let (content, seen) = (&fixture.content, || Seen::stamped(stamped.clone()));
        let mut trusting = seen();
        assert!(content.people_still_hold(&mut trusting) && trusting.has_read_nothing());
        let mut reading = Seen::default();
        assert!(content.people_still_hold(&mut reading) && !reading.has_read_nothing());
        // As many bytes, and other ones.
        fixture.put("people.tsv", &people("mead"));
        let mut changed = seen();
        assert!(!fixture.content.people_still_hold(&mut changed) && !changed.has_read_nothing());
        assert_eq!(fixture.reload(true), Ok([false, true]));
    }

    #[test]
    fn a_file_that_changes_between_two_documents_that_name_it_is_a_fault() {
        let fixture = Fixture::new();
        let mut report = Report::new();
        let source = report.add_source("c.yaml", "version: 1\ndomain: c\nprincipals_from: [people.tsv]\n");
        let mut documents = [read_grants(source, &mut report).unwrap()];
        let mut named = Named::new([(source, fixture.folder.path().to_owned())].into());
        let file = &documents[0].principals_from[0];
        assert!(named.still_says(file, &fixture.content, &mut Seen::default()).is_some());
        fixture.put("people.tsv", &people("write"));
        named.read_people(&mut documents, Seen::default(), &mut report);
        assert!(report.render().contains("it changed while the policy was read"), "{}", report.render());
    }

    #[test]
    fn a_file_that_changes_before_tests_look_for_their_principals_rejects_the_candidate() {
        let fixture = Fixture::new();
        let mut report = Report::new();
        let maps = report.add_source("routes.yaml", routes("", &tests(&[("olga", "allow")])));
        let grants = report.add_source("a.yaml", "version: 1\ndomain: a\nprincipals_from: [people.tsv]\n");
        let (maps, mut grants) = (read_routes(maps, &mut report).unwrap(), read_grants(grants, &mut report).unwrap());
        let file = grants.principals_from.remove(0);
        let unread = vec![(fixture.folder.path().join("people.tsv"), Digest::default(), file)];
        let spared = Spared { taken: vec![None], people: vec![unread] };
        let tables = (Arc::new(RouteMap::default()), Arc::clone(&fixture.domains));
        let documents = Documents { routes: vec![maps], grants: vec![grants], spared };
        let (errors, _) = trials::run(documents, None, (&fixture.files().tenants, &[]), tables, &mut report);
        assert_eq!(errors, report.errors());
        assert!(report.render().contains("it changed while the policy was read"), "{}", report.render());
    }

    #[test]
    fn tests_find_the_principals_of_files_that_are_not_read_again() {
        let mut fixture = Fixture::new();
        let both = [("olga", "allow"), ("vera", "allow")];
        for who in [&both[..1], &both, &both[1..], &both] {
            fixture.put("routes.yaml", &routes("", &tests(who)));
            assert_eq!(fixture.reload(true), Ok([true, true]), "{who:?}");
        }
        for (more, who) in [("", &[("olga", "deny")][..]), (", write", &both), ("", &[("nobody", "allow")])] {
            fixture.put("routes.yaml", &routes(more, &tests(who)));
            let told = fixture.reload(true).unwrap_err();
            assert!(told.contains("error[test_failed]"), "{told}");
        }
        fixture.put("routes.yaml", &routes(", write", &tests(&both)));
        fixture.put("people.tsv", &people("read,write"));
        assert_eq!(fixture.reload(true), Ok([false, true]));
    }
}
