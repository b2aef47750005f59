//! Header and claims as they may be shown to people: what decisions rest on is readable; names, addresses and everything
//! that nobody here knows is masked. A token is written by strangers, so whatever is shown is escaped and cut.

use std::fmt;

use super::strict::{Json, Object};
use crate::telemetry::rfc3339;

/// Members that may be read by whoever helps a user: they say which token it is and what it is for, not who somebody is.
/// `oid` is the pseudonym that the decision log has, too.
const OPEN: [&str; 29] = [
    "alg",
    "kid",
    "typ",
    "cty",
    "crit",
    "zip",
    "enc",
    "ver",
    "iss",
    "tid",
    "aud",
    "azp",
    "appid",
    "azpacr",
    "appidacr",
    "client_id",
    "cid",
    "oid",
    "scp",
    "scope",
    "gty",
    "idtyp",
    "roles",
    "acct",
    "acr",
    "xms_cc",
    "uti",
    "jti",
    "token_use",
];
/// Members that are times, in Unix seconds.
const TIMES: [&str; 4] = ["exp", "nbf", "iat", "auth_time"];
/// Lists of which only the length is shown: they can be long, and tell much of a person.
const COUNTED: [&str; 3] = ["groups", "wids", "amr"];
/// Most characters of one text that are shown.
const CHARACTERS: usize = 200;
/// Most items of a list that are shown.
const ITEMS: usize = 20;
/// Most members that are shown.
const MEMBERS: usize = 100;

/// One member of a header or a payload, fit to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The name, escaped and cut.
    pub name: String,
    /// The value.
    pub shown: Shown,
}

/// What is shown of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// A text, escaped and cut.
    Text(String),
    /// Texts, the first few, escaped and cut, and how many there are.
    Texts(Vec<String>, usize),
    /// A moment in Unix seconds.
    Time(u64),
    /// A number.
    Number(u64),
    /// `true` or `false`.
    Truth(bool),
    /// A text that is not for others to read: its first letters, if it is long enough, and its length in characters.
    Masked(String, usize),
    /// A list of this length.
    List(usize),
    /// An object with so many members.
    Object(usize),
    /// `null`, or a number that is nobody's business.
    Hidden,
}

impl fmt::Display for Shown {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => out.write_str(text),
            Self::Texts(texts, all) => {
                out.write_str(&texts.join(", "))?;
                if texts.len() < *all { write!(out, " and {} more", all - texts.len()) } else { Ok(()) }
            }
            Self::Time(seconds) => out.write_str(&date(*seconds)),
            Self::Number(number) => number.fmt(out),
            Self::Truth(truth) => truth.fmt(out),
            Self::Masked(start, length) => write!(out, "{start}… (masked, {length} characters)"),
            Self::List(length) => write!(out, "(a list of {length})"),
            Self::Object(members) => write!(out, "(an object of {members})"),
            Self::Hidden => out.write_str("(not shown)"),
        }
    }
}

/// A moment as people read it, to the second (RFC 3339).
fn date(seconds: u64) -> String {
    // Beyond the year 9999 the form ends.
    if seconds > 253_402_300_799 {
        return format!("{seconds} s after 1970");
    }
    let written = rfc3339(seconds.saturating_mul(1000));
    match written.split_once('.') {
        Some((whole, _)) => format!("{whole}Z"),
        None => written,
    }
}

/// All members of an object, in the order of their names.
pub(super) fn members(object: &Object) -> Vec<Claim> {
    let shown =
        |name: &str| Claim { name: cut(name), shown: object.get(name).map_or(Shown::Hidden, |it| show(name, it)) };
    object.names().take(MEMBERS).map(shown).collect()
}

