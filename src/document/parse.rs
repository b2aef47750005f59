//! Text to a tree of nodes, each with its place, within bounds.
//!
//! The subset of YAML that configuration needs: maps with plain keys, lists, scalars, anchors and aliases. What makes
//! a file mean something else than it seems to (duplicate keys, merge keys, tags, several documents) is refused. The
//! tree is built from events with a stack of its own, so hostile nesting reaches a limit before it reaches the stack;
//! aliased nodes are shared, and what they would amount to if written out is bounded.

use std::borrow::Cow;
use std::collections::HashMap;
use std::iter;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

use super::position::Positions;
use super::syntax;
use crate::courtesy::in_turns;
use crate::diag::{Place, Report, SourceId};

/// Bounds on a text and what it stands for.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Longest text in bytes.
    pub bytes: usize,
    /// Most levels of nesting.
    pub depth: usize,
    /// Most values and keys. Each takes memory beside its text, however short that is.
    pub nodes: usize,
    /// What all aliases together may stand for if written out: bytes of text, and 64 for each node.
    pub aliased: usize,
}

/// What a node counts for beside its text.
const NODE_WEIGHT: usize = 64;

const MIB: usize = 1024 * 1024;

/// After this many faults the rest of a text is not read: far fewer are shown.
const MOST_FAULTS: usize = 10_000;

/// Maps with more entries find duplicate keys by hashing.
const FEW: usize = 16;

impl Default for Limits {
    /// For what people write by hand: 8 MiB.
    fn default() -> Self {
        Self { bytes: 8 * MIB, depth: 64, nodes: 1_000_000, aliased: 16 * MIB }
    }
}

impl Limits {
    /// For lists of principals, which machines write: 160 MiB, enough for a million with some grants each.
    pub fn grants() -> Self {
        Self { bytes: 160 * MIB, nodes: 24_000_000, ..Self::default() }
    }
}

/// A value as it was written.
#[derive(Debug)]
pub(super) struct Node {
    /// A scalar, or as much of a collection as is on its first line. An alias stands where the alias is written.
    pub(super) place: Place,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Own(Shape),
    /// Of nodes with an anchor and of the aliases that point to them.
    Shared(Rc<Shape>),
}

/// The three shapes of a value.
#[derive(Debug)]
pub(super) enum Shape {
    /// Text. `plain`: without quotes and no block scalar, so it may mean a number, a truth value or nothing.
    Scalar { text: Box<str>, plain: bool },
    /// `- a` or `[a]`.
    List(Box<[Node]>),
    /// `a: b` or `{a: b}`, in the order of writing; the keys are distinct.
    Map(Box<[Entry]>),
}

/// A key and its value.
#[derive(Debug)]
pub(super) struct Entry {
    /// Where the key stands.
    pub(super) place: Place,
    /// The key, whatever type it would have as a value.
    pub(super) key: Box<str>,
    pub(super) value: Node,
}

impl Node {
    pub(super) fn new(place: Place, shape: Shape) -> Self {
        Self { place, content: Content::Own(shape) }
    }

    pub(super) fn shape(&self) -> &Shape {
        match &self.content {
            Content::Own(shape) => shape,
            Content::Shared(shape) => shape,
        }
    }

    /// An entry without a value, `~` or `null`.
    pub(super) fn is_nothing(&self) -> bool {
        matches!(self.shape(), Shape::Scalar { text, plain: true } if matches!(&**text, "" | "~" | "null" | "Null" | "NULL"))
    }
}

/// Reads one document. Faults that leave a tree (such as duplicate keys) are reported and the tree is returned for
/// further checks; `None` when the text is no document at all or exceeds a bound.
pub(super) fn parse(source: SourceId, limits: &Limits, report: &mut Report) -> Option<Node> {
    let text = report.text(source);
    let whole = Place { source, start: 0, end: 0 };
    if text.len() > limits.bytes.min(MOST_BYTES) {
        let most = limits.bytes.min(MOST_BYTES) / MIB;
        let message = format!("the file has {} bytes, of which {most} MiB are read at most", text.len());
        report.error("too_large", whole, message).help("split it into several files");
        return None;
    }
    let positions = Positions::new(source, &text);
    let mut builder = Builder {
        limits,
        report,
        positions,
        open: Vec::new(),
        anchors: HashMap::new(),
        aliased: 0,
        nodes: 0,
        root: None,
    };
    let mut parser = Parser::new_from_iter(builder.positions.text().chars());
    // As many events, such as scalars and brackets, are read in a millisecond.
    for event in in_turns(2_048, iter::from_fn(|| parser.next_event())) {
        match event {
            Ok((event, span)) => match builder.take(event, span) {
                Next::Go => {}
                Next::Stop => break,
                Next::Fail => return None,
            },
            Err(error) => {
                builder.refuse(&error);
                return None;
            }
        }
    }
    match builder.root {
        Some(root) if !root.is_nothing() => Some(root),
        _ => {
            report.error("empty", whole, "the file is empty").help("it must have at least `version: 1`");
            None
        }
    }
}

