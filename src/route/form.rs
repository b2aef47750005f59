//! Forms as bodies: `name=value` pairs like those of a query (WHATWG URL, application/x-www-form-urlencoded). Which
//! body is a form that can be judged, which could be one to a backend, and what a judged one may hold.

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};

use super::query::{Doubt, as_browsers_do, check_pairs, decode, names_method, pairs};
use super::{Backend, cookies};
use crate::model::Reason;
use crate::policy::Rules;

const URLENCODED: &str = "application/x-www-form-urlencoded";

/// Why a body or the form in it is refused: the reason and its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadForm(pub Reason, pub &'static str);

/// What a decision by some rules needs of the body of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// The body as a form.
    Form,
}

/// Says what a decision by these rules needs of the body that a request has, going by its header.
///
/// # Errors
/// The body is not a form where the rules read one, or could be one that takes the place of what they read.
pub fn need(rules: &Rules, backend: Backend, headers: &HeaderMap) -> Result<Need, BadForm> {
    if rules.form_names().next().is_some() {
        return check_type(headers).map(|()| Need::Form);
    }
    let overrides = backend.dialect.form_overrides_query() && rules.query_names().next().is_some();
    match fields_in(headers) {
        Some(subject) if overrides => Err(BadForm(Reason::FormOverridesQuery, subject)),
        Some(_) | None => Ok(Need::Nothing),
    }
}

/// A form of one kind only is read: with one plain content type, in UTF-8, and not encoded any further.
fn check_type(headers: &HeaderMap) -> Result<(), BadForm> {
    let wrong = |subject| Err(BadForm(Reason::FormType, subject));
    if headers.contains_key(CONTENT_ENCODING) {
        return wrong("content_encoding");
    }
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(written), None) = (types.next(), types.next()) else {
        let repeated = headers.contains_key(CONTENT_TYPE);
        return if repeated {
            Err(BadForm(Reason::BadForm, "content_type_repeated"))
        } else {
            wrong("no_content_type")
        };
    };
    let Ok(written) = written.to_str() else { return wrong("content_type") };
    let (kind, parameters) = written.split_once(';').map_or((written, None), |(kind, rest)| (kind, Some(rest)));
    if !blank_trimmed(kind).eq_ignore_ascii_case(URLENCODED) {
        return wrong("content_type");
    }
    let charset = |parameter: &str| {
        let (name, value) = blank_trimmed(parameter).split_once('=')?;
        let value = value.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(value);
        (name.eq_ignore_ascii_case("charset") && value.eq_ignore_ascii_case("utf-8")).then_some(())
    };
    match parameters.map(charset) {
        None | Some(Some(())) => Ok(()),
        Some(None) => wrong("charset"),
    }
}

/// Optional whitespace (RFC 9110 section 5.6.3).
fn blank_trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// Whether some reader may find fields in a body with this header: forms of both kinds, JSON (ASP.NET MVC and Laravel
/// put its members before the query), and whatever leaves the kind open. The word says which.
fn fields_in(headers: &HeaderMap) -> Option<&'static str> {
    let mut types = headers.get_all(CONTENT_TYPE).iter().map(HeaderValue::as_bytes);
    let Some(first) = types.next() else { return Some("no_content_type") };
    if types.next().is_some() {
        return Some("content_type_repeated");
    }
    let kind = first.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let token = |part: &[u8]| {
        let letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(*byte, b'-' | b'.' | b'_' | b'+');
        !part.is_empty() && part.iter().all(letter)
    };
    let mut parts = kind.split(|byte| *byte == b'/');
    if !matches!((parts.next(), parts.next(), parts.next()), (Some(kind), Some(of), None) if token(kind) && token(of)) {
        return Some("content_type");
    }
    let has = |text: &[u8], word: &str| text.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()));
    let named = ["form", "multipart", "json"].iter().any(|word| has(kind, word));
    // Some readers look for the words wherever they stand.
    let hinted = ["urlencoded", "form-data"].iter().any(|word| has(first, word));
    (named || hinted).then_some("content_type")
}

/// Checks a form that these rules are to be judged by and returns it as text: every pair must decode, no field may have
/// a name that some backend reads as one that decides without being it, and none may say what the request's head says.
///
/// # Errors
/// The form could be read in two ways.
pub fn check<'r>(form: &'r [u8], rules: &Rules, backend: Backend) -> Result<&'r str, BadForm> {
    let read = rules.form_names();
    let merges = backend.dialect.form_overrides_query();
    let foreign = rules.query_names().filter(|name| merges && !read.clone().any(|read| read == *name));
    check_names(form, read.clone(), foreign)
}