fn show(name: &str, value: &Json) -> Shown {
    let open = OPEN.contains(&name);
    match value {
        Json::Text(text) if open => Shown::Text(cut(text)),
        Json::Text(text) => mask(text),
        Json::Whole(seconds) if TIMES.contains(&name) => Shown::Time(*seconds),
        Json::Whole(number) if open => Shown::Number(*number),
        Json::Truth(truth) => Shown::Truth(*truth),
        Json::List(items) => match value.texts() {
            Some(texts) if open && !COUNTED.contains(&name) => {
                Shown::Texts(texts.iter().take(ITEMS).map(|text| cut(text)).collect(), texts.len())
            }
            Some(_) | None => Shown::List(items.len()),
        },
        Json::Object(inner) => Shown::Object(inner.names().count()),
        Json::Whole(_) | Json::Other => Shown::Hidden,
    }
}

/// The first two letters of a text of at least eight: enough to tell two people apart who compare, too little to tell
/// who it is.
fn mask(text: &str) -> Shown {
    let length = text.chars().count();
    let start: String = text.chars().take(if length < 8 { 0 } else { 2 }).collect();
    Shown::Masked(start.escape_debug().to_string(), length)
}

/// A text that cannot move the cursor, forge a line or fill the screen.
fn cut(text: &str) -> String {
    let start: String = text.chars().take(CHARACTERS).collect();
    let more = if start.len() < text.len() { "…" } else { "" };
    format!("{}{more}", start.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(json: &str) -> Vec<(String, String)> {
        let read = Object::read(json.as_bytes()).unwrap();
        members(&read).into_iter().map(|claim| (claim.name, claim.shown.to_string())).collect()
    }

    #[test]
    fn what_decisions_rest_on_is_readable() {
        for (json, expected) in [
            (r#"{"iss":"https://i/"}"#, "https://i/"),
            (r#"{"aud":["a","b"]}"#, "a, b"),
            (r#"{"exp":1790000000}"#, "2026-09-21T14:13:20Z"),
            (r#"{"acct":1}"#, "1"),
            (r#"{"roles":[]}"#, ""),
            (r#"{"hasgroups":true}"#, "true"),
            (r#"{"exp":9007199254740992}"#, "9007199254740992 s after 1970"),
        ] {
            assert_eq!(shown(json)[0].1, expected, "{json}");
        }
    }

    #[test]
    fn people_and_what_nobody_knows_are_masked() {
        for (json, expected) in [
            (r#"{"name":"Olga Olsen"}"#, "Ol… (masked, 10 characters)"),
            (r#"{"preferred_username":"olga@example.org"}"#, "ol… (masked, 16 characters)"),
            (r#"{"ipaddr":"10.0.0.1"}"#, "10… (masked, 8 characters)"),
            (r#"{"given_name":"Olga"}"#, "… (masked, 4 characters)"),
            (r#"{"sub":"olga@example.org"}"#, "ol… (masked, 16 characters)"),
            (r#"{"phone":4712345678}"#, "(not shown)"),
            (r#"{"groups":["a","b"]}"#, "(a list of 2)"),
            (r#"{"anything":["olga"]}"#, "(a list of 1)"),
            (r#"{"address":{"street":"x"}}"#, "(an object of 1)"),
            (r#"{"roles":[{"name":"Olga"}]}"#, "(a list of 1)"),
            (r#"{"x":null}"#, "(not shown)"),
        ] {
            assert_eq!(shown(json)[0].1, expected, "{json}");
        }
    }

    #[test]
    fn nothing_shown_can_disturb_a_terminal_or_fill_it() {
        let hostile = shown(r#"{"aud":"a\u001b[2J\nb\u202ec","\u001b[1m":true,"upn":"\u001b\u001b\u001b\u001b1234"}"#);
        let text = hostile.iter().map(|(name, value)| format!("{name} {value}")).collect::<String>();
        assert!(!text.chars().any(|c| c.is_control() || c == '\u{202e}'), "{text:?}");
        let long = shown(&format!(r#"{{"aud":"{}"}}"#, "x".repeat(10_000)));
        assert!(long[0].1.chars().count() <= CHARACTERS + 1);
        let many: Vec<String> = (0..1000).map(|number| format!(r#""c{number}":1"#)).collect();
        assert_eq!(shown(&format!("{{{}}}", many.join(","))).len(), MEMBERS);
    }
}
