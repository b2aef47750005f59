//! Requirements, conditions, and what holds when a scope is missing: the three shapes that nest.

use super::{Field, Name, conflict, entries, fields, not_empty, quoted, scalar, unknown, wrong};
use crate::diag::Report;
use crate::document::Located;
use crate::document::parse::{Entry, Node, Shape};
use crate::document::routes::{Comparison, Condition, MissingDocument, SettingTest, Term};
use crate::document::syntax::{lone_variable, quote};

/// The keys that tell what a requirement in map form is.
const FORMS: [&str; 10] = ["any", "flag", "not_flag", "unless_denied", "when", "setting", "eq", "in", "not_in", "lt"];

/// Reads what a route requires. The empty list stands for every active principal.
pub(super) fn requirement(node: &Node, report: &mut Report) -> Option<Located<Term>> {
    match node.shape() {
        Shape::List(items) if items.is_empty() => Some(Located::new(node.place, Term::All(Vec::new()))),
        Shape::List(_) | Shape::Scalar { .. } | Shape::Map(_) => term(node, report),
    }
}

/// Reads a term of a requirement. A list that asks nothing would hold for everybody, so it is taken for a mistake.
pub(super) fn term(node: &Node, report: &mut Report) -> Option<Located<Term>> {
    let term = match node.shape() {
        Shape::Scalar { .. } => {
            scalar::text(node, Name::Kind("a requirement"), report).map(|text| Term::Right(text.value))
        }
        Shape::List(items) => {
            not_empty(node, "a list of terms", report);
            all_of(items, term, report).map(Term::All)
        }
        Shape::Map(map) => form(node, map, report),
    };
    term.map(|term| Located::new(node.place, term))
}

/// Reads every one, so that each fault is reported; `None` if any of them failed.
fn all_of<T>(
    items: &[Node],
    mut read: impl FnMut(&Node, &mut Report) -> Option<T>,
    report: &mut Report,
) -> Option<Vec<T>> {
    let read: Vec<Option<T>> = items.iter().map(|item| read(item, report)).collect();
    read.into_iter().collect()
}

fn form(node: &Node, map: &[Entry], report: &mut Report) -> Option<Term> {
    let mut forms = map.iter().filter(|entry| FORMS.contains(&&*entry.key));
    let Some(first) = forms.next() else {
        no_form(node, map, report);
        return None;
    };
    if let Some(second) = forms.next() {
        let help = "make two entries of a list of them: all of a list must hold";
        conflict((&first.key, &first.value), (&second.key, &second.value), help, report);
        return None;
    }
    let value = &first.value;
    match &*first.key {
        "any" => {
            let [any, reason] = fields(node, "this `any`", ["any", "reason"], report)?;
            let list = list(any, report)?;
            if reason.node.is_none() {
                return all_of(list, term, report).map(Term::Any);
            }
            let any = all_of(list, condition, report).map(Condition::Any);
            let reason = reason.need_text(report);
            Some(Term::Condition { condition: Located::new(node.place, any?), reason: reason? })
        }
        "flag" => alone(node, "this `flag`", ["flag"], report).map(Term::Flag),
        "not_flag" => alone(node, "this `not_flag`", ["not_flag"], report).map(Term::NotFlag),
        "unless_denied" => alone(node, "this `unless_denied`", ["unless_denied"], report).map(Term::UnlessDenied),
        "when" => {
            let [_, then, otherwise] = fields(node, "this `when`", ["when", "then", "else"], report)?;
            let condition = condition(value, report);
            let then = then.need(report).and_then(|node| term(node, report));
            let otherwise = otherwise.node.map(|node| term(node, report));
            Some(Term::When {
                condition: condition?,
                then: Box::new(then?),
                otherwise: match otherwise {
                    Some(read) => Some(Box::new(read?)),
                    None => None,
                },
            })
        }
        "setting" => {
            let [setting, is, bit, reason] =
                fields(node, "this condition", ["setting", "is", "bit", "reason"], report)?;
            let condition = setting_condition(node, setting, is, bit, report);
            let reason = reason.need_text(report);
            Some(Term::Condition { condition: condition?, reason: reason? })
        }
        "eq" => compare(node, "eq", Comparison::Eq, report),
        "in" => compare(node, "in", Comparison::In, report),
        "not_in" => compare(node, "not_in", Comparison::NotIn, report),
        _ => compare(node, "lt", Comparison::Lt, report),
    }
}

fn no_form(node: &Node, map: &[Entry], report: &mut Report) {
    match map.first() {
        Some(entry) if !entry.value.is_nothing() => {
            let subject = format!("kind of requirement `{}`", entry.key);
            unknown("unknown_key", entry.place, &subject, &entry.key, &FORMS, report);
        }
        _ => {
            let help = lone_variable(node).map_or_else(|| format!("it needs one of {}", quoted(&FORMS)), |v| quote(&v));
            report.error("wrong_type", node.place, "this map is no requirement").help(help);
        }
    }
}

