//! Path patterns: `/a/{name}/b` and `/files/{rest...}`.

use super::canonical::{CanonicalPath, MAX_SEGMENTS, MAX_TARGET};
use crate::policy::Variable;

/// A path pattern in its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pattern {
    /// The segments, in order.
    pub segments: Vec<Segment>,
}

/// One segment of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Exactly this text, decoded.
    Literal(Box<str>),
    /// Any one segment that is not empty.
    Variable(Box<str>),
    /// The rest of the path, not empty; only at the end.
    Rest(Box<str>),
}

impl Segment {
    /// The fewest bytes in which a request can write it.
    fn shortest(&self) -> usize {
        match self {
            Self::Literal(text) => text.chars().map(written).sum(),
            Self::Variable(_) | Self::Rest(_) => 1,
        }
    }
}

/// Whether a character may stand in a segment as it is.
fn is_raw(character: char) -> bool {
    character.is_ascii_alphanumeric() || "-._~!$&'()*+,=:@".contains(character)
}

/// How many bytes a character of a segment takes: itself if it may stand there, or else three for each of its bytes.
fn written(character: char) -> usize {
    if is_raw(character) { 1 } else { 3 * character.len_utf8() }
}

/// Writes a character of a segment.
pub(super) fn write(character: char, out: &mut String) {
    if is_raw(character) {
        return out.push(character);
    }
    for byte in character.encode_utf8(&mut [0; 4]).bytes() {
        // Writing to a String cannot fail.
        let _ = std::fmt::Write::write_fmt(out, format_args!("%{byte:02X}"));
    }
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong and what to do about it, as a message and a help text.
    pub fn parse(text: &str) -> Result<Self, (String, &'static str)> {
        let Some(inner) = text.strip_prefix('/') else {
            return Err((
                format!("the path `{text}` does not begin with `/`"),
                "write the path from the root of the host",
            ));
        };
        let mut segments: Vec<Segment> = Vec::new();
        for part in inner.split('/') {
            if let Some(Segment::Rest(name)) = segments.last() {
                return Err((format!("`{{{name}...}}` is not at the end"), "a rest takes everything up to the end"));
            }
            let segment = match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
                Some(name) => match name.strip_suffix("...") {
                    Some(name) => Segment::Rest(variable(name, &segments)?),
                    None => Segment::Variable(variable(name, &segments)?),
                },
                None => Segment::Literal(literal(part)?),
            };
            segments.push(segment);
        }
        let middle = segments.split_last().map_or(&[][..], |(_, middle)| middle);
        if middle.iter().any(|segment| *segment == Segment::Literal("".into())) {
            return Err((
                format!("the path `{text}` has an empty segment"),
                "requests with `//` are refused; write one `/`",
            ));
        }
        Ok(Self { segments })
    }

    /// Why no request can have such a path, if none can.
    pub fn excess(&self) -> Option<String> {
        if self.segments.len() > MAX_SEGMENTS {
            return Some(format!("a path has at most {MAX_SEGMENTS} segments"));
        }
        let shortest: usize = self.segments.iter().map(|segment| 1 + segment.shortest()).sum();
        (shortest > MAX_TARGET).then(|| format!("a path has at most {MAX_TARGET} bytes"))
    }

    /// A path that it matches: its literals as a request writes them, `x` for each variable.
    pub fn sample(&self) -> String {
        let mut sample = String::new();
        for segment in &self.segments {
            sample.push('/');
            match segment {
                Segment::Literal(text) => text.chars().for_each(|character| write(character, &mut sample)),
                Segment::Variable(_) | Segment::Rest(_) => sample.push('x'),
            }
        }
        sample
    }

    /// Whether it takes paths with any rest, which nobody can list.
    pub fn takes_any_rest(&self) -> bool {
        matches!(self.segments.last(), Some(Segment::Rest(_)))
    }

    /// The pattern without the names of its variables: alike for all that take the same paths.
    pub fn shape(&self) -> String {
        let part = |segment: &Segment| match segment {
            Segment::Literal(text) => format!("/{text}"),
            Segment::Variable(_) => "/{}".to_owned(),
            Segment::Rest(_) => "/{...}".to_owned(),
        };
        self.segments.iter().map(part).collect()
    }

    /// Whether the first segments, this many, are literals.
    pub fn is_literal_up_to(&self, count: usize) -> bool {
        self.segments.iter().take(count).all(|segment| matches!(segment, Segment::Literal(_)))
    }

    /// The variables, by name, and where their values stand in a path.
    pub fn variables(&self) -> Vec<(Box<str>, Variable)> {
        let place = |(index, segment): (usize, &Segment)| match segment {
            Segment::Literal(_) => None,
            Segment::Variable(name) => Some((name.clone(), Variable::Segment(index))),
            Segment::Rest(name) => Some((name.clone(), Variable::Rest(index))),
        };
        self.segments.iter().enumerate().filter_map(place).collect()
    }
}

fn variable(name: &str, before: &[Segment]) -> Result<Box<str>, (String, &'static str)> {
    let letters = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || !name.chars().all(letters) {
        return Err((format!("`{{{name}}}` is no variable"), "use letters, digits, `_` and `-`"));
    }
    let taken = before.iter().any(|segment| match segment {
        Segment::Literal(_) => false,
        Segment::Variable(other) | Segment::Rest(other) => **other == *name,
    });
    if taken {
        return Err((format!("the variable `{{{name}}}` stands twice"), "give each variable its own name"));
    }
    Ok(name.into())
}

fn literal(part: &str) -> Result<Box<str>, (String, &'static str)> {
    if part.contains(['{', '}', '*']) {
        let help = "a variable takes a whole segment: `/{name}/`; the rest of a path is `{name...}`";
        return Err((format!("`{part}` is no path segment"), help));
    }
    let path = format!("/{part}");
    let path = CanonicalPath::new(&path).map_err(|bad| {
        (format!("no request may have the segment `{part}` ({})", bad.0), "write it in canonical form")
    })?;
    Ok(path.segment(0).unwrap_or_default().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_have_literals_variables_and_a_rest() {
        let pattern = Pattern::parse("/shops/{shop}/a%20b/{tail...}").unwrap();
        let expected = [
            Segment::Literal("shops".into()),
            Segment::Variable("shop".into()),
            Segment::Literal("a b".into()),
            Segment::Rest("tail".into()),
        ];
        assert_eq!(pattern.segments, expected);
        assert_eq!(pattern.variables(), [("shop".into(), Variable::Segment(1)), ("tail".into(), Variable::Rest(3))]);
        assert_eq!(Pattern::parse("/").unwrap().segments, [Segment::Literal("".into())]);
    }

    #[test]
    fn a_sample_of_a_pattern_is_a_path_that_it_matches() {
        for (pattern, sample) in
            [("/", "/"), ("/a/{x}/", "/a/x/"), ("/été b/{x...}", "/%C3%A9t%C3%A9%20b/x"), ("/a:b", "/a:b")]
        {
            let pattern = pattern.replace('é', "%C3%A9").replace(' ', "%20");
            assert_eq!(Pattern::parse(&pattern).unwrap().sample(), sample);
        }
    }

    #[test]
    fn what_no_request_can_match_is_refused() {
        for text in
            ["", "a", "//", "/a//b", "/{}", "/{a}/{a}", "/{a...}/b", "/x{a}", "/{a b}", "/*", "/a/../b", "/%61", "/a;b"]
        {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }
}
