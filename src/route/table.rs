//! Which route a path and method take: a tree of segments. Literal beats variable beats rest, segment by segment from
//! the left; the method is part of the match; the order of the file never matters.

use http::Method;

use super::canonical::{CanonicalPath, MAX_SEGMENTS};
use super::pattern::{Pattern, Segment};
use crate::policy::Map;

/// The routes of one application, by path and method.
#[derive(Debug)]
pub struct Table {
    nodes: Vec<Node>,
    /// Whether letter case makes no difference to literals.
    folds: bool,
}

#[derive(Debug, Default)]
struct Node {
    /// As they are written, or in lower case where case makes no difference.
    literals: Map<Box<str>, usize>,
    /// The same without letter case, for look-alikes.
    folded: Map<Box<str>, usize>,
    variable: Option<usize>,
    /// Routes that end here.
    ends: Vec<(Method, usize)>,
    /// Routes that take the rest from here.
    rests: Vec<(Method, usize)>,
}

impl Node {
    /// What a literal leads to.
    fn literal(&self, segment: &str, folds: bool) -> Option<usize> {
        if !folds || segment.bytes().all(is_folded) {
            return self.literals.get(segment).copied();
        }
        let lower = lower(segment);
        // A letter that only some foldings turn into one of ASCII is another letter to the others.
        let agreed = segment.chars().map(|c| c.is_ascii()).eq(lower.chars().map(|c| c.is_ascii()));
        self.literals.get(lower.as_str()).copied().filter(|_| agreed)
    }

    fn is_look_alike(&self, segment: &str, folds: bool) -> bool {
        if self.folded.is_empty() {
            return false;
        }
        let folded = if segment.bytes().all(is_folded) {
            self.folded.contains_key(segment)
        } else {
            self.folded.contains_key(folded(segment).as_str())
        };
        folded && self.literal(segment, folds).is_none()
    }
}

/// Whether this letter is its own folded form for sure.
const fn is_folded(byte: u8) -> bool {
    byte.is_ascii() && !byte.is_ascii_uppercase()
}