/// A list with at least one entry.
fn list<'n>(field: Field<'n>, report: &mut Report) -> Option<&'n [Node]> {
    not_empty(field.need(report)?, field.key, report);
    Some(field.items(report)).filter(|items| !items.is_empty())
}

/// The text of the one key that a map has.
fn alone(node: &Node, what: &'static str, key: [&'static str; 1], report: &mut Report) -> Option<String> {
    let [field] = fields(node, what, key, report)?;
    field.need_text(report).map(|text| text.value)
}

fn compare(node: &Node, key: &'static str, comparison: Comparison, report: &mut Report) -> Option<Term> {
    let [operands, reason] = fields(node, "this comparison", [key, "reason"], report)?;
    let reason = reason.need_text(report);
    let operands = operands.need(report)?;
    let pair = match operands.shape() {
        Shape::List(items) => <&[Node; 2]>::try_from(&**items).ok(),
        Shape::Scalar { .. } | Shape::Map(_) => None,
    };
    let Some([left, right]) = pair else {
        report
            .error("wrong_type", operands.place, format!("`{key}` must be a list of exactly two operands"))
            .help(format!("write `{key}: [path.x, value]`"));
        return None;
    };
    let mut operand = |node: &Node| {
        scalar::literal(node, Name::EntryOf(key), report).map(|literal| Located::new(node.place, literal))
    };
    let (left, right) = (operand(left), operand(right));
    Some(Term::Compare { comparison, left: left?, right: right?, reason: reason? })
}

/// Reads a condition on settings.
fn condition(node: &Node, report: &mut Report) -> Option<Located<Condition>> {
    let condition = match node.shape() {
        Shape::List(items) => {
            not_empty(node, "a condition", report);
            all_of(items, condition, report).map(Condition::All)?
        }
        Shape::Map(map) if map.iter().any(|entry| &*entry.key == "any") => {
            let [any] = fields(node, "this `any`", ["any"], report)?;
            all_of(list(any, report)?, condition, report).map(Condition::Any)?
        }
        Shape::Map(_) => {
            let [setting, is, bit] = fields(node, "this condition", ["setting", "is", "bit"], report)?;
            return setting_condition(node, setting, is, bit, report);
        }
        Shape::Scalar { .. } => {
            wrong(node, "a condition", "a map or a list", report)
                .help("write `{setting: NAME}`, with `is: VALUE` or `bit: N` if need be");
            return None;
        }
    };
    Some(Located::new(node.place, condition))
}

fn setting_condition(
    node: &Node,
    setting: Field<'_>,
    is: Field<'_>,
    bit: Field<'_>,
    report: &mut Report,
) -> Option<Located<Condition>> {
    let name = setting.need_text(report);
    let test = match (is.node, bit.node) {
        (None, None) => Some(SettingTest::True),
        (Some(is), None) => {
            let literal = scalar::literal(is, Name::Key("is"), report);
            literal.map(|literal| SettingTest::Is(Located::new(is.place, literal)))
        }
        (None, Some(bit)) => setting_bit(bit, report),
        (Some(first), Some(second)) => {
            conflict((is.key, first), (bit.key, second), "make two conditions of a list of them", report);
            None
        }
    };
    Some(Located::new(node.place, Condition::Setting { name: name?, test: test? }))
}

fn setting_bit(node: &Node, report: &mut Report) -> Option<SettingTest> {
    let Shape::Map(_) = node.shape() else {
        return bit(node, Name::Key("bit"), report).map(SettingTest::Bit);
    };
    let [of, map] = fields(node, "this `bit`", ["of", "map"], report)?;
    let of = of.need_text(report);
    let values = entries(map.need(report)?, Name::Key("map"), report)?;
    let mut bits = Vec::with_capacity(values.len());
    for entry in values {
        bits.extend(bit(&entry.value, Name::EntryOf("map"), report).map(|bit| (entry.name(), bit)));
    }
    (bits.len() == values.len()).then_some(SettingTest::BitOf { of: of?, map: bits })
}

fn bit(node: &Node, name: Name<'_>, report: &mut Report) -> Option<Located<i64>> {
    let number = scalar::integer(node, name, report)?;
    if number <= 0 || number.count_ones() != 1 {
        let message = format!("{name} must be a power of two, but is {number}");
        report.error("bad_value", node.place, message).help("write one of 1, 2, 4, 8, 16 ...");
        return None;
    }
    Some(Located::new(node.place, number))
}