/// Places count bytes in 32 bits.
const MOST_BYTES: usize = u32::MAX as usize;

enum Next {
    Go,
    /// The rest of the text is not read.
    Stop,
    /// There is no tree.
    Fail,
}

/// A collection of which more is to come.
struct Open {
    place: Place,
    anchor: usize,
    /// Written in brackets.
    flow: bool,
    /// Levels below this one.
    height: usize,
    weight: usize,
    content: Growing,
}

enum Growing {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, keys: Option<HashMap<Box<str>, Place>>, next: Slot },
}

/// What the next node of a map is.
enum Slot {
    Key,
    Value(Place, Box<str>),
    /// The value of a key that was refused.
    Dropped,
}

/// An anchored node that is complete.
struct Anchored {
    shape: Rc<Shape>,
    weight: usize,
    height: usize,
}

struct Builder<'r, 't> {
    limits: &'r Limits,
    report: &'r mut Report,
    positions: Positions<'t>,
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    aliased: usize,
    nodes: usize,
    root: Option<Node>,
}

impl Builder<'_, '_> {
    fn take(&mut self, event: Event<'_>, span: Span) -> Next {
        self.nodes += 1;
        if self.nodes > self.limits.nodes {
            let message = format!("the file has more than {} values and keys", self.limits.nodes);
            let place = self.positions.place(&span);
            self.report.error("too_large", place, message).help("leave out what is not needed");
            return Next::Fail;
        }
        if self.report.errors() > MOST_FAULTS {
            return Next::Fail;
        }
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                let place = self.positions.place(&span);
                self.report
                    .error("several_documents", place, "a second document starts here")
                    .help("a file has one document; put the rest into another file, or remove the `---`");
                Next::Stop
            }
            Event::Scalar(text, style, anchor, tag) => {
                let place = self.positions.place(&span);
                self.refuse_tag(place, tag.as_deref());
                let weight = NODE_WEIGHT + text.len();
                let shape = Shape::Scalar { text: text.into(), plain: style == ScalarStyle::Plain };
                self.finish(place, shape, anchor, weight, 0)
            }
            Event::SequenceStart(anchor, tag) => self.start(&span, anchor, tag.as_ref(), Growing::List(Vec::new())),
            Event::MappingStart(anchor, tag) => {
                let content = Growing::Map { entries: Vec::new(), keys: None, next: Slot::Key };
                self.start(&span, anchor, tag.as_ref(), content)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(&span),
            Event::Alias(anchor) => self.alias(&span, anchor),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                Next::Go
            }
        }
    }

    fn start(&mut self, span: &Span, anchor: usize, tag: Option<&Cow<'_, Tag>>, content: Growing) -> Next {
        let mut place = self.positions.place(span);
        self.refuse_tag(place, tag.map(AsRef::as_ref));
        if self.open.len() >= self.limits.depth {
            return self.too_deep(place);
        }
        let flow = self.positions.read(place).ends_with(['[', '{']);
        if !flow && matches!(content, Growing::List(_)) {
            // The hyphen of the first entry.
            place.end = place.end.max(self.positions.first(place).end);
        }
        self.open.push(Open { place, anchor, flow, height: 1, weight: NODE_WEIGHT, content });
        Next::Go
    }

    fn end(&mut self, span: &Span) -> Next {
        let Some(open) = self.open.pop() else {
            return Next::Fail;
        };
        let mut place = open.place;
        if open.flow {
            // The bracket that ends it; nothing, where a bracket of a comment was taken for its beginning.
            place.end = self.positions.point(&span.start).end;
        }
        let shape = match open.content {
            Growing::List(nodes) => Shape::List(nodes.into()),
            Growing::Map { entries, .. } => Shape::Map(entries.into()),
        };
        self.finish(place, shape, open.anchor, open.weight, open.height)
    }

    fn alias(&mut self, span: &Span, anchor: usize) -> Next {
        let place = self.positions.place(span);
        let Some(anchored) = self.anchors.get(&anchor) else {
            self.report
                .error("alias_cycle", place, "the alias stands inside of what it points to")
                .help("write out what is meant");
            return Next::Fail;
        };
        let (shape, weight, height) = (Rc::clone(&anchored.shape), anchored.weight, anchored.height);
        self.aliased = self.aliased.saturating_add(weight);
        if self.aliased > self.limits.aliased {
            self.report
                .error("alias_bomb", place, "the aliases of this file stand for more than is allowed")
                .help("write out less with aliases, or give what repeats a name under `define`");
            return Next::Fail;
        }
        if self.open.len() + height > self.limits.depth {
            return self.too_deep(place);
        }
        self.attach(Node { place, content: Content::Shared(shape) }, weight, height);
        Next::Go
    }

    fn finish(&mut self, place: Place, shape: Shape, anchor: usize, weight: usize, height: usize) -> Next {
        let content = if anchor == 0 {
            Content::Own(shape)
        } else {
            let shape = Rc::new(shape);
            self.anchors.insert(anchor, Anchored { shape: Rc::clone(&shape), weight, height });
            Content::Shared(shape)
        };
        self.attach(Node { place, content }, weight, height);
        Next::Go
    }

    /// Puts a complete node where it belongs.
    fn attach(&mut self, node: Node, weight: usize, height: usize) {
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        parent.weight = parent.weight.saturating_add(weight);
        parent.height = parent.height.max(height + 1);
        let (entries, keys, next) = match &mut parent.content {
            Growing::List(nodes) => return nodes.push(node),
            Growing::Map { entries, keys, next } => (entries, keys, next),
        };
        match std::mem::replace(next, Slot::Key) {
            Slot::Key => {
                if entries.is_empty() && !parent.flow {
                    parent.place.end = parent.place.end.max(node.place.end);
                }
                *next = key(&node, entries, keys, self.report);
            }
            Slot::Value(place, key) => {
                if let Some(keys) = keys {
                    keys.insert(key.clone(), place);
                } else if entries.len() == FEW {
                    *keys = Some(entries.iter().map(|entry| (entry.key.clone(), entry.place)).collect());
                    keys.as_mut().map(|keys| keys.insert(key.clone(), place));
                }
                entries.push(Entry { place, key, value: node });
            }
            Slot::Dropped => {}
        }
    }

    fn refuse_tag(&mut self, place: Place, tag: Option<&Tag>) {
        if tag.is_some() {
            self.report
                .error("tag", place, "tags (`!name`) mean nothing here")
                .help("remove the tag; quotes make a text of what looks like a number");
        }
    }

    fn too_deep(&mut self, place: Place) -> Next {
        syntax::too_deep(place, self.limits.depth, self.report);
        Next::Fail
    }

    fn refuse(&mut self, error: &ScanError) {
        let opened = self.open.iter().rev().find(|open| open.flow).map(|open| open.place);
        syntax::refuse(error, &mut self.positions, opened, self.limits.depth, self.report);
    }
}

