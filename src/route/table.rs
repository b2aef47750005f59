//! Which route a path and method take: a tree of segments. Literal beats variable beats rest, segment by segment from
//! the left; the method is part of the match; the order of the file never matters.
//!
//! The tree lies flat: one list of nodes, one of their literals ([`super::edges`]), one of the routes that end somewhere,
//! so that finding a route touches little memory and asks for none.

use http::Method;

use super::canonical::{CanonicalPath, MAX_SEGMENTS, Segments};
use super::edges::{self, Edges, Found, NodeId, number, slice};
use super::pattern::{Pattern, Segment};
use super::tree::Tree;

/// The routes of one application, by path and method.
#[derive(Debug)]
pub struct Table {
    nodes: Box<[Node]>,
    edges: Edges,
    takers: Box<[Taker]>,
    /// Every method that a route has.
    methods: Box<[Method]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Node {
    literals: edges::Range,
    /// The empty literal.
    slash: Option<NodeId>,
    variable: Option<NodeId>,
    /// Routes that end here.
    ends: Range,
    /// Routes that take the rest from here.
    rests: Range,
}

#[derive(Clone, Copy, Debug, Default)]
struct Range {
    first: u32,
    count: u32,
}

/// A route, by its number, and the method, by its place in the list of them, with which it takes a request.
#[derive(Clone, Copy, Debug)]
struct Taker {
    method: u32,
    route: u32,
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
    /// The table of these routes.
    pub(super) fn of(tree: &Tree) -> Self {
        let mut edges = edges::Builder::default();
        let (mut takers, mut methods) = (Vec::new(), Vec::new());
        let mut list = |ends: &[(Method, usize)]| {
            let first = takers.len();
            for (method, route) in ends {
                let known = methods.iter().position(|known| known == method);
                let place = known.unwrap_or_else(|| {
                    methods.push(method.clone());
                    methods.len() - 1
                });
                takers.push(Taker { method: number(place), route: number(*route) });
            }
            Range { first: number(first), count: number(ends.len()) }
        };
        let nodes = tree.nodes.iter().map(|node| Node {
            literals: edges.add(&node.literals),
            slash: node.literals.slash,
            variable: node.variable,
            ends: list(&node.ends),
            rests: list(&node.rests),
        });
        let nodes = nodes.collect();
        Self { nodes, edges: edges.finish(tree.folds), takers: takers.into(), methods: methods.into() }
    }

    /// The route of a request. HEAD takes the route of GET.
    #[inline]
    pub fn find(&self, path: &CanonicalPath<'_>, method: &Method) -> Option<usize> {
        let method = self.number_of(method)?;
        let mut found = None;
        let done = &mut |ends: &[Taker]| {
            found = find(ends, method);
            found.is_some()
        };
        self.visit(path, (done, &|ends| find(ends, method).is_some()));
        found
    }

    /// The methods that routes of this path have, sorted; empty if no route has it.
    pub fn methods<'t>(&'t self, path: &CanonicalPath<'_>) -> Vec<&'t str> {
        let mut named = Vec::new();
        let done = &mut |ends: &'t [Taker]| {
            named.extend(ends.iter().map(|taker| taker.method));
            false
        };
        self.visit(path, (done, &|_| false));
        named.sort_unstable();
        named.dedup();
        let named = named.into_iter().filter_map(|method| self.methods.get(usize::try_from(method).ok()?));
        sorted(named.filter(|method| self.find(path, method).is_some()))
    }

    /// The methods that any route has, sorted.
    pub fn all_methods(&self) -> Vec<&str> {
        sorted(self.methods.iter())
    }