/// The same for a form of which the fields `read` decide and those in `foreign` must not be there.
///
/// # Errors
/// As [`check`].
pub fn check_names<'r, 'n>(
    form: &'r [u8],
    read: impl Iterator<Item = &'n str> + Clone,
    foreign: impl Iterator<Item = &'n str> + Clone,
) -> Result<&'r str, BadForm> {
    let bad = |subject| BadForm(Reason::BadForm, subject);
    // Whoever encodes a form encodes all else (RFC 3986 section 2.1); raw controls and letters beyond ASCII are read in
    // as many ways as there are readers.
    let plain = |byte: &u8| matches!(*byte, b' '..=b'~');
    let text = std::str::from_utf8(form).ok().filter(|_| form.iter().all(plain)).ok_or(bad("character"))?;
    for (name, value) in pairs(text) {
        if names_method(name) {
            return Err(bad("method_override"));
        }
        // RFC 6750 section 2.2: a client must use one way only.
        if cookies::resembles_parameter(name.as_bytes(), "access_token") {
            return Err(BadForm(Reason::MalformedCredentials, "form"));
        }
        if decode(name).is_some_and(|name| name == "_charset_") && !value.eq_ignore_ascii_case("utf-8") {
            return Err(bad("charset"));
        }
    }
    // Texts of several lines are no values that decide.
    let decides = read.clone();
    let is_text = move |name: &str, value: &str| {
        let decides = decides.clone().any(|read| as_browsers_do(name, read));
        !value.chars().any(|c| c.is_control() && (decides || !matches!(c, '\r' | '\n' | '\t')))
    };
    check_pairs((text, as_browsers_do), read, foreign, is_text).map_err(|doubt| {
        bad(match doubt {
            Doubt::Semicolon => "semicolon",
            Doubt::Pairs => "pairs",
            Doubt::Encoding => "encoding",
            Doubt::Name => "name",
        })
    })?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use proptest::test_runner::{Config as ProptestConfig, TestRunner};

    use super::*;
    use crate::route::query::Parameters;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn only_one_kind_of_body_is_read_as_a_form() {
        let bad = |reason, subject| Err(BadForm(reason, subject));
        let of_type = |subject| bad(Reason::FormType, subject);
        for (lines, expected) in [
            (&[("content-type", "application/x-www-form-urlencoded")][..], Ok(())),
            (&[("content-type", " Application/X-WWW-Form-URLEncoded\t")], Ok(())),
            (&[("content-type", "application/x-www-form-urlencoded; charset=UTF-8")], Ok(())),
            (&[("content-type", "application/x-www-form-urlencoded ;Charset=\"utf-8\"")], Ok(())),
            (&[("content-type", "application/x-www-form-urlencoded;")], of_type("charset")),
            (&[("content-type", "application/x-www-form-urlencoded;charset=utf-16")], of_type("charset")),
            (&[("content-type", "application/x-www-form-urlencoded;charset=iso-8859-1")], of_type("charset")),
            (&[("content-type", "application/x-www-form-urlencoded;charset=utf-8;a=b")], of_type("charset")),
            (&[("content-type", "application/x-www-form-urlencoded;boundary=a")], of_type("charset")),
            (&[("content-type", "application/x-www-form-urlencoded, text/plain")], of_type("content_type")),
            (&[("content-type", "application/x-www-form-urlencodedx")], of_type("content_type")),
            (&[("content-type", "multipart/form-data; boundary=a")], of_type("content_type")),
            (&[("content-type", "application/json")], of_type("content_type")),
            (&[("content-type", "text/plain")], of_type("content_type")),
            (&[("content-type", "\u{e4}")], of_type("content_type")),
            (&[("content-type", "")], of_type("content_type")),
            (&[], of_type("no_content_type")),
            (
                &[("content-type", "application/x-www-form-urlencoded"), ("content-encoding", "gzip")],
                of_type("content_encoding"),
            ),
            (
                &[("content-type", "application/x-www-form-urlencoded"), ("content-encoding", "identity")],
                of_type("content_encoding"),
            ),
            (
                &[
                    ("content-type", "application/x-www-form-urlencoded"),
                    ("content-type", "application/x-www-form-urlencoded"),
                ],
                bad(Reason::BadForm, "content_type_repeated"),
            ),
        ] {
            assert_eq!(check_type(&headers(lines)), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_body_may_have_fields_unless_its_type_says_otherwise() {
        for (written, may) in [
            ("application/x-www-form-urlencoded", true),
            ("APPLICATION/X-WWW-FORM-URLENCODED;charset=utf-7", true),
            ("application/x-www-form-urlencoded,text/plain", true),
            ("text/plain, application/x-www-form-urlencoded", true),
            ("multipart/form-data; boundary=x", true),
            ("multipart/mixed", true),
            ("application/json", true),
            ("application/vnd.api+json", true),
            ("text/plain;application/x-www-form-urlencoded", true),
            ("text/plain; format=flowed", false),
            ("text", true),
            ("text/", true),
            ("/plain", true),
            ("text/plain/x", true),
            ("text /plain", true),
            ("", true),
            ("text/plain", false),
            ("text/csv; charset=utf-8", false),
            ("application/octet-stream", false),
            ("application/soap+xml", false),
        ] {
            assert_eq!(fields_in(&headers(&[("content-type", written)])).is_some(), may, "{written}");
        }
        assert_eq!(fields_in(&HeaderMap::new()), Some("no_content_type"));
        let twice = headers(&[("content-type", "text/plain"), ("content-type", "text/plain")]);
        assert_eq!(fields_in(&twice), Some("content_type_repeated"));
    }

    fn checked(form: &str) -> Result<&str, BadForm> {
        check_names(form.as_bytes(), ["territory"].into_iter(), ["shop"].into_iter())
    }

    #[test]
    fn a_form_that_every_reader_reads_alike_passes_as_it_is() {
        for form in [
            "",
            "territory=USS",
            "territory=USS&territory=USW&note=a+b%0D%0Ac%09d",
            "&&a=1&",
            "a",
            "note=two words",
            "territory",
            "method=card&payment_method=x",
            "_charset_=UTF-8&a=%C3%A9",
            "order%5Bkind%5D=1",
        ] {
            assert_eq!(checked(form), Ok(form));
        }
    }

    #[test]
    fn a_form_that_two_readers_could_read_differently_is_refused() {
        for (form, subject) in [
            ("Territory=USS", "name"),
            ("%74erritory=USS", "name"),
            ("territory%5B%5D=USS", "name"),
            ("+territory=USS", "name"),
            ("_territory=on", "name"),
            ("!territory=USS", "name"),
            ("{\"territory\":\"UKI\"}", "name"),
            ("a=1&shop=2", "name"),
            ("a=1&Shop[0]=2", "name"),
            ("territory=USS;territory=UKI", "semicolon"),
            ("territory=a%0Ab", "encoding"),
            ("a=%00", "encoding"),
            ("a=%1b", "encoding"),
            ("a=%ff", "encoding"),
            ("a=%zz", "encoding"),
            ("a=%", "encoding"),
            ("territory=USS\n", "character"),
            ("a=\u{e9}", "character"),
            ("\u{feff}territory=USS", "character"),
            ("_charset_=utf-16", "charset"),
            ("%5Fcharset_=utf-16", "charset"),
            ("_method=DELETE", "method_override"),
            ("%5FMETHOD=DELETE", "method_override"),
            ("X-HTTP-Method-Override=DELETE", "method_override"),
        ] {
            assert_eq!(checked(form), Err(BadForm(Reason::BadForm, subject)), "{form}");
        }
        assert_eq!(checked("access_token=x"), Err(BadForm(Reason::MalformedCredentials, "form")));
        assert_eq!(checked(&"a&".repeat(1001)), Err(BadForm(Reason::BadForm, "pairs")));
    }

    /// Readers of forms, each written on its own after what one kind of server does. What they find under `territory`.
    mod readers {
        /// The standard: WHATWG URL section 5.1, byte by byte.
        pub(super) fn standard(form: &[u8]) -> Vec<String> {
            let (mut found, mut name, mut value) = (Vec::new(), Vec::new(), Vec::new());
            let (mut in_value, mut any) = (false, false);
            let mut rest = form.iter().copied().chain([b'&']);
            while let Some(byte) = rest.next() {
                let decoded = match byte {
                    b'&' => {
                        if any && name == b"territory" {
                            found.push(String::from_utf8_lossy(&value).into_owned());
                        }
                        name.clear();
                        value.clear();
                        (in_value, any) = (false, false);
                        continue;
                    }
                    b'=' if !in_value => {
                        (in_value, any) = (true, true);
                        continue;
                    }
                    b'+' => vec![b' '],
                    b'%' => {
                        let ahead: Vec<u8> = rest.clone().take(2).collect();
                        let text = String::from_utf8_lossy(&ahead).into_owned();
                        match u8::from_str_radix(&text, 16) {
                            Ok(code) if ahead.iter().all(u8::is_ascii_hexdigit) && ahead.len() == 2 => {
                                rest.nth(1);
                                vec![code]
                            }
                            _ => vec![b'%'],
                        }
                    }
                    other => vec![other],
                };
                any = true;
                if in_value { value.extend(decoded) } else { name.extend(decoded) }
            }
            found
        }

        fn split(form: &str, separators: &[char]) -> Vec<(String, String)> {
            let pairs = form.split(separators).filter(|pair| !pair.is_empty());
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(name, value)| (lenient(name), lenient(value)))
                .collect()
        }

        fn lenient(text: &str) -> String {
            let mut pair = format!("territory={text}").into_bytes();
            // Within a value nothing separates.
            pair.retain(|byte| *byte != b'&');
            standard(&pair).pop().unwrap_or_default()
        }

        /// The values under a name that `reads` takes for `territory`.
        fn found(pairs: Vec<(String, String)>, reads: impl Fn(&str) -> bool) -> Vec<String> {
            pairs.into_iter().filter(|(name, _)| reads(name)).map(|(_, value)| value).collect()
        }

        /// PHP: blanks before a name go, it ends at NUL or `[`, and blanks and dots in it are `_`.
        pub(super) fn php(form: &str) -> Vec<String> {
            found(split(form, &['&']), |name| {
                let name = name.trim_start_matches(' ').replace(['.', ' '], "_");
                name.split(['[', '\0']).next() == Some("territory")
            })
        }

        /// ASP.NET: letter case counts for nothing.
        pub(super) fn iis(form: &str) -> Vec<String> {
            found(split(form, &['&']), |name| name.eq_ignore_ascii_case("territory"))
        }

        /// Rack and others: `;` separates, too, and brackets around a name go.
        pub(super) fn rack(form: &str) -> Vec<String> {
            found(split(form, &['&', ';']), |name| {
                name.trim_start_matches(['[', ']']).split(['[', ']']).next() == Some("territory")
            })
        }

        /// Who decodes twice.
        pub(super) fn twice(form: &str) -> Vec<String> {
            let names = split(form, &['&']).into_iter().map(|(name, value)| (lenient(&name), value));
            found(names.collect(), |name| name == "territory")
        }

        /// Spring: marks before a name say something of its field.
        pub(super) fn spring(form: &str) -> Vec<String> {
            found(split(form, &['&']), |name| name.trim_start_matches(['_', '!']) == "territory")
        }

        /// Who trims names and stops at a thousand pairs.
        pub(super) fn trimming(form: &str) -> Vec<String> {
            let pairs = split(form, &['&']).into_iter().take(1000).collect();
            found(pairs, |name| name.trim() == "territory")
        }
    }

    /// Pieces of forms that are likely to be read in several ways.
    const PIECES: [&str; 58] = [
        "&territory=",
        "&territory=",
        "&territory=USS&",
        "&territory=USS&",
        "&x=",
        "&note=1&",
        "territory",
        "territory",
        "territory",
        "territory",
        "Territory",
        "TERRITORY",
        "terri",
        "tory",
        "%74erritory",
        "t",
        "=",
        "=",
        "=",
        "=",
        "&",
        "&",
        "&",
        "&",
        "&",
        ";",
        "USS",
        "UKI",
        "U%53W",
        "+",
        "%20",
        "%",
        "%2",
        "%zz",
        "%25",
        "%2574",
        "%00",
        "%0A",
        "%C3%A9",
        "%ff",
        "%26",
        "%3D",
        "%3B",
        "[",
        "]",
        "[]",
        "[0]",
        "%5B%5D",
        ".",
        "_",
        "!",
        "x",
        "note",
        "\n",
        " ",
        "%u0074",
        "%EF%BB%BF",
        ",",
    ];

    #[test]
    fn of_a_form_that_passes_all_readers_read_the_same() {
        let forms = proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..10);
        let config = ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() };
        let told = std::cell::Cell::new(0);
        let outcome = TestRunner::new(config).run(&forms, |pieces| {
            let form = pieces.concat();
            let Ok(text) = check_names(form.as_bytes(), ["territory"].into_iter(), std::iter::empty()) else {
                return Ok(());
            };
            let mut ours = Vec::new();
            let fields = Parameters::of_form(text, ["territory"].into_iter());
            fields.values("territory", &mut |value| ours.push(value.to_owned()));
            told.set(told.get() + usize::from(!ours.is_empty()));
            proptest::prop_assert_eq!(&ours, &readers::standard(form.as_bytes()));
            for reader in
                [readers::php, readers::iis, readers::rack, readers::twice, readers::spring, readers::trimming]
            {
                proptest::prop_assert_eq!(&ours, &reader(&form));
            }
            Ok(())
        });
        assert!(outcome.is_ok(), "{outcome:?}");
        assert!(told.get() > 1_000, "only {} forms had a field that decides", told.get());
    }
}
