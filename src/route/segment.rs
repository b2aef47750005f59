//! What a segment of a path may hold. A character or a name that some server takes for something else is refused, with
//! a word of its own.

use super::canonical::{BadTarget, hex_pair};

/// Ends of names that servers run instead of sending: PHP, CGI, ASP and ASP.NET, ColdFusion. What comes after such a
/// segment is told to the script and chooses nothing.
const SCRIPTS: [&str; 30] = [
    "php", "php3", "php4", "php5", "php7", "php8", "phtml", "pht", "phar", "cgi", "fcgi", "pl", "py", "rb", "asp",
    "aspx", "ashx", "asmx", "axd", "svc", "asa", "cer", "cshtml", "vbhtml", "rem", "soap", "dll", "exe", "cfm", "cfc",
];

/// Checks a segment as it was written: characters that RFC 3986 allows, and `;` only where parameters are admitted.
///
/// # Errors
/// Another character, or an encoded slash in parameters: whether it ends them depends on what is decoded first.
pub(super) fn check_raw(written: &str, parameters: bool) -> Result<(), BadTarget> {
    for byte in written.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'%' => {}
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@' => {}
            b';' if parameters => {}
            b';' => return Err(BadTarget("semicolon")),
            b'\\' => return Err(BadTarget("backslash")),
            _ => return Err(BadTarget("path_character")),
        }
    }
    match written.split_once(';').filter(|_| parameters) {
        Some((_, after)) if has_encoded_slash(after) => Err(BadTarget("encoded_slash")),
        _ => Ok(()),
    }
}

/// Whether `%2F` stands somewhere in a text that was not decoded.
pub(super) fn has_encoded_slash(raw: &str) -> bool {
    raw.as_bytes().windows(3).any(|three| three.eq_ignore_ascii_case(b"%2f"))
}

/// Decodes a segment once, refusing what no client needs to encode and what some backend would read differently.
///
/// # Errors
/// Such an encoding, and `%2F` unless `slash` says that it is one of the segment's letters or ends.
pub(super) fn decode(written: &str, slash: bool, out: &mut String) -> Result<(), BadTarget> {
    if !written.contains('%') {
        out.push_str(written);
        return Ok(());
    }
    let mut bytes = Vec::with_capacity(written.len());
    let mut rest = written.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let decoded = hex_pair(rest.next(), rest.next()).ok_or(BadTarget("percent_encoding"))?;
        match decoded {
            b'/' if slash => bytes.push(decoded),
            b'/' => return Err(BadTarget("encoded_slash")),
            b'\\' => return Err(BadTarget("encoded_backslash")),
            b'%' => return Err(BadTarget("encoded_percent")),
            b';' => return Err(BadTarget("encoded_semicolon")),
            // Decoded once more, these would end the path.
            b'#' | b'?' => return Err(BadTarget("encoded_delimiter")),
            0..=0x1f | 0x7f => return Err(BadTarget("encoded_control")),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                return Err(BadTarget("needless_encoding"));
            }
            _ => bytes.push(decoded),
        }
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| BadTarget("not_utf8"))?;
    // C1 controls and the like are as invisible as the ASCII ones.
    if text.chars().any(|c| c.is_control() || is_invisible(c)) {
        return Err(BadTarget("encoded_control"));
    }
    if text.chars().any(is_compatible_separator) {
        return Err(BadTarget("encoded_slash"));
    }
    if text.chars().any(is_compatible_delimiter) {
        return Err(BadTarget("encoded_delimiter"));
    }
    out.push_str(text);
    Ok(())
}

/// Checks a decoded name that a server may look up in its file system.
///
/// # Errors
/// A name that some server takes for another one or for none. With `windows`, also one that only Windows does.
pub(super) fn check_name(name: &str, windows: bool) -> Result<(), BadTarget> {
    // On some file systems a name loses the dots and blanks that it ends in, and then may be made of dots alone.
    if name.starts_with(char::is_whitespace) {
        return Err(BadTarget("leading_blank"));
    }
    let trimmed = name.trim_end_matches(|c: char| c == '.' || c.is_whitespace());
    if trimmed.len() < name.len() {
        return Err(BadTarget(if trimmed.is_empty() { "dot_segment" } else { "trailing_dot" }));
    }
    // NTFS: `a::$DATA` is the file `a`, `a:$I30:$INDEX_ALLOCATION` the directory `a`.
    if name.contains(":$") {
        return Err(BadTarget("file_stream"));
    }
    // ASP.NET takes `(S(id))` for a session and leaves the segment out, and so would whoever follows it.
    let session = name.strip_prefix('(').and_then(|name| name.strip_prefix(|c: char| c.is_ascii_alphabetic()));
    if session.is_some_and(|name| name.starts_with('(')) {
        return Err(BadTarget("session_segment"));
    }
    if windows {
        // No file has these in its name: `:` begins a stream, the others match other names.
        if name.contains(['<', '>', ':', '"', '|', '*']) {
            return Err(BadTarget("windows_character"));
        }
        // `ADMINI~1` is another name of `administration`.
        if name.as_bytes().windows(2).any(|two| matches!(two, [b'~', b'0'..=b'9'])) {
            return Err(BadTarget("short_name"));
        }
    }
    Ok(())
}