    /// The routes that together take every request that the pattern, a rest, would take with this method; empty if it
    /// has requests of its own.
    pub fn takers(&self, pattern: &Pattern, method: &Method) -> Vec<usize> {
        let (mut at, Some(method)) = (self.nodes.first(), self.number_of(method)) else { return Vec::new() };
        for segment in &pattern.segments {
            let Some(node) = at else { return Vec::new() };
            at = match segment {
                Segment::Literal(text) if text.is_empty() => self.node(node.slash),
                Segment::Literal(text) => match self.literal(node, text.as_bytes(), text.is_ascii()) {
                    Found::Literal(to) => self.node(Some(to)),
                    Found::LookAlike | Found::Nothing => None,
                },
                Segment::Variable(_) => self.node(node.variable),
                Segment::Rest(_) => {
                    let mut takers = Vec::new();
                    let index = pattern.segments.len() - 1;
                    return if self.takes_all(node, index, method, &mut takers) { takers } else { Vec::new() };
                }
            };
        }
        Vec::new()
    }

    /// Whether routes with a variable at this node leave nothing of what a rest could take: one segment, one segment
    /// and a slash (which nobody takes if there is a route for the other of the two), and more segments. What they take
    /// of names that nobody has thought of yet, they take of literals too.
    fn takes_all(&self, node: &Node, index: usize, method: u32, takers: &mut Vec<usize>) -> bool {
        let Some(node) = self.node(node.variable) else { return false };
        let slash = self.node(node.slash);
        let one =
            [find(self.takers_in(node.ends), method), slash.and_then(|end| find(self.takers_in(end.ends), method))];
        if one == [None, None] {
            return false;
        }
        takers.extend(one.into_iter().flatten());
        if index + 1 >= MAX_SEGMENTS {
            return true;
        }
        match find(self.takers_in(node.rests), method) {
            Some(more) => {
                takers.push(more);
                true
            }
            None => self.takes_all(node, index + 1, method, takers),
        }
    }

    /// The place of a method in the list; that of GET for HEAD.
    #[inline]
    fn number_of(&self, method: &Method) -> Option<u32> {
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        self.methods.iter().position(|known| known == method).map(number)
    }

    #[inline]
    fn node(&self, id: Option<NodeId>) -> Option<&Node> {
        self.nodes.get(id?.get() as usize)
    }

    #[inline]
    fn takers_in(&self, range: Range) -> &[Taker] {
        slice(&self.takers, range.first, range.count)
    }

    /// What a segment that is not empty is among the literals of a node.
    #[inline]
    fn literal(&self, node: &Node, segment: &[u8], is_ascii: bool) -> Found {
        if is_ascii {
            return self.edges.find(node.literals, segment);
        }
        // Decoding saw to it that a path is text.
        std::str::from_utf8(segment).map_or(Found::Nothing, |segment| self.edges.find_folding(node.literals, segment))
    }