/// Reads `missing` of a scope.
pub(super) fn missing(node: &Node, report: &mut Report) -> Option<Located<MissingDocument>> {
    let Shape::Map(_) = node.shape() else {
        let words = [("deny", false), ("skip", true)];
        let skip = scalar::choice(node, "missing", &words, report)?;
        let value = if skip { MissingDocument::Skip } else { MissingDocument::Deny };
        return Some(Located::new(node.place, value));
    };
    let keys = ["same_as", "node", "when", "then", "else"];
    let [same_as, fixed, when, then, otherwise] = fields(node, "this `missing`", keys, report)?;
    let mut ways = [same_as, fixed, when].into_iter().filter_map(|field| Some((field.key, field.node?)));
    let (Some(first), second) = (ways.next(), ways.next()) else {
        wrong(node, "`missing`", "`deny`, `skip` or a map", report).help("a map has one of `same_as`, `node`, `when`");
        return None;
    };
    if let Some(second) = second {
        conflict(first, second, "keep one of them", report);
        return None;
    }
    let value = match first {
        ("same_as", _) => MissingDocument::SameAs(same_as.need_text(report)?),
        ("node", _) => MissingDocument::Node(fixed.need_text(report)?),
        (_, when) => {
            let condition = condition(when, report);
            let then = then.need(report).and_then(|node| missing(node, report));
            let otherwise = otherwise.need(report).and_then(|node| missing(node, report));
            let (condition, then) = (Box::new(condition?), Box::new(then?));
            MissingDocument::When { condition, then, otherwise: Box::new(otherwise?) }
        }
    };
    if let (Some(stray), None) = (then.node.or(otherwise.node), when.node) {
        report.error("conflict", stray.place, "`then` and `else` belong to `when`").help("remove them, or add `when`");
    }
    Some(Located::new(node.place, value))
}

#[cfg(test)]
mod tests {
    use crate::diag::Report;
    use crate::document::read_routes;
    use crate::document::routes::Term;

    /// The requirement without its places.
    fn read(text: &str) -> String {
        let mut report = Report::new();
        let source = report.add_source("x", format!("version: 1\ndefine:\n  x: {text}\n"));
        let document = read_routes(source, &mut report).unwrap();
        assert_eq!(report.render(), "", "{text}");
        short(&document.define[0].requirement.value)
    }

    fn short(term: &Term) -> String {
        let written = format!("{term:?}");
        let mut text = String::new();
        let mut rest = written.as_str();
        while let Some((before, after)) = rest.split_once("place: Place {") {
            text.push_str(before);
            rest = after.split_once("}, ").unwrap().1;
        }
        (text + rest).replace("Located { value: ", "<").replace(" }", ">")
    }

    #[test]
    fn every_form_of_a_requirement_is_read() {
        let cases = [
            ("oms.view", r#"Right("oms.view")"#),
            ("[a, [b]]", r#"All([<Right("a")>, <All([<Right("b")>])>])"#),
            ("{any: [a, b]}", r#"Any([<Right("a")>, <Right("b")>])"#),
            ("{flag: f}", r#"Flag("f")"#),
            ("{not_flag: f}", r#"NotFlag("f")"#),
            ("{unless_denied: \"r @main\"}", r#"UnlessDenied("r @main")"#),
            (
                "{eq: [object.a, 1], reason: r}",
                r#"Compare { comparison: Eq, left: <Text("object.a")>, right: <Int(1)>, reason: <"r">>"#,
            ),
            (
                "{in: [path.a, [x, true]], reason: r}",
                r#"Compare { comparison: In, left: <Text("path.a")>, right: <List([Text("x"), Bool(true)])>, reason: <"r">>"#,
            ),
            (
                "{not_in: [a, setting.b], reason: r}",
                r#"Compare { comparison: NotIn, left: <Text("a")>, right: <Text("setting.b")>, reason: <"r">>"#,
            ),
            (
                "{lt: [count(object.a), setting.b], reason: r}",
                r#"Compare { comparison: Lt, left: <Text("count(object.a)")>, right: <Text("setting.b")>, reason: <"r">>"#,
            ),
            (
                "{setting: s, reason: r}",
                r#"Condition { condition: <Setting { name: <"s">, test: True>>, reason: <"r">>"#,
            ),
            (
                "{any: [{setting: s, is: x}], reason: r}",
                r#"Condition { condition: <Any([<Setting { name: <"s">, test: Is(<Text("x")>)>>])>, reason: <"r">>"#,
            ),
            (
                "{setting: s, bit: {of: object.k, map: {a: 1, 2: 4}}, reason: r}",
                r#"Condition { condition: <Setting { name: <"s">, test: BitOf { of: <"object.k">, map: [(<"a">, <1>), (<"2">, <4>)]>>>, reason: <"r">>"#,
            ),
            (
                "{when: {setting: s, bit: 64}, then: a}",
                r#"When { condition: <Setting { name: <"s">, test: Bit(<64>)>>, then: <Right("a")>, otherwise: None>"#,
            ),
            (
                "{when: [{setting: s}, {any: [{setting: t}]}], then: [a], else: {flag: f}}",
                r#"When { condition: <All([<Setting { name: <"s">, test: True>>, <Any([<Setting { name: <"t">, test: True>>])>])>, then: <All([<Right("a")>])>, otherwise: Some(<Flag("f")>)>"#,
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text), expected, "{text}");
        }
    }
}