/// Whether servers run what has such a name.
pub(super) fn is_script(name: &str) -> bool {
    let Some((_, end)) = name.rsplit_once('.') else { return false };
    // Versions, as in `v1.2`, and long words leave here.
    (2..=6).contains(&end.len()) && SCRIPTS.iter().any(|script| end.eq_ignore_ascii_case(script))
}

/// Characters that show nothing and that some readers drop: zero-width, joiners, direction marks, byte order mark.
pub(super) const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Characters that compatibility normalisation (Unicode NFKC) turns into a dot, a slash or a backslash, or into some
/// letters with one of them, as `℀`.
const fn is_compatible_separator(c: char) -> bool {
    let slashes = matches!(c, '\u{2044}' | '\u{2215}' | '\u{ff0f}' | '\u{2100}' | '\u{2101}' | '\u{2105}' | '\u{2106}');
    let dots = matches!(c, '\u{2024}'..='\u{2026}' | '\u{fe19}' | '\u{fe30}' | '\u{fe52}' | '\u{ff0e}');
    slashes || dots || matches!(c, '\u{fe68}' | '\u{ff3c}')
}

/// The same for what else ends or divides a path or a segment: question mark, number sign, percent sign, semicolon,
/// colon.
const fn is_compatible_delimiter(c: char) -> bool {
    let questions = matches!(c, '\u{2047}'..='\u{2049}' | '\u{fe16}' | '\u{fe56}' | '\u{ff1f}');
    let numbers_and_percents = matches!(c, '\u{fe5f}' | '\u{ff03}' | '\u{fe6a}' | '\u{ff05}');
    let semicolons = matches!(c, '\u{37e}' | '\u{fe14}' | '\u{fe54}' | '\u{ff1b}');
    let colons = matches!(c, '\u{fe13}' | '\u{fe55}' | '\u{ff1a}' | '\u{2a74}');
    questions || numbers_and_percents || semicolons || colons
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_only_windows_reads_differently_are_refused_for_it_alone() {
        for (name, anywhere, windows) in [
            ("orders", None, None),
            ("a~b", None, None),
            ("~user", None, None),
            ("(a)", None, None),
            ("f(S(x))", None, None),
            ("$a:b", None, Some("windows_character")),
            ("a:b", None, Some("windows_character")),
            ("a*", None, Some("windows_character")),
            ("a<<", None, Some("windows_character")),
            ("a\"b", None, Some("windows_character")),
            ("ADMINI~1", None, Some("short_name")),
            ("a~12.htm", None, Some("short_name")),
            ("web.config::$DATA", Some("file_stream"), Some("file_stream")),
            ("a:$I30:$INDEX_ALLOCATION", Some("file_stream"), Some("file_stream")),
            ("(S(x))", Some("session_segment"), Some("session_segment")),
            ("(X(1)S(x))", Some("session_segment"), Some("session_segment")),
            ("(F(a", Some("session_segment"), Some("session_segment")),
        ] {
            assert_eq!(check_name(name, false).err(), anywhere.map(BadTarget), "{name}");
            assert_eq!(check_name(name, true).err(), windows.map(BadTarget), "{name}");
        }
    }

    #[test]
    fn every_end_of_a_script_is_looked_for() {
        for end in SCRIPTS {
            assert!(is_script(&format!("a.{end}")), "{end}");
        }
    }

    #[test]
    fn a_script_is_known_by_the_end_of_its_name() {
        for (name, script) in [
            ("index.php", true),
            ("INDEX.PHP", true),
            (".php", true),
            ("a.b.aspx", true),
            ("php", false),
            ("a.php.txt", false),
            ("v1.2", false),
            ("report.pdf", false),
        ] {
            assert_eq!(is_script(name), script, "{name}");
        }
    }

    #[test]
    fn what_normalisation_turns_into_a_separator_or_a_delimiter_is_refused() {
        for (letters, subject) in [
            (['\u{2024}', '\u{ff0f}', '\u{2100}', '\u{ff3c}', '\u{fe19}'], "encoded_slash"),
            (['\u{37e}', '\u{ff05}', '\u{ff03}', '\u{fe56}', '\u{ff1a}'], "encoded_delimiter"),
        ] {
            for letter in letters {
                let mut bytes = [0; 4];
                let written: String =
                    letter.encode_utf8(&mut bytes).bytes().map(|byte| format!("%{byte:02X}")).collect();
                assert_eq!(decode(&written, true, &mut String::new()), Err(BadTarget(subject)), "{letter:?}");
            }
        }
    }
}