/// Without letter case, as readers fold it that know more than ASCII: some letters beyond it fold to letters of it.
fn folded(text: &str) -> String {
    text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

/// In lower case, letter by letter.
fn lower(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

/// What came of a visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Visit {
    /// It was looked for no further.
    Done,
    /// Nothing here; less specific routes may be visited.
    Missed,
    /// The path resembles a more specific route, so no less specific one may take it.
    LookAlike,
}

impl Table {
    /// A table without routes. `folds`: letter case makes no difference to literals.
    pub fn new(folds: bool) -> Self {
        Self { nodes: vec![Node::default()], folds }
    }

    /// Whether letter case makes no difference to literals.
    pub const fn folds(&self) -> bool {
        self.folds
    }

    /// Adds a route by its number.
    ///
    /// # Errors
    /// The number of the route that takes the very same requests.
    pub fn insert(&mut self, pattern: &Pattern, method: &Method, route: usize) -> Result<(), usize> {
        let mut at = 0;
        let mut rest = false;
        for segment in &pattern.segments {
            let next = self.nodes.len();
            let Some(node) = self.nodes.get_mut(at) else { return Ok(()) };
            at = match segment {
                Segment::Literal(text) if self.folds => {
                    let one = *node.folded.entry(folded(text).into()).or_insert(next);
                    *node.literals.entry(lower(text).into()).or_insert(one)
                }
                Segment::Literal(text) => {
                    node.folded.insert(folded(text).into(), next);
                    *node.literals.entry(text.clone()).or_insert(next)
                }
                Segment::Variable(_) => *node.variable.get_or_insert(next),
                Segment::Rest(_) => {
                    rest = true;
                    break;
                }
            };
            if at == next {
                self.nodes.push(Node::default());
            }
        }
        let Some(node) = self.nodes.get_mut(at) else { return Ok(()) };
        let ends = if rest { &mut node.rests } else { &mut node.ends };
        match find(ends, method) {
            Some(other) => Err(other),
            None => {
                ends.push((method.clone(), route));
                Ok(())
            }
        }
    }

    /// The route of a request. HEAD takes the route of GET.
    pub fn find(&self, path: &CanonicalPath<'_>, method: &Method) -> Option<usize> {
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        let mut found = None;
        let done = &mut |ends: &[(Method, usize)]| {
            found = find(ends, method);
            found.is_some()
        };
        self.walk(0, path, 0, (done, &|ends| find(ends, method).is_some()));
        found
    }

    /// The methods that routes of this path have, sorted; empty if no route has it.
    pub fn methods<'t>(&'t self, path: &CanonicalPath<'_>) -> Vec<&'t str> {
        let mut methods: Vec<&str> = Vec::new();
        let done = &mut |ends: &'t [(Method, usize)]| {
            let taken = ends.iter().filter(|(method, _)| self.find(path, method).is_some());
            methods.extend(taken.map(|(method, _)| method.as_str()));
            false
        };
        self.walk(0, path, 0, (done, &|_| false));
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        methods.sort_unstable();
        methods.dedup();
        methods
    }

    /// The methods that any route has, sorted.
    pub fn all_methods(&self) -> Vec<&str> {
        let ends = self.nodes.iter().flat_map(|node| node.ends.iter().chain(&node.rests));
        let mut methods: Vec<&str> = ends.map(|(method, _)| method.as_str()).collect();
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        methods.sort_unstable();
        methods.dedup();
        methods
    }

    /// The routes that together take every request that the pattern, a rest, would take with this method; empty if it
    /// has requests of its own. To be asked once all routes are in the table.
    pub fn takers(&self, pattern: &Pattern, method: &Method) -> Vec<usize> {
        let mut at = 0;
        for segment in &pattern.segments {
            let Some(node) = self.nodes.get(at) else { return Vec::new() };
            let next = match segment {
                Segment::Literal(text) => node.literal(text, self.folds),
                Segment::Variable(_) => node.variable,
                Segment::Rest(_) => {
                    let mut takers = Vec::new();
                    let index = pattern.segments.len() - 1;
                    return if self.takes_all(at, index, method, &mut takers) { takers } else { Vec::new() };
                }
            };
            let Some(next) = next else { return Vec::new() };
            at = next;
        }
        Vec::new()
    }

    /// Whether routes with a variable at this node leave nothing of what a rest could take: one segment, one segment
    /// and a slash (which nobody takes if there is a route for the other of the two), and more segments. What they take
    /// of names that nobody has thought of yet, they take of literals too.
    fn takes_all(&self, at: usize, index: usize, method: &Method, takers: &mut Vec<usize>) -> bool {
        let variable = self.nodes.get(at).and_then(|node| node.variable);
        let Some((variable, node)) = variable.and_then(|at| Some((at, self.nodes.get(at)?))) else { return false };
        let slash = node.literals.get("").and_then(|end| self.nodes.get(*end));
        let one = [find(&node.ends, method), slash.and_then(|end| find(&end.ends, method))];
        if one == [None, None] {
            return false;
        }
        takers.extend(one.into_iter().flatten());
        if index + 1 >= MAX_SEGMENTS {
            return true;
        }
        match find(&node.rests, method) {
            Some(more) => {
                takers.push(more);
                true
            }
            None => self.takes_all(variable, index + 1, method, takers),
        }
    }

    /// Visits the ends that a path reaches, the most specific first, until `done`; `takes` says whether routes that end
    /// somewhere would take the request. The depth is that of the path, which is bounded, and no node is visited twice,
    /// since each has one parent.
    fn walk<'t>(
        &'t self,
        at: usize,
        path: &CanonicalPath<'_>,
        index: usize,
        (done, takes): (&mut impl FnMut(&'t [(Method, usize)]) -> bool, &impl Fn(&'t [(Method, usize)]) -> bool),
    ) -> Visit {
        let Some(node) = self.nodes.get(at) else { return Visit::Missed };
        // A path that differs from a more specific route in its final slash only is not taken for less specific ones: a
        // backend that makes nothing of that slash would serve the route's page under another rule.
        let twin = |ends: &'t [(Method, usize)]| if takes(ends) { Visit::LookAlike } else { Visit::Missed };
        let Some(segment) = path.segment(index) else {
            if done(&node.ends) {
                return Visit::Done;
            }
            let slash = node.literals.get("").and_then(|end| self.nodes.get(*end));
            return slash.map_or(Visit::Missed, |slash| twin(&slash.ends));
        };
        if let Some(next) = node.literal(segment, self.folds) {
            match self.walk(next, path, index + 1, (done, takes)) {
                Visit::Missed => {}
                found => return found,
            }
        }
        // A segment that differs from a literal in letter case only is not taken for a value, here or further up: a
        // backend that folds case would serve the literal's page under another rule.
        if node.is_look_alike(segment, self.folds) {
            return Visit::LookAlike;
        }
        if segment.is_empty() {
            return twin(&node.ends);
        }
        if let Some(next) = node.variable {
            match self.walk(next, path, index + 1, (done, takes)) {
                Visit::Missed => {}
                found => return found,
            }
        }
        if done(&node.rests) { Visit::Done } else { Visit::Missed }
    }
}

