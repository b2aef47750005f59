//! Query parameters: `name=value` pairs separated by `&`, decoded once (WHATWG URL, application/x-www-form-urlencoded).
//! Forms are made of the same pairs.

use std::borrow::Cow;

use super::canonical::{BadTarget, hex_pair};
use super::cookies::{self, Decoded};
use super::segment::is_invisible;

/// The most pairs that are read. PHP, ASP.NET, Django and Node's readers stop at a thousand, some without a word: what
/// stands behind would be read here alone.
const MAX_PAIRS: usize = 1_000;

/// Names other than `_method` under which backends read the method that a request is to have in place of its own.
const METHOD_NAMES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

/// The parameters that a decision reads, out of pairs that were checked ([`check`]). What has to be decoded is decoded
/// here, once; the others are read where they stand.
#[derive(Clone, Debug)]
pub struct Parameters<'r> {
    pairs: &'r str,
    spelling: Spelling,
    /// Those that are read, in their order, if any of them had to be decoded.
    decoded: Option<Vec<(&'r str, Cow<'r, str>)>>,
}

impl<'r> Parameters<'r> {
    /// Reads the parameters of a query with exactly these names. Values that do not decode are left out.
    pub fn read<'n>(query: &'r str, names: impl Iterator<Item = &'n str> + Clone) -> Self {
        Self::spelt(as_it_is, query, names)
    }

    /// Reads the fields of a form, whose names browsers encode.
    pub fn of_form<'n>(form: &'r str, names: impl Iterator<Item = &'n str> + Clone) -> Self {
        Self::spelt(as_browsers_do, form, names)
    }

    fn spelt<'n>(spelling: Spelling, text: &'r str, names: impl Iterator<Item = &'n str> + Clone) -> Self {
        if text.is_empty() || names.clone().next().is_none() {
            return Self { pairs: "", spelling, decoded: None };
        }
        let read = || pairs(text).filter(|(found, _)| names.clone().any(|name| spelling(found, name)));
        let plain = read().all(|(_, value)| is_plain(value));
        let decoded = || read().filter_map(|(name, value)| Some((name, decode(value)?))).collect();
        Self { pairs: text, spelling, decoded: if plain { None } else { Some(decoded()) } }
    }

    /// Calls `each` with every value of one of the parameters.
    pub fn values<'s>(&'s self, name: &str, each: &mut dyn FnMut(&'s str)) {
        let is_it = |found: &str| (self.spelling)(found, name);
        match &self.decoded {
            Some(decoded) => decoded.iter().filter(|(found, _)| is_it(found)).for_each(|(_, value)| each(value)),
            None => pairs(self.pairs).filter(|(found, _)| is_it(found)).for_each(|(_, value)| each(value)),
        }
    }
}

/// Tells whether something is how a name is written.
type Spelling = fn(&str, &str) -> bool;

/// Checks the query of a route whose decision reads the parameters `read`: every pair must decode, and no parameter
/// may have a name that some backend reads as one of these without being it (`%74erritory`, `Territory`,
/// `territory[]`). Names in `foreign`, and what looks like them, may not be there at all: the backend would take them
/// for fields of a form that decide.
///
/// # Errors
/// The query could be read in two ways.
pub fn check<'n>(
    query: &str,
    read: impl Iterator<Item = &'n str> + Clone,
    foreign: impl Iterator<Item = &'n str> + Clone,
) -> Result<(), BadTarget> {
    if read.clone().chain(foreign.clone()).next().is_none() {
        return Ok(());
    }
    let is_text = |_: &str, value: &str| !value.chars().any(char::is_control);
    check_pairs((query, as_it_is), read, foreign, is_text).map_err(|doubt| {
        BadTarget(match doubt {
            Doubt::Semicolon => "query_semicolon",
            Doubt::Pairs => "query_pairs",
            Doubt::Encoding => "query_encoding",
            Doubt::Name => "query_name",
        })
    })
}