/// Checks a node in the place of a key.
fn key(node: &Node, entries: &[Entry], keys: &Option<HashMap<Box<str>, Place>>, report: &mut Report) -> Slot {
    let Shape::Scalar { text, plain } = node.shape() else {
        syntax::non_scalar_key(node, report);
        return Slot::Dropped;
    };
    if *plain && &**text == "<<" {
        report
            .error("merge_key", node.place, "merge keys (`<<`) are not read")
            .help("write the entries out, or use an alias for the whole value");
        return Slot::Dropped;
    }
    if text.is_empty() {
        report.error("empty_key", node.place, "an entry has no key").help("write the key before the `:`");
        return Slot::Dropped;
    }
    let first = match keys {
        Some(keys) => keys.get(text).copied(),
        None => entries.iter().find(|entry| entry.key == *text).map(|entry| entry.place),
    };
    if let Some(first) = first {
        report
            .error("duplicate_key", node.place, format!("the key `{text}` stands here for the second time"))
            .help("remove one of the two")
            .also(first, "first here");
        return Slot::Dropped;
    }
    Slot::Value(node.place, text.clone())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_yaml::Value;

    use super::*;

    fn tree(text: &str) -> (Option<Node>, Report) {
        let mut report = Report::new();
        let source = report.add_source("x.yaml", text);
        (parse(source, &Limits::default(), &mut report), report)
    }

    /// Whether a scalar as it was written is the value that serde_yaml sees.
    fn same_scalar(text: &str, plain: bool, value: &Value) -> bool {
        match value {
            Value::String(other) => text == other,
            Value::Null | Value::Bool(_) | Value::Number(_) => {
                plain && serde_yaml::from_str::<Value>(text).is_ok_and(|read| read == *value)
            }
            Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_) => false,
        }
    }

    fn same(node: &Node, value: &Value) -> bool {
        match (node.shape(), value) {
            (Shape::Scalar { text, plain }, value) => same_scalar(text, *plain, value),
            (Shape::List(nodes), Value::Sequence(values)) => {
                nodes.len() == values.len() && nodes.iter().zip(values).all(|(node, value)| same(node, value))
            }
            (Shape::Map(entries), Value::Mapping(map)) => {
                entries.len() == map.len()
                    && entries
                        .iter()
                        .zip(map)
                        .all(|(entry, (key, value))| same_scalar(&entry.key, true, key) && same(&entry.value, value))
            }
            _ => false,
        }
    }

    /// Every scalar that is written on one line without quotes must be found at its place, and so must every key.
    fn check_places(node: &Node, text: &str) {
        let written = |place: Place| &text[place.start as usize..place.end as usize];
        match node.shape() {
            Shape::Scalar { text: content, plain } => {
                let found = written(node.place);
                let aside = found.contains('\n') || found.starts_with(['&', '*']);
                assert!(!plain || aside || found == &**content, "{found:?} is not {content:?}");
            }
            Shape::List(nodes) => nodes.iter().for_each(|node| check_places(node, text)),
            Shape::Map(entries) => {
                for entry in entries {
                    let found = written(entry.place);
                    assert!(
                        found == &*entry.key || found.starts_with(['"', '\'', '&', '*']),
                        "{found:?} is not {:?}",
                        entry.key
                    );
                    check_places(&entry.value, text);
                }
            }
        }
    }

    #[test]
    fn the_tree_of_valid_documents_is_that_of_serde_yaml() {
        let texts = [
            "a: 1\nb: two\nc: [x, 'y', \"z\"]\nd: {e: f, g: {h: [i]}}\n",
            "- a\n- - b\n  - c\n-\n  - d\n- e: f\n  g: h\n",
            "a:\n- b\n- c\nd:\n  - e\n",
            "plain: a b  c\nsingle: 'it''s'\ndouble: \"tab\\t\\u00e9\\n\"\nempty: ''\nnothing:\ntilde: ~\nnull: null\n",
            "true: TRUE\nno: no\nnumber: -12\nfloat: 1.5\nhex: 0x1F\nversion: 1.2.3\ntime: 12:30\n",
            "literal: |\n  one\n   two\n\n  three\nfolded: >-\n  one\n  two\n\n  three\nkeep: |+\n  x\n\nnext: y\n",
            "long: one\n  two\n  three\nquoted: \"one\n  two\\\n  three\"\n",
            "base: &base {a: [1, 2]}\ncopy: *base\nlist: [*base, &x y, *x]\n*x : z\n",
            "&root a: &value b\n? c\n: d\n",
            "größe: ü€😀\n\"schlüssel\": [ä, 'ö', \"ß\"]\nflow: {ключ: значение}\n",
            "crlf: a\r\nlist:\r\n  - b\r\n  - c d\r\nlast: |\r\n  x\r\n  y\r\n",
            "# comment\n---\na: b # c\nurl: http://host:80/#x\ngrant: object:write @company:ABC\n...\n",
            "a: {}\nb: []\nc: [ ]\nd: { }\ne: [a, b,]\nf: {g: h,}\n",
            "- {id: a, grants: [x @y:z, {role: r, at: [n, 'm']}]}   # ä\n- {id: \"b c\", x: [1000, 'k']}\n",
            "1000: org:11\n1001: org:12\n",
            "\"a b\": c\n'd': e\nf g: h\n",
            "x: [a,\n  b,\n  c: d]\n",
            "word",
            "[a, {b: c}]",
        ];
        for text in texts {
            let (node, report) = tree(text);
            let value: Value = serde_yaml::from_str(text).unwrap();
            let node = node.unwrap_or_else(|| panic!("{text:?}\n{}", report.render()));
            assert!(same(&node, &value), "{text:?}\n{node:#?}\n{value:#?}");
            assert_eq!(report.render(), "");
            check_places(&node, text);
        }
    }

    #[test]
    fn places_are_bytes_of_the_text_with_its_byte_order_mark() {
        let text = "\u{feff}ä: ß\r\nö: [ü , {x: 'y' }]  # z\r\n";
        let (node, _) = tree(text);
        let node = node.unwrap();
        check_places(&node, text);
        let Shape::Map(entries) = node.shape() else { panic!() };
        let written = |place: Place| &text[place.start as usize..place.end as usize];
        assert_eq!(written(entries[1].value.place), "[ü , {x: 'y' }]");
        let Shape::List(nodes) = entries[1].value.shape() else { panic!() };
        assert_eq!(written(nodes[1].place), "{x: 'y' }");
        let Shape::Map(inner) = nodes[1].shape() else { panic!() };
        assert_eq!(written(inner[0].value.place), "'y'");
    }

    #[test]
    fn an_alias_stands_where_it_is_written_and_its_content_where_the_anchor_is() {
        let text = "a: &x [b]\nc: *x\n";
        let (node, _) = tree(text);
        let node = node.unwrap();
        let Shape::Map(entries) = node.shape() else { panic!() };
        let written = |place: Place| &text[place.start as usize..place.end as usize];
        assert_eq!(written(entries[1].value.place), "*x");
        let Shape::List(nodes) = entries[1].value.shape() else { panic!() };
        assert_eq!(nodes[0].place.start, 7);
    }

    #[test]
    fn duplicate_keys_are_found_in_small_and_large_maps_whatever_their_quotes() {
        for size in [2, FEW, FEW + 1, FEW + 2, 1_000] {
            let mut text: String = (0..size).map(|number| format!("k{number}: v\n")).collect();
            text.push_str(&format!("\"k{}\": w\nlast: x\n'k0': y\nlast: z\n", size - 1));
            let (node, report) = tree(&text);
            let found = report.diagnostics();
            assert_eq!(found.iter().map(|found| found.code).collect::<Vec<_>>(), ["duplicate_key"; 3], "{size}");
            assert_eq!(report.locate(found[0].place.unwrap()).line, size + 1);
            assert_eq!(report.locate(found[0].related[0].0).line, size);
            let Some(Shape::Map(entries)) = node.as_ref().map(Node::shape) else { panic!() };
            assert_eq!(entries.len(), size + 1, "the first of each is kept");
        }
    }

    /// Documents of maps, lists and texts, as serde_yaml writes them.
    fn documents() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            "[ -~äß€😀\n\t]{0,12}",
            "[a-z]{1,6}",
            Just("true".to_owned()),
            Just("~".to_owned()),
            Just("1000".to_owned()),
            Just("- a".to_owned()),
            Just("a: b".to_owned()),
            Just(" {id}/x #".to_owned()),
        ];
        let leaf = prop_oneof![
            text.prop_map(Value::String),
            any::<i64>().prop_map(|number| Value::Number(number.into())),
            any::<bool>().prop_map(Value::Bool),
            Just(Value::Null),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            let entry = ("[ -~äß€]{1,8}", inner.clone());
            prop_oneof![
                prop::collection::vec(inner, 0..5).prop_map(Value::Sequence),
                prop::collection::vec(entry, 0..5).prop_map(|entries| {
                    Value::Mapping(entries.into_iter().map(|(key, value)| (Value::String(key), value)).collect())
                }),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_serde_yaml_writes_is_read_alike(value in documents()) {
            let text = serde_yaml::to_string(&value).unwrap();
            let json = serde_json::to_string(&value).unwrap();
            // A merge key and a document of nothing are valid YAML that is not read.
            prop_assume!(!text.contains("<<") && value != Value::Null);
            for text in [&text, &json] {
                let (node, report) = tree(text);
                let keys_or_nothing = |code: &str| matches!(code, "empty" | "empty_key");
                if report.diagnostics().iter().any(|found| keys_or_nothing(found.code)) {
                    continue;
                }
                prop_assert!(node.as_ref().is_some_and(|node| same(node, &value)), "{text}\n{}", report.render());
            }
        }
    }
}