fn find(ends: &[(Method, usize)], method: &Method) -> Option<usize> {
    ends.iter().find(|(known, _)| known == method).map(|(_, route)| *route)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: [(&str, &str); 8] = [
        ("GET", "/"),
        ("GET", "/a/{x}"),
        ("GET", "/a/b"),
        ("POST", "/a/{y}"),
        ("GET", "/a/{x}/c"),
        ("GET", "/{p}/b/d"),
        ("GET", "/files/{rest...}"),
        ("GET", "/a/"),
    ];

    fn table() -> Table {
        let mut table = Table::new(false);
        for (number, (method, path)) in ROUTES.iter().enumerate() {
            let pattern = Pattern::parse(path).unwrap();
            table.insert(&pattern, &method.parse().unwrap(), number).unwrap();
        }
        table
    }

    #[test]
    fn the_most_specific_route_takes_the_request() {
        let table = table();
        let cases = [
            ("GET", "/", Some(0)),
            ("GET", "/a/x", Some(1)),
            ("GET", "/a/b", Some(2)),
            ("HEAD", "/a/b", Some(2)),
            // the literal has no POST, the variable has
            ("POST", "/a/b", Some(3)),
            ("GET", "/a/b/c", Some(4)),
            // literal `a` first, but nothing below it ends in /b/d
            ("GET", "/a/b/d", Some(5)),
            ("GET", "/files/x/y/z", Some(6)),
            ("GET", "/files/x/", Some(6)),
            ("GET", "/files/", None),
            ("GET", "/files", None),
            ("GET", "/a/", Some(7)),
            ("GET", "/a", None),
            ("GET", "/A/b", None),
            // would be the variable's, but for letter case it is the literal
            ("GET", "/a/B", None),
            ("POST", "/a/B", None),
            ("GET", "/a/Bb", Some(1)),
            ("DELETE", "/a/b", None),
            ("OPTIONS", "/a/b", None),
        ];
        for (method, path, expected) in cases {
            let found = table.find(&CanonicalPath::new(path).unwrap(), &method.parse().unwrap());
            assert_eq!(found, expected, "{method} {path}");
        }
    }

    #[test]
    fn a_path_that_differs_from_a_more_specific_route_in_its_final_slash_is_nobodys() {
        let routes = [
            ("GET", "/files/{rest...}"),
            ("GET", "/files/secret"),
            ("GET", "/files/{name}/log"),
            ("GET", "/{page}"),
            ("GET", "/admin/"),
            ("PUT", "/admin"),
            ("GET", "/both/{x}"),
            ("GET", "/both/{x}/"),
            ("GET", "/both/{x...}"),
        ];
        let mut table = Table::new(false);
        for (number, (method, path)) in routes.iter().enumerate() {
            table.insert(&Pattern::parse(path).unwrap(), &method.parse().unwrap(), number).unwrap();
        }
        for (method, path, expected) in [
            ("GET", "/files/secret", Some(1)),
            ("GET", "/files/secret/", None),
            ("HEAD", "/files/secret/", None),
            ("GET", "/files/a/log", Some(2)),
            ("GET", "/files/a/log/", None),
            ("GET", "/files/a/", Some(0)),
            ("GET", "/files/a/b/", Some(0)),
            ("GET", "/files/secret/a", Some(0)),
            ("GET", "/admin/", Some(4)),
            ("GET", "/admin", None),
            ("PUT", "/admin", Some(5)),
            ("GET", "/page", Some(3)),
            ("GET", "/page/", None),
            ("GET", "/both/a", Some(6)),
            ("GET", "/both/a/", Some(7)),
            ("GET", "/both/a/b", Some(8)),
        ] {
            let found = table.find(&CanonicalPath::new(path).unwrap(), &method.parse().unwrap());
            assert_eq!(found, expected, "{method} {path}");
        }
        // What nobody takes has no method.
        assert_eq!(table.methods(&CanonicalPath::new("/files/secret/").unwrap()), [""; 0]);
        assert_eq!(table.methods(&CanonicalPath::new("/admin").unwrap()), ["PUT"]);
    }

    #[test]
    fn a_path_without_the_method_says_which_methods_it_has() {
        let table = table();
        assert_eq!(table.methods(&CanonicalPath::new("/a/b").unwrap()), ["GET", "HEAD", "POST"]);
        assert!(table.methods(&CanonicalPath::new("/nowhere").unwrap()).is_empty());
    }

    #[test]
    fn two_routes_for_the_same_requests_clash() {
        let mut table = table();
        let clash = table.insert(&Pattern::parse("/a/{other}").unwrap(), &Method::GET, 9);
        assert_eq!(clash, Err(1));
    }
    #[test]
    fn where_case_makes_no_difference_literals_take_every_spelling_and_variables_keep_theirs() {
        let mut table = Table::new(true);
        for (number, path) in ["/Admin/{x}", "/gr%C3%B6%C3%9Fe", "/{x}"].iter().enumerate() {
            table.insert(&Pattern::parse(path).unwrap(), &Method::GET, number).unwrap();
        }
        for (path, expected) in [
            ("/Admin/a", Some(0)),
            ("/admin/a", Some(0)),
            ("/ADMIN/A", Some(0)),
            ("/GR%C3%96%C3%9FE", Some(1)),
            ("/other", Some(2)),
            ("/OTHER", Some(2)),
            // no route ends at that literal, in whatever spelling
            ("/ADMIN", Some(2)),
            // a dotless i, a long s and a Kelvin sign fold to ASCII in some servers and not in others
            ("/adm%C4%B1n/a", None),
            ("/gr%C3%B6%C5%BFse", None),
            ("/GR%C3%96SSE", None),
        ] {
            let found = table.find(&CanonicalPath::new(path).unwrap(), &Method::GET);
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn where_case_makes_no_difference_two_spellings_clash() {
        let mut table = Table::new(true);
        let mut insert = |path, number| table.insert(&Pattern::parse(path).unwrap(), &Method::GET, number);
        assert_eq!(insert("/a/B", 0), Ok(()));
        assert_eq!(insert("/A/b", 1), Err(0));
        assert_eq!(insert("/A/{x}", 2), Ok(()));
        assert_eq!(insert("/a/{x}", 3), Err(2));
        assert_eq!(insert("/%CF%82", 4), Ok(()));
        assert_eq!(insert("/%CF%83", 5), Err(4));
    }
}