/// Checks that no parameter gives the request another method than the one that is judged: Symfony, Laravel, Spring and
/// others let `_method` do that, ASP.NET a parameter that is called like the header.
///
/// # Errors
/// One does.
pub fn check_method(query: &str) -> Result<(), BadTarget> {
    // Every one of those names has the letters of this word, written or encoded.
    if !could_spell(query, "method") {
        return Ok(());
    }
    if query.split(['&', ';']).any(|pair| names_method(pair.split('=').next().unwrap_or_default())) {
        return Err(BadTarget("method_override"));
    }
    Ok(())
}

/// Whether a text has all letters of a word, in whatever case and order, or an encoding that could be any of them. One
/// quick pass: where the answer is no, no name in it resembles the word.
pub fn could_spell(text: &str, word: &str) -> bool {
    let wanted = letters_of(word);
    letters_of(text) & wanted == wanted
}

/// One bit for each letter, in either case. Some marks share a bit with a letter or have one of their own, which makes
/// no letter go unseen; `%` may stand for any.
fn letters_of(text: &str) -> u32 {
    text.bytes().fold(0, |seen, byte| {
        seen | match byte {
            b'%' => u32::MAX,
            0x40.. => 1 << (byte & 0x1f),
            _ => 0,
        }
    })
}

/// Whether a name, as it is written, is one under which some backend reads the method of the request.
pub(super) fn names_method(written: &str) -> bool {
    let bytes = written.as_bytes();
    if bytes.len() <= "method".len() {
        return false;
    }
    // `method` alone is an ordinary name; a blank before it is dropped, any other mark may be read as `_`.
    let mut rest = Decoded(bytes).skip_while(|byte| *byte == b'+' || byte.is_ascii_whitespace());
    let marked = rest.next().is_some_and(|first| !first.is_ascii_alphanumeric());
    marked && cookies::resembles_parameter(bytes, "method")
        || METHOD_NAMES.iter().any(|name| cookies::resembles_parameter(bytes, name))
}

/// Why pairs could be read in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// Some servers separate pairs by `;` too.
    Semicolon,
    /// There are more than some servers read.
    Pairs,
    /// A pair does not decode to text, or its value is none that `is_text` takes.
    Encoding,
    /// A name is not the one that decides, but some server reads it so.
    Name,
}

/// Checks pairs of which those named in `read` decide and those named in `foreign` must not be there.
pub(super) fn check_pairs<'n>(
    (text, spelling): (&str, Spelling),
    read: impl Iterator<Item = &'n str> + Clone,
    foreign: impl Iterator<Item = &'n str> + Clone,
    is_text: impl Fn(&str, &str) -> bool,
) -> Result<(), Doubt> {
    if text.contains(';') {
        return Err(Doubt::Semicolon);
    }
    for (number, (raw, value)) in pairs(text).enumerate() {
        if number == MAX_PAIRS {
            return Err(Doubt::Pairs);
        }
        let name = decode(raw).ok_or(Doubt::Encoding)?;
        if !decode(value).is_some_and(|value| is_text(raw, &value)) {
            return Err(Doubt::Encoding);
        }
        let feigned = read.clone().any(|wanted| !spelling(raw, wanted) && looks_like(&name, wanted));
        if feigned || foreign.clone().any(|wanted| looks_like(&name, wanted)) {
            return Err(Doubt::Name);
        }
    }
    Ok(())
}

/// Whether any parameter has this name, or one that some backend reads as it, or one that does not decode.
pub fn names_alike(query: &str, wanted: &str) -> bool {
    let alike = |raw: &str| decode(raw).is_none_or(|name| raw == wanted || looks_like(&name, wanted));
    query.split(['&', ';']).any(|pair| !pair.is_empty() && alike(pair.split_once('=').map_or(pair, |(name, _)| name)))
}

/// Whether a `Cookie` line has a pair of this name, or of one that some backend reads as it.
pub fn cookies_alike(line: &[u8], wanted: &str) -> bool {
    let name = |pair: &[u8]| Decoded(pair.split(|byte| *byte == b'=').next().unwrap_or_default()).collect::<Vec<u8>>();
    cookies::pairs(line).any(|pair| looks_like(&String::from_utf8_lossy(&name(pair)), wanted))
}