    /// Visits the ends that a path reaches, the most specific first, until `done`; `takes` says whether routes that end
    /// somewhere would take the request.
    #[inline]
    fn visit<'t>(
        &'t self,
        path: &CanonicalPath<'_>,
        visitor: (&mut impl FnMut(&'t [Taker]) -> bool, &impl Fn(&'t [Taker]) -> bool),
    ) {
        if let Some(root) = self.nodes.first() {
            self.walk(root, path.segments(), path.is_ascii(), visitor);
        }
    }

    /// Goes on from a node with the segments that are left. The depth is that of the path, which is bounded, and no node
    /// is visited twice, since each has one parent.
    fn walk<'t>(
        &'t self,
        mut node: &'t Node,
        segments: Segments<'_>,
        is_ascii: bool,
        (done, takes): (&mut impl FnMut(&'t [Taker]) -> bool, &impl Fn(&'t [Taker]) -> bool),
    ) -> Visit {
        // A path that differs from a more specific route in its final slash only is not taken for less specific ones: a
        // backend that makes nothing of that slash would serve the route's page under another rule.
        let twin = |node: &Node| match takes(self.takers_in(node.ends)) {
            true => Visit::LookAlike,
            false => Visit::Missed,
        };
        let mut segments = segments;
        loop {
            let Some(segment) = segments.next() else {
                if done(self.takers_in(node.ends)) {
                    return Visit::Done;
                }
                return self.node(node.slash).map_or(Visit::Missed, twin);
            };
            if segment.is_empty() {
                let visit = self.node(node.slash).map(|next| self.walk(next, segments, is_ascii, (&mut *done, takes)));
                return match visit {
                    None | Some(Visit::Missed) => twin(node),
                    Some(found) => found,
                };
            }
            let next = match self.literal(node, segment, is_ascii) {
                // A segment that differs from a literal in letter case only is not taken for a value, here or further
                // up: a backend that folds case would serve the literal's page under another rule.
                Found::LookAlike => return Visit::LookAlike,
                Found::Literal(to) => Some(to),
                Found::Nothing => None,
            };
            // Nothing is left to be tried here after the last of these, so that one is gone on with.
            match (next, node.variable) {
                (Some(only), None) | (None, Some(only)) if node.rests.count == 0 => match self.node(Some(only)) {
                    Some(only) => node = only,
                    None => return Visit::Missed,
                },
                choices => return self.walk_each(choices, node.rests, (segments, is_ascii), (done, takes)),
            }
        }
    }

    /// Goes on with a literal and then with a variable, the first that the request belongs to, and else with the rest.
    fn walk_each<'t>(
        &'t self,
        choices: (Option<NodeId>, Option<NodeId>),
        rests: Range,
        (segments, is_ascii): (Segments<'_>, bool),
        (done, takes): (&mut impl FnMut(&'t [Taker]) -> bool, &impl Fn(&'t [Taker]) -> bool),
    ) -> Visit {
        let choices = [choices.0, choices.1].into_iter().flatten();
        for choice in choices.filter_map(|choice| self.node(Some(choice))) {
            match self.walk(choice, segments.clone(), is_ascii, (&mut *done, takes)) {
                Visit::Missed => {}
                found => return found,
            }
        }
        if done(self.takers_in(rests)) { Visit::Done } else { Visit::Missed }
    }
}

#[inline]
fn find(ends: &[Taker], method: u32) -> Option<usize> {
    let taker = ends.iter().find(|taker| taker.method == method)?;
    usize::try_from(taker.route).ok()
}

/// The names of methods, and HEAD where there is GET.
fn sorted<'m>(methods: impl Iterator<Item = &'m Method>) -> Vec<&'m str> {
    let mut names: Vec<&str> = methods.map(Method::as_str).collect();
    if names.contains(&"GET") {
        names.push("HEAD");
    }
    names.sort_unstable();
    names.dedup();
    names
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

    fn tree(folds: bool, routes: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::new(folds);
        for (number, (method, path)) in routes.iter().enumerate() {
            tree.insert(&Pattern::parse(path).unwrap(), &method.parse().unwrap(), number).unwrap();
        }
        tree
    }

    fn table() -> Table {
        tree(false, &ROUTES).table()
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
        let table = tree(false, &routes).table();
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
        let clash = tree(false, &ROUTES).insert(&Pattern::parse("/a/{other}").unwrap(), &Method::GET, 9);
        assert_eq!(clash, Err(1));
    }

    #[test]
    fn where_case_makes_no_difference_literals_take_every_spelling_and_variables_keep_theirs() {
        let table = tree(true, &["/Admin/{x}", "/gr%C3%B6%C3%9Fe", "/{x}"].map(|path| ("GET", path))).table();
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
        let mut tree = Tree::new(true);
        let mut insert = |path, number| tree.insert(&Pattern::parse(path).unwrap(), &Method::GET, number);
        assert_eq!(insert("/a/B", 0), Ok(()));
        assert_eq!(insert("/A/b", 1), Err(0));
        assert_eq!(insert("/A/{x}", 2), Ok(()));
        assert_eq!(insert("/a/{x}", 3), Err(2));
        assert_eq!(insert("/%CF%82", 4), Ok(()));
        assert_eq!(insert("/%CF%83", 5), Err(4));
    }
}
