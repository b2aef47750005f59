//! Query parameters: `name=value` pairs separated by `&`, decoded once (WHATWG URL, application/x-www-form-urlencoded).

use std::borrow::Cow;

use super::canonical::{BadTarget, hex_pair};

/// The parameters that a decision reads, out of a query that was checked ([`check`]). What has to be decoded is decoded
/// here, once; the others are read where they stand.
#[derive(Clone, Debug)]
pub struct Parameters<'r> {
    query: &'r str,
    /// Those that are read, in their order, if any of them had to be decoded.
    decoded: Option<Vec<(&'r str, Cow<'r, str>)>>,
}

impl<'r> Parameters<'r> {
    /// Reads the parameters of exactly these names. Values that do not decode are left out.
    pub fn read<'n>(query: &'r str, names: impl Iterator<Item = &'n str> + Clone) -> Self {
        let read = || pairs(query).filter(|(found, _)| names.clone().any(|name| name == *found));
        let plain = read().all(|(_, value)| is_plain(value));
        let decoded = || read().filter_map(|(name, value)| Some((name, decode(value)?))).collect();
        Self { query, decoded: if plain { None } else { Some(decoded()) } }
    }

    /// Calls `each` with every value of one of the parameters.
    pub fn values<'s>(&'s self, name: &str, each: &mut dyn FnMut(&'s str)) {
        match &self.decoded {
            Some(decoded) => {
                decoded.iter().filter(|(found, _)| *found == name).for_each(|(_, value)| each(value));
            }
            None => pairs(self.query).filter(|(found, _)| *found == name).for_each(|(_, value)| each(value)),
        }
    }
}

/// Checks the query of a route whose decision reads the parameters `names`: every pair must decode, and no parameter
/// may have a name that some backend reads as one of these without being it (`%74erritory`, `Territory`,
/// `territory[]`).
///
/// # Errors
/// The query could be read in two ways.
pub fn check<'n>(query: &str, names: impl Iterator<Item = &'n str> + Clone) -> Result<(), BadTarget> {
    let mut names = names.peekable();
    if names.peek().is_none() {
        return Ok(());
    }
    // Some servers separate pairs by `;` too.
    if query.contains(';') {
        return Err(BadTarget("query_semicolon"));
    }
    for (raw, value) in pairs(query) {
        let name = decode(raw).ok_or(BadTarget("query_encoding"))?;
        if decode(value).is_none_or(|value| value.chars().any(char::is_control)) {
            return Err(BadTarget("query_encoding"));
        }
        if names.clone().any(|wanted| raw != wanted && looks_like(&name, wanted)) {
            return Err(BadTarget("query_name"));
        }
    }
    Ok(())
}

/// Whether any parameter has this name, or one that some backend reads as it, or one that does not decode.
pub fn names_alike(query: &str, wanted: &str) -> bool {
    let alike = |raw: &str| decode(raw).is_none_or(|name| raw == wanted || looks_like(&name, wanted));
    query.split(['&', ';']).any(|pair| !pair.is_empty() && alike(pair.split_once('=').map_or(pair, |(name, _)| name)))
}

fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// Whether a name folds to the wanted one: letter case, brackets, surrounding blanks, and the separators that PHP and
/// others turn into one another count for nothing.
fn looks_like(name: &str, wanted: &str) -> bool {
    // No honest name has these: they end a name, or would be decoded a second time.
    if name.chars().any(|c| c.is_control() || matches!(c, '%' | '&' | '=' | '\u{200b}'..='\u{200f}' | '\u{feff}')) {
        return true;
    }
    let name = name.trim_start_matches(|c: char| c == '?' || c.is_whitespace());
    // A wanted name may have brackets itself: then it is compared as a whole too.
    let alike = |name: &str, wanted: &str| {
        let fold = |c: char| if matches!(c, '.' | '-' | ' ' | '+') { '_' } else { c };
        let folded = name.trim().chars().flat_map(char::to_lowercase).map(fold);
        folded.eq(wanted.trim().chars().flat_map(char::to_lowercase).map(fold))
    };
    let cut = |name: &'_ str| name.find(['[', ']', ':']).unwrap_or(name.len());
    let (short, short_wanted) = (name.get(..cut(name)), wanted.get(..cut(wanted)));
    let brackets = |c: char| if matches!(c, '[' | ']' | ':') { '_' } else { c };
    alike(name, wanted)
        || short.is_some_and(|short| alike(short, wanted))
        || (wanted.contains(['[', ']', ':'])
            && (short
                .zip(short_wanted)
                .is_some_and(|(short, wanted)| short.len() == name.len() && alike(short, wanted))
                || name.to_lowercase().chars().map(brackets).eq(wanted.to_lowercase().chars().map(brackets))))
}