/// The pairs of a text, as they are written. Between two `&` without anything there is none.
pub(super) fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// A name in a query is written as it is: who encodes what need not be encoded means to be read differently.
pub(super) fn as_it_is(raw: &str, name: &str) -> bool {
    raw == name
}

/// A name in a form may also be written as browsers encode what is no letter, digit or plain mark.
pub(super) fn as_browsers_do(raw: &str, name: &str) -> bool {
    raw == name || raw.bytes().eq(name.bytes().flat_map(serialized))
}

/// Text as browsers write it into a form (WHATWG URL, application/x-www-form-urlencoded serializing).
pub fn encoded(text: &str) -> String {
    text.bytes().flat_map(serialized).map(char::from).collect()
}

fn serialized(byte: u8) -> impl Iterator<Item = u8> {
    let digit = |value: u8| if value < 10 { b'0' + value } else { b'A' + (value - 10) };
    let (first, rest) = match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => (byte, None),
        b' ' => (b'+', None),
        other => (b'%', Some([digit(other >> 4), digit(other & 0x0f)])),
    };
    std::iter::once(first).chain(rest.into_iter().flatten())
}

/// Whether some reader may take a name for the wanted one. Letter case counts for nothing, nor do marks around a name
/// (blanks, the `[]` of lists, Spring's `_` and `!`), and all marks inside are alike (PHP reads `.` as `_`). Behind a
/// bracket, dot or colon begins a part of the same thing. Beyond ASCII any letter may be read as the one that it is
/// nearest to.
fn looks_like(name: &str, wanted: &str) -> bool {
    // No honest name has these: they end a name, or would be decoded a second time.
    if name.chars().any(|c| c.is_control() || is_invisible(c) || matches!(c, '%' | '&' | '=')) {
        return true;
    }
    let (mut found, mut asked) = (Words { rest: name }, Words { rest: wanted });
    let mut first = true;
    loop {
        match (found.next(), asked.next()) {
            (None, None) => return true,
            (Some((_, word)), Some((_, asked))) if is_alike(word, asked) => first = false,
            // Before the first word there is nothing that it could be a part of.
            (Some((marks, _)), None) | (None, Some((marks, _))) => return !first && marks.contains(PARTS),
            (Some(_), Some(_)) => return false,
        }
    }
}

/// The marks behind which parts of a parameter are named.
const PARTS: [char; 6] = ['[', ']', ':', '.', '(', '{'];

fn is_alike(word: &str, wanted: &str) -> bool {
    let alike = |(c, wanted): (char, char)| c.eq_ignore_ascii_case(&wanted) || !c.is_ascii();
    word.chars().count() == wanted.chars().count() && word.chars().zip(wanted.chars()).all(alike)
}

/// The runs of letters and digits of a name, each with the marks before it.
struct Words<'t> {
    rest: &'t str,
}

impl<'t> Iterator for Words<'t> {
    type Item = (&'t str, &'t str);

    fn next(&mut self) -> Option<Self::Item> {
        let is_letter = |c: char| c.is_ascii_alphanumeric() || !(c.is_ascii() || c.is_whitespace());
        let (marks, rest) = self.rest.split_at_checked(self.rest.find(is_letter)?)?;
        let end = rest.find(|c| !is_letter(c)).unwrap_or(rest.len());
        let (word, rest) = rest.split_at_checked(end)?;
        self.rest = rest;
        Some((marks, word))
    }
}

fn is_plain(text: &str) -> bool {
    !text.bytes().any(|byte| matches!(byte, b'%' | b'+'))
}

/// Decodes once: `+` is a blank, `%` starts two hexadecimal digits, the result is UTF-8.
pub(super) fn decode(text: &str) -> Option<Cow<'_, str>> {
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
    fn a_cookie_is_alike_by_its_name_alone() {
        for line in
            ["territory=USS", "a=b; Territory=USS", "%74erritory=", "territory[]=USS", " .territory", "a=b;territory"]
        {
            assert!(cookies_alike(line.as_bytes(), "territory"), "{line}");
        }
        for line in
            ["", ";;", "a=territory", "a=b; territories=1", "a={\"territory\":1,territory=USS}", "x%ff=1", "=territory"]
        {
            assert!(!cookies_alike(line.as_bytes(), "territory"), "{line}");
        }
    }

    #[test]
    fn a_text_that_could_not_spell_a_word_has_no_name_like_it() {
        for (text, could) in [
            ("", false),
            ("page=2&sort=name", false),
            ("the=dom", true),
            ("THE_DOM", true),
            ("thedo", false),
            ("m%65thod", true),
            ("%", true),
            ("[]^_@{|}~", false),
        ] {
            assert_eq!(could_spell(text, "method"), could, "{text}");
        }
        let pieces =
            ["method", "_", "METHOD", "%6D", "ethod", "x-http-", "m", "=", "&", ";", "+", "x", "[", "override", "-"];
        let texts = proptest::collection::vec(proptest::sample::select(pieces.to_vec()), 0..8);
        let config = proptest::test_runner::Config { failure_persistence: None, ..Default::default() };
        let outcome = proptest::test_runner::TestRunner::new(config).run(&texts, |pieces| {
            let text = pieces.concat();
            let named = text.split(['&', ';']).any(|pair| names_method(pair.split('=').next().unwrap_or_default()));
            proptest::prop_assert_eq!(check_method(&text).is_err(), named, "{}", text);
            let alike = cookies::resembles_parameter(text.as_bytes(), "access_token");
            proptest::prop_assert!(!alike || could_spell(&text, "access_token"), "{}", text);
            Ok(())
        });
        assert!(outcome.is_ok(), "{outcome:?}");
    }

    fn checked(query: &str, names: &[&str]) -> Result<(), BadTarget> {
        check(query, names.iter().copied(), std::iter::empty())
    }

    #[test]
    fn only_in_a_form_a_name_may_be_written_as_browsers_encode_it() {
        let (names, text) = (["order[territory]"], "order[territory]=USS&order%5Bterritory%5D=USW");
        let read = |parameters: Parameters<'_>| {
            let mut found = Vec::new();
            parameters.values(names[0], &mut |value| found.push(value.to_owned()));
            found
        };
        assert_eq!(read(Parameters::of_form(text, names.into_iter())), ["USS", "USW"]);
        assert_eq!(read(Parameters::read(text, names.into_iter())), ["USS"]);
        assert_eq!(checked(text, &names), Err(BadTarget("query_name")));
        assert!(!as_browsers_do("order%5bterritory%5d", names[0]));
        assert_eq!(encoded("a b[c]*-._~\u{e9}"), "a+b%5Bc%5D*-._%7E%C3%A9");
    }

    #[test]
    fn look_alikes_of_a_parameter_that_decides_are_refused() {
        for query in [
            "",
            "territory=USS",
            "territory=USS&territory=USW",
            "&&territory=USS&",
            "territory",
            "=USS",
            "other=%C3%A9+x",
            "territories=1",
            "sub_territory=1",
            "a[territory]=1",
            "territor%C3%A9=1&x%C3%A9",
        ] {
            // A letter beyond ASCII may be read as any other, but then all others must fit.
            let expected = if query.contains("territor%") { Err(BadTarget("query_name")) } else { Ok(()) };
            assert_eq!(checked(query, &["territory"]), expected, "{query}");
        }
        let cases = [
            ("%74erritory=USS", "query_name"),
            ("Territory=USS", "query_name"),
            ("TERRITORY", "query_name"),
            ("territory[]=USS", "query_name"),
            ("territory[0]=USS", "query_name"),
            ("territory%5B%5D=USS", "query_name"),
            ("territory[=USS", "query_name"),
            ("[territory]=USS", "query_name"),
            ("]territory=USS", "query_name"),
            ("territory.0=USS", "query_name"),
            ("territory(1)=USS", "query_name"),
            ("!territory=USS", "query_name"),
            ("_territory=USS", "query_name"),
            ("%20territory=USS", "query_name"),
            ("+territory=USS", "query_name"),
            ("territory+=USS", "query_name"),
            ("%C2%A0territory=USS", "query_name"),
            ("??territory=USS", "query_name"),
            ("territory:=USS", "query_name"),
            ("territory:x=USS", "query_name"),
            ("territory%3DUKI", "query_name"),
            ("x=1&a%26territory=UKI", "query_name"),
            ("%2574erritory=UKI", "query_name"),
            ("territory%00=UKI", "query_name"),
            ("terri%E2%80%8Btory=UKI", "query_name"),
            ("%ef%bb%bfterritory=UKI", "query_name"),
            ("%EF%BD%94erritory=UKI", "query_name"),
            ("%u0074erritory=UKI", "query_encoding"),
            ("a=1;territory=USS", "query_semicolon"),
            ("a=1&amp;territory=USS", "query_semicolon"),
            ("territory=%", "query_encoding"),
            ("x=%ff", "query_encoding"),
            ("%c0%b4erritory=x", "query_encoding"),
            ("territory=a%00b", "query_encoding"),
            ("x=%0d%0a", "query_encoding"),
        ];
        for (query, reason) in cases {
            assert_eq!(checked(query, &["territory"]), Err(BadTarget(reason)), "{query}");
        }
    }

    #[test]
    fn names_of_several_words_are_told_apart_by_their_words() {
        let cases: [(&str, &str, bool); 13] = [
            ("shop_id", "shop-id", false),
            ("shop_id", "shop.id", false),
            ("shop_id", "Shop+Id", false),
            ("shop_id", "shopid", true),
            ("shop_id", "shop", true),
            ("shop_id", "id", true),
            ("order[shop]", "order", false),
            ("order[shop]", "order[]", false),
            ("order[shop]", "order[shop][]", false),
            ("order[shop]", "order[Shop]", false),
            ("order[shop]", "order.shop", false),
            ("order[shop]", "order[kind]", true),
            ("order[shop]", "orders[shop]", true),
        ];
        for (wanted, name, may) in cases {
            assert_eq!(checked(&format!("{name}=1"), &[wanted]).is_ok(), may, "{name} beside {wanted}");
        }
    }

    #[test]
    fn a_parameter_that_the_backend_takes_for_a_field_may_not_be_there() {
        let check = |query| super::check(query, ["a"].into_iter(), ["territory"].into_iter());
        assert_eq!(check("a=1&b=2"), Ok(()));
        assert_eq!(check("a=1&territory=2"), Err(BadTarget("query_name")));
        assert_eq!(check("a=1&Territory[]=2"), Err(BadTarget("query_name")));
    }

    #[test]
    fn more_pairs_than_some_servers_read_are_refused() {
        let many = |count: usize| vec!["a=1"; count].join("&");
        assert_eq!(checked(&many(MAX_PAIRS), &["x"]), Ok(()));
        assert_eq!(checked(&format!("{}&x=1", many(MAX_PAIRS)), &["x"]), Err(BadTarget("query_pairs")));
    }

    #[test]
    fn a_query_that_decides_nothing_is_the_backends_own_matter() {
        assert_eq!(checked("x=%ff;y", &[]), Ok(()));
    }

    #[test]
    fn no_parameter_may_name_another_method() {
        for query in [
            "_method=DELETE",
            "a=b&_method=PUT",
            "a;_method=PUT",
            "_METHOD=DELETE",
            "%5Fmethod=DELETE",
            "_%6dethod=DELETE",
            "+_method=DELETE",
            ".method=DELETE",
            "_method[]=DELETE",
            "_method%00=DELETE",
            "_method",
            "X-HTTP-Method-Override=DELETE",
            "x_http_method=DELETE",
            "X-Method-Override=PUT",
        ] {
            assert_eq!(check_method(query), Err(BadTarget("method_override")), "{query}");
        }
        for query in
            ["", "method=card", "+method=card", "a=_method", "payment_method=x", "_methods=x", "%ff;%", "method_"]
        {
            assert_eq!(check_method(query), Ok(()), "{query}");
        }
    }
}