fn is_plain(text: &str) -> bool {
    !text.bytes().any(|byte| matches!(byte, b'%' | b'+'))
}

/// Decodes once: `+` is a blank, `%` starts two hexadecimal digits, the result is UTF-8.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    if is_plain(text) {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => hex_pair(rest.next(), rest.next())?,
            other => other,
        });
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(query: &str, name: &str) -> Vec<String> {
        let mut found = Vec::new();
        let parameters = Parameters::read(query, ["territory", "a"].into_iter());
        parameters.values(name, &mut |value| found.push(value.to_owned()));
        found
    }

    #[test]
    fn a_name_is_found_however_it_is_spelt() {
        for query in
            ["api_key=1", "a=b&api_key", "API_KEY=1", "api%5Fkey=1", "api_key[]=1", "a;api_key=1", "%zz=1", "api.key=1"]
        {
            assert!(names_alike(query, "api_key"), "{query}");
        }
        for query in ["", "a=api_key", "api_keys=1", "xapi_key=1", "&&a"] {
            assert!(!names_alike(query, "api_key"), "{query}");
        }
    }

    #[test]
    fn every_value_of_a_parameter_counts() {
        assert_eq!(all("territory=USS&x=1&territory=U%53W", "territory"), ["USS", "USW"]);
        assert_eq!(all("a=b+c&a=&a", "a"), ["b c", "", ""]);
        assert_eq!(all("b=1", "a"), [""; 0]);
        assert_eq!(all("a=%41&a=B&territory=C&b=%", "a"), ["A", "B"]);
        assert_eq!(all("a=%41&a=%&a=B", "a"), ["A", "B"]);
        assert_eq!(all("", "a"), [""; 0]);
    }

    #[test]
    fn look_alikes_of_a_parameter_that_decides_are_refused() {
        let names = ["territory"];
        for query in ["", "territory=USS", "territory=USS&territory=USW", "other=%C3%A9+x", "territories=1"] {
            assert_eq!(check(query, names.into_iter()), Ok(()), "{query}");
        }
        let cases = [
            ("%74erritory=USS", "query_name"),
            ("Territory=USS", "query_name"),
            ("territory[]=USS", "query_name"),
            ("territory[0]=USS", "query_name"),
            ("%20territory=USS", "query_name"),
            ("??territory=USS", "query_name"),
            ("territory:=USS", "query_name"),
            ("territory%3DUKI", "query_name"),
            ("x=1&a%26territory=UKI", "query_name"),
            ("%2574erritory=UKI", "query_name"),
            ("%ef%bb%bfterritory=UKI", "query_name"),
            ("a=1;territory=USS", "query_semicolon"),
            ("territory=%", "query_encoding"),
            ("x=%ff", "query_encoding"),
            ("territory=a%00b", "query_encoding"),
        ];
        for (query, reason) in cases {
            assert_eq!(check(query, names.into_iter()), Err(BadTarget(reason)), "{query}");
        }
    }

    #[test]
    fn a_query_that_decides_nothing_is_the_backends_own_matter() {
        assert_eq!(check("x=%ff;y", std::iter::empty()), Ok(()));
    }
}
