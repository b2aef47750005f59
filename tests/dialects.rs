//! How backends read paths: tables of requests for each dialect, and the property behind them. Whatever a server of any
//! kind makes of a target that the gateway forwards, the caller was allowed.

mod support;

use std::cell::Cell;

use http::{Request, Uri};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use support::world::{self, World};

/// A map in which everything of one or two segments is open, with closed places among it. `BACKEND` stands for a
/// declaration, `MORE` for further routes.
const ROUTES: &str = "version: 1
upstreams: {app: {servers: [\"http://127.0.0.1:1\"]}}
applications:
  - name: app
    hosts: [app.test]
    domain: d
    upstream: app
    gate: {tenants: [t], audiences: [\"api://app\"]}
    backend: BACKEND
    routes:
      - {id: root, match: {methods: [GET], path: /}, require: [open]}
      - {id: page, match: {methods: [GET], path: \"/{page}\"}, require: [open]}
      - {id: part, match: {methods: [GET], path: \"/{page}/{part}\"}, require: [open]}
      - {id: file, match: {methods: [GET], path: \"/files/{rest...}\"}, require: [open]}
      - {id: private, match: {methods: [GET], path: \"/files/private/{rest...}\"}, require: [closed]}
      - {id: public, match: {methods: [GET], path: \"/public/{rest...}\"}, public: true}
      - {id: secret, match: {methods: [GET], path: /public/secret}, require: [closed]}
      - {id: admin, match: {methods: [GET], path: /admin}, require: [closed]}
      - {id: administration, match: {methods: [GET], path: \"/admin/{rest...}\"}, require: [closed]}
      - {id: setup, match: {methods: [GET], path: /setup.php}, require: [closed]}
MORE";
const SCRIPTS: &str = "      - {id: index, match: {methods: [GET], path: /index.php}, require: [open]}
      - {id: inside, match: {methods: [GET], path: \"/index.php/{rest...}\"}, require: [open]}
";
const GATEWAY: &str = "version: 1\nlisteners: [{address: 127.0.0.1:8080}]\nroutes: [r]\ngrants: [g]\n\
                       tenants: [{name: t, id: 11111111-1111-4111-8111-111111111111}]\n";
const GRANTS: &str = "version: 1\ndomain: d\nrights: [open, closed]\nprincipals:\n  \
                      - {id: olga, tenant: t, oid: 00000000-0000-4000-8000-000000000000, grants: [open]}\n";

/// The same map as the test itself reads it: the segments of each pattern, and whether its requests are open to the caller.
const MAP: [(&[&str], bool); 12] = [
    (&[""], true),
    (&["{}"], true),
    (&["{}", "{}"], true),
    (&["files", "{...}"], true),
    (&["files", "private", "{...}"], false),
    (&["public", "{...}"], true),
    (&["public", "secret"], false),
    (&["admin"], false),
    (&["admin", "{...}"], false),
    (&["setup.php"], false),
    (&["index.php"], true),
    (&["index.php", "{...}"], true),
];

/// An application with such a backend, and one caller with a token.
struct Gateway {
    world: World,
    token: String,
}

impl Gateway {
    fn before(backend: &str) -> Self {
        let scripts = if backend.contains("php") || backend.contains("iis") { SCRIPTS } else { "" };
        let routes = ROUTES.replace("BACKEND", backend).replace("MORE", scripts);
        let world = World::from_texts(GATEWAY, &routes, GRANTS);
        let token = world.token("olga", "app.test", &[]);
        Self { world, token }
    }

    /// Judges a request of the caller.
    fn judge(&self, target: &Uri) -> Result<(), String> {
        self.judge_with(target, &self.token)
    }

    fn judge_with(&self, target: &Uri, token: &str) -> Result<(), String> {
        let mut request = Request::builder().uri(target.clone()).header("host", "app.test");
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.world.judge(request.body(()).unwrap().into_parts().0)
    }
}

/// What came of a request: `allow`, or the code of the refusal with its subject.
fn outcome(gateway: &Gateway, target: &str) -> String {
    match target.parse::<Uri>() {
        Ok(target) => gateway.judge(&target).err().unwrap_or_else(|| "allow".to_owned()),
        Err(_) => "no target".to_owned(),
    }
}

const DENIED: &str = "right_missing:closed@root";

#[test]
fn a_strict_application_refuses_every_form_that_bypassed_a_proxy() {
    let gateway = Gateway::before("strict");
    for (target, expected) in [
        ("/files/a%20b/c.d", "allow"),
        ("/admin/users", DENIED),
        // Ory Oathkeeper GHSA-p224-6x5r-fjpm, Envoy CVE-2019-9901
        ("/public/../admin/secrets", "bad_target:dot_segment"),
        ("/public/./../admin", "bad_target:dot_segment"),
        // Envoy CVE-2021-29492, UniFi CVE-2026-34908
        ("/public/x%2F..%2Fadmin", "bad_target:encoded_slash"),
        ("/public/..%2fadmin", "bad_target:encoded_slash"),
        ("/public/..%5Cadmin", "bad_target:encoded_backslash"),
        ("/public/..\\admin", "bad_target:backslash"),
        // Istio CVE-2021-31920
        ("//admin", "bad_target:empty_segment"),
        ("/public//../admin", "bad_target:empty_segment"),
        ("/files%2Fprivate/x", "bad_target:encoded_slash"),
        // Envoy CVE-2026-73551, Shiro CVE-2020-11989 and CVE-2020-13933, Spring HttpFirewall
        ("/public/..;foo=bar/admin", "bad_target:semicolon"),
        ("/admin;x/panel", "bad_target:semicolon"),
        ("/admin/%3Bxx", "bad_target:encoded_semicolon"),
        ("/%252e%252e/admin", "bad_target:encoded_percent"),
        ("/x%252fadmin", "bad_target:encoded_percent"),
        // Traefik CVE-2026-48020, CVE-2026-40912, CVE-2025-66490
        ("/public/../admin", "bad_target:dot_segment"),
        ("/public%2e%2e/admin", "bad_target:needless_encoding"),
        ("/public/%2e%2e/admin", "bad_target:needless_encoding"),
        ("/public../admin", "bad_target:trailing_dot"),
        // Caddy CVE-2026-27587, Istio CVE-2021-39155
        ("/%41dmin", "bad_target:needless_encoding"),
        ("/%61dmin", "bad_target:needless_encoding"),
        ("/ADMIN", "no_route"),
        ("/Admin/users", "no_route"),
        // Spring CVE-2022-22978, Shiro CVE-2022-32532, Apache CVE-2023-25690
        ("/admin/index%0a", "bad_target:encoded_control"),
        ("/x%0d%0aHost:%20y", "bad_target:encoded_control"),
        ("/public/secret%00.html", "bad_target:encoded_control"),
        // Apache CVE-2024-38473, Wallarm
        ("/public/secret%3Fooo.php", "bad_target:encoded_delimiter"),
        ("/public/%C0%AF../admin", "bad_target:not_utf8"),
        ("/public/%c0%ae%c0%ae/admin", "bad_target:not_utf8"),
        ("/%u0061dmin", "bad_target:percent_encoding"),
        ("/public/%EF%BC%8F..", "bad_target:encoded_slash"),
        // Envoy CVE-2021-32779, Istio CVE-2021-39156, once it was encoded; in the open it never gets here
        ("/admin%23foo", "bad_target:encoded_delimiter"),
        // Envoy CVE-2025-46821: a letter that a pattern may not know
        ("/admin/*", DENIED),
        // IIS: streams, sessions; PHP: path info
        ("/admin::$INDEX_ALLOCATION/x", "bad_target:file_stream"),
        ("/(S(x))/admin", "bad_target:session_segment"),
        ("/setup.php/x", "bad_target:path_info"),
        ("/setup.php/", "bad_target:path_info"),
        // Apache CVE-2011-3368
        ("@internal/x", "no target"),
        // oauth2-proxy CVE-2025-54576: only the path is matched
        ("/admin?x=/public/", DENIED),
        ("/admin?/public/", DENIED),
    ] {
        assert_eq!(outcome(&gateway, target), expected, "{target}");
    }
}

#[test]
fn a_servlet_container_may_have_parameters_where_every_reading_is_allowed() {
    let gateway = Gateway::before("tomcat");
    for (target, expected) in [
        ("/orders;jsessionid=1", "allow"),
        ("/files/a;v=1/b;w", "allow"),
        ("/public/a;v", "allow"),
        // cut, it is the closed page; so is what old servers cut to the end
        ("/admin;x", DENIED),
        ("/admin;x/panel", DENIED),
        ("/admin/panel;x", DENIED),
        ("/files/private;v/x", DENIED),
        ("/public/secret;v", DENIED),
        ("/public;/secret", DENIED),
        // one reading has no route
        ("/files;v/a/b", "no_route"),
        ("/ADMIN;x", "no_route"),
        ("/public/..;/admin", "bad_target:dot_segment"),
        ("/public/..;foo=bar/admin", "bad_target:dot_segment"),
        ("/;/admin", "bad_target:empty_segment"),
        ("/files/;v", "bad_target:empty_segment"),
        ("/admin%3Bx", "bad_target:encoded_semicolon"),
        ("/files%2Fprivate/x", "bad_target:encoded_slash"),
        ("/setup.php;v/x", "bad_target:path_info"),
        ("/public/..\\admin", "bad_target:backslash"),
    ] {
        assert_eq!(outcome(&gateway, target), expected, "{target}");
    }
}

#[test]
fn an_encoded_slash_is_a_letter_and_an_end_at_once() {
    let gateway = Gateway::before("{encoded_slash: true}");
    for (target, expected) in [
        ("/orders%2F1", "allow"),
        ("/files/a%2Fb", "allow"),
        ("/public/a%2fb%2Fc", "allow"),
        ("/files%2Fprivate%2Fx", DENIED),
        ("/files/private%2Fx", DENIED),
        ("/public%2Fsecret", DENIED),
        ("/admin%2Fusers", DENIED),
        // a letter: one segment too many for `/{page}/{part}`; an end: a rest of files
        ("/files%2Fa/b/c", "no_route"),
        ("/x/y%2Fz", "no_route"),
        ("/public/..%2Fadmin", "bad_target:dot_segment"),
        ("/public%2F%2Fadmin", "bad_target:empty_segment"),
        ("/admin%2F", "bad_target:empty_segment"),
        ("/x%252Fy", "bad_target:encoded_percent"),
        ("/x%5Cy", "bad_target:encoded_backslash"),
        ("/x;y%2Fz", "bad_target:semicolon"),
    ] {
        assert_eq!(outcome(&gateway, target), expected, "{target}");
    }
}

#[test]
fn letter_case_makes_no_difference_to_iis_and_what_windows_renames_is_refused() {
    let gateway = Gateway::before("iis");
    for (target, expected) in [
        ("/FILES/a/b", "allow"),
        ("/Public/x", "allow"),
        ("/ADMIN", DENIED),
        ("/Admin/Users", DENIED),
        ("/Files/PRIVATE/x", DENIED),
        ("/public/Secret", DENIED),
        ("/SETUP.PHP", DENIED),
        ("/adm%C4%B1n", "no_route"),
        ("/Setup.php/x", DENIED),
        ("/index.PHP/x", "allow"),
        ("/other.aspx/Get", "allow"),
        ("/admin/page.aspx/Get", DENIED),
        ("/other.aspx/a/b", "no_route"),
        ("/admin.", "bad_target:trailing_dot"),
        ("/admin%20", "bad_target:trailing_dot"),
        ("/admin\\", "bad_target:backslash"),
        ("/files%5Cprivate", "bad_target:encoded_backslash"),
        ("/%u0061dmin", "bad_target:percent_encoding"),
        ("/ADMINI~1", "bad_target:short_name"),
        ("/admin:a", "bad_target:windows_character"),
        ("/admin::$DATA", "bad_target:file_stream"),
        ("/adm%3C%3C", "bad_target:windows_character"),
        ("/(S(abc))/admin", "bad_target:session_segment"),
        ("/admin;x", "bad_target:semicolon"),
    ] {
        assert_eq!(outcome(&gateway, target), expected, "{target}");
    }
}

#[test]
fn a_php_script_with_a_path_behind_it_is_also_the_script_alone() {
    let gateway = Gateway::before("php");
    for (target, expected) in [
        ("/index.php/a/b", "allow"),
        ("/other.php/a", "allow"),
        ("/setup.php", DENIED),
        ("/setup.php/a", DENIED),
        ("/admin/x.php/a", DENIED),
        ("/files/private/x.php/a", DENIED),
        ("/SETUP.php/a", "no_route"),
        // a path info of nothing but a slash: the first reading ends in a slash, and no route does
        ("/index.php/", "no_route"),
        ("/a.php/b.php/c", "bad_target:path_info"),
        ("/index.php/..", "bad_target:dot_segment"),
        ("/setup.php%2Fa", "bad_target:encoded_slash"),
        ("/setup.php;a", "bad_target:semicolon"),
        ("/setup.php%00.html", "bad_target:encoded_control"),
    ] {
        assert_eq!(outcome(&gateway, target), expected, "{target}");
    }
}

#[test]
fn a_public_route_asks_for_nothing_only_if_every_reading_is_public() {
    let gateway = Gateway::before("{dialect: tomcat, encoded_slash: true}");
    for (target, expected) in [
        ("/public/a", None),
        ("/public/a;v", None),
        ("/public/a%2Fb;v", None),
        ("/public/secret;v", Some("no_token")),
        ("/public%2Fa", Some("no_token")),
        ("/public;v/a", Some("no_token")),
    ] {
        let refused = gateway.judge_with(&target.parse().unwrap(), "").err();
        assert_eq!(refused.as_deref(), expected, "{target}");
    }
}

type Segments = Vec<Vec<u8>>;

fn split(path: &[u8]) -> Segments {
    path.strip_prefix(b"/").unwrap_or(path).split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect()
}

fn join(segments: &Segments) -> Vec<u8> {
    segments.iter().flat_map(|segment| [b"/", segment.as_slice()].concat()).collect()
}

fn each(segments: Segments, change: impl Fn(&[u8]) -> Vec<u8>) -> Segments {
    segments.iter().map(|segment| change(segment)).collect()
}

fn hex(digits: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(digits).ok().filter(|text| !text.starts_with('+'))?;
    u32::from_str_radix(text, 16).ok()
}

/// Decodes what can be decoded and leaves the rest, `%u0041` included.
fn decode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let [first, others @ ..] = rest {
        let wide = others.strip_prefix(b"u").and_then(|digits| hex(digits.get(..4)?)).and_then(char::from_u32);
        let byte = others.get(..2).and_then(hex).and_then(|byte| u8::try_from(byte).ok());
        rest = match (first, wide, byte) {
            (b'%', Some(wide), _) => {
                out.extend(wide.to_string().bytes());
                &others[5..]
            }
            (b'%', None, Some(byte)) => {
                out.push(byte);
                &others[2..]
            }
            _ => {
                out.push(*first);
                others
            }
        };
    }
    out
}

/// Overlong UTF-8 of two bytes, as letters of ASCII.
fn overlong(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let [first, others @ ..] = rest {
        match (first, others) {
            (0xc0 | 0xc1, [second @ 0x80..=0xbf, others @ ..]) => {
                out.push((first & 1) << 6 | (second & 0x3f));
                rest = others;
            }
            _ => {
                out.push(*first);
                rest = others;
            }
        }
    }
    out
}

fn cut(text: &[u8], at: u8) -> Vec<u8> {
    text.split(|byte| *byte == at).next().unwrap().to_vec()
}

fn cut_parameters(path: &[u8]) -> Vec<u8> {
    join(&each(split(path), |segment| cut(segment, b';')))
}

fn dots(segments: Segments) -> Segments {
    let mut kept: Segments = Vec::new();
    let last = segments.len() - 1;
    for (index, segment) in segments.into_iter().enumerate() {
        match segment.as_slice() {
            b"." => {}
            b".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
        if index == last && kept.is_empty() {
            kept.push(Vec::new());
        }
    }
    kept
}

fn merge(segments: Segments) -> Segments {
    let last = segments.len() - 1;
    let kept = segments.into_iter().enumerate().filter(|(index, segment)| *index == last || !segment.is_empty());
    kept.map(|(_, segment)| segment).collect()
}

fn slashes(path: &[u8]) -> Vec<u8> {
    path.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect()
}

/// What Windows makes of names: no dots and blanks at their ends, no streams.
fn windows(segments: Segments) -> Segments {
    each(segments, |segment| {
        let file = if segment.windows(2).any(|two| two == b":$") { cut(segment, b':') } else { segment.to_vec() };
        let end = file.iter().rposition(|byte| !matches!(byte, b'.' | b' ')).map_or(0, |last| last + 1);
        if file.iter().all(|byte| *byte == b'.') { file } else { file[..end].to_vec() }
    })
}

fn without_sessions(segments: Segments) -> Segments {
    let mut kept = segments;
    kept.retain(|segment| !(segment.starts_with(b"(") && segment.get(2) == Some(&b'(') && segment.ends_with(b"))")));
    if kept.is_empty() { vec![Vec::new()] } else { kept }
}

/// The script that runs, if one does.
fn script(mut segments: Segments) -> Segments {
    let runs = |segment: &Vec<u8>| {
        let name = segment.to_ascii_lowercase();
        [&b".php"[..], b".aspx", b".cgi"].iter().any(|end| name.ends_with(end))
    };
    if let Some(found) = segments.iter().position(runs) {
        segments.truncate(found + 1);
    }
    segments
}

/// A kind of server: what it reads in a path, and whether it folds letter case.
type Model = (&'static str, bool, fn(&[u8]) -> Segments);

const MODELS: [Model; 24] = [
    ("splits, then decodes", false, |path| each(split(path), decode)),
    ("does not decode", false, split),
    ("decodes, then splits", false, |path| split(&decode(path))),
    ("decodes twice", false, |path| split(&decode(&decode(path)))),
    ("decodes segments twice", false, |path| each(split(path), |segment| decode(&decode(segment)))),
    ("reads overlong UTF-8", false, |path| dots(split(&overlong(&decode(path))))),
    ("removes dots, then decodes", false, |path| split(&decode(&join(&dots(split(path)))))),
    ("decodes, then removes dots", false, |path| dots(split(&decode(path)))),
    ("decodes twice, then removes dots", false, |path| dots(split(&decode(&decode(path))))),
    ("merges slashes", false, |path| merge(split(&decode(path)))),
    ("merges slashes, then removes dots", false, |path| dots(merge(split(&decode(path))))),
    ("cuts at NUL", false, |path| split(&cut(&decode(path), 0))),
    ("cuts at #", false, |path| split(&cut(&decode(path), b'#'))),
    ("cuts at ?", false, |path| split(&cut(&decode(path), b'?'))),
    ("Tomcat", false, |path| dots(merge(split(&decode(&cut_parameters(path)))))),
    ("Tomcat that keeps %2F", false, |path| dots(merge(each(split(&cut_parameters(path)), decode)))),
    ("Shiro: decodes, then cuts", false, |path| dots(merge(split(&cut_parameters(&decode(path)))))),
    ("Jetty: cuts to the end", false, |path| dots(merge(split(&decode(&cut(path, b';')))))),
    ("PHP", false, |path| script(dots(merge(split(&decode(path)))))),
    ("PHP on Windows", true, |path| script(windows(dots(merge(split(&slashes(&decode(path)))))))),
    ("folds case", true, |path| each(split(path), decode)),
    ("IIS", true, |path| windows(dots(merge(split(&slashes(&decode(path))))))),
    ("IIS with double escaping", true, |path| script(windows(dots(merge(split(&slashes(&decode(&decode(path))))))))),
    ("ASP.NET", true, |path| script(without_sessions(windows(dots(merge(split(&slashes(&decode(path))))))))),
];

/// Whether the map lets the caller have what a server read: the most specific pattern says so. What has no pattern, nobody
/// may have.
fn open(segments: &Segments, folds: bool, scripts: bool) -> bool {
    let texts: Vec<String> = segments
        .iter()
        .map(|segment| {
            let text = String::from_utf8_lossy(segment).into_owned();
            if folds { text.to_lowercase() } else { text }
        })
        .collect();
    let mut best: Option<(Vec<u8>, bool)> = None;
    for (pattern, open) in MAP.iter().take(if scripts { MAP.len() } else { 10 }) {
        let rest = pattern.last() == Some(&"{...}");
        let fits = if rest { texts.len() >= pattern.len() } else { texts.len() == pattern.len() };
        let matches = pattern.iter().zip(&texts).all(|(part, text)| match *part {
            "{}" | "{...}" => !text.is_empty(),
            literal => literal == text,
        });
        let rank: Vec<u8> = pattern
            .iter()
            .map(|part| match *part {
                "{...}" => 2,
                "{}" => 1,
                _ => 0,
            })
            .collect();
        if fits && matches && best.as_ref().is_none_or(|(known, _)| rank < *known) {
            best = Some((rank, *open));
        }
    }
    best.is_some_and(|(_, open)| open)
}

/// The pieces of nasty targets: names of the map, and everything that some server reads its own way.
const PIECES: [&str; 62] = [
    "/",
    "/",
    "/",
    "/",
    "/",
    "admin",
    "files",
    "private",
    "public",
    "secret",
    "setup.php",
    "index.php",
    "x",
    "y.aspx",
    "a",
    ";v=1",
    ";",
    "..;",
    ";/",
    "%3B",
    "%2F",
    "%2f",
    "%5C",
    "\\",
    "..",
    ".",
    "/../",
    "/./",
    "//",
    "%2e%2e",
    "%2E",
    "%252e",
    "%252F",
    "%255c",
    "%00",
    "%23",
    "%3F",
    "?",
    "#",
    "%20",
    " ",
    "+",
    "%u002e",
    "%u002f",
    "%c0%af",
    "%c0%ae",
    "%ef%bc%8f",
    "ADMIN",
    "Files",
    "Private",
    "SECRET",
    "Setup.PHP",
    "%61dmin",
    "%41",
    ":$DATA",
    "::$INDEX_ALLOCATION",
    "(S(x))",
    "~1",
    "%C4%B1",
    "*",
    "%0a",
    "@",
];

/// A path of the map or one of its kin, with some pieces put in; or pieces alone.
fn targets() -> impl Strategy<Value = String> {
    let piece = || prop::sample::select(PIECES.to_vec());
    let known = prop::sample::select(vec![
        "/admin",
        "/admin/x",
        "/files/private/x",
        "/files/a/b",
        "/public/secret",
        "/public/a",
        "/setup.php",
        "/index.php",
        "/index.php/a",
        "/x/y",
        "/x",
        "/setup.php/x",
        "/files/x.php/y",
        "/files/a%2Fb",
        "/public/a%2fb",
        "/x%2Fy",
        "/x;v",
        "/x/y;v=1",
        "/files/a;v/b",
        "/Files/A",
        "/public/secret;v/x",
        "/(S(x))/admin",
    ]);
    let changed =
        (known, prop::collection::vec((any::<prop::sample::Index>(), piece()), 0..3)).prop_map(|(path, put)| {
            put.into_iter().fold(path.to_owned(), |mut path, (place, piece)| {
                path.insert_str(place.index(path.len()) + 1, piece);
                path
            })
        });
    let pieces = prop::collection::vec(piece(), 1..8).prop_map(|pieces| format!("/{}", pieces.concat()));
    prop_oneof![3 => changed, 2 => pieces]
}

/// The declarations that are tried, and how many of the forwarded targets must have had a form that needs its exception.
const BACKENDS: [(&str, u32); 7] = [
    ("strict", 0),
    ("tomcat", 20),
    ("php", 20),
    ("iis", 20),
    ("{encoded_slash: true}", 20),
    ("{dialect: tomcat, encoded_slash: true}", 20),
    ("{dialect: iis, encoded_slash: true, semicolon: true}", 20),
];

#[test]
fn whatever_a_server_reads_in_a_forwarded_target_its_caller_was_allowed() {
    for (backend, wanted) in BACKENDS {
        let gateway = Gateway::before(backend);
        let folds = backend.contains("iis");
        let scripts = folds || backend.contains("php");
        let (allowed, special) = (Cell::new(0), Cell::new(0));
        let mut runner = TestRunner::new(Config { cases: 3_000, failure_persistence: None, ..Config::default() });
        let found = runner.run(&targets(), |target| {
            let Ok(uri) = target.parse::<Uri>() else { return Ok(()) };
            if gateway.judge(&uri).is_err() {
                return Ok(());
            }
            allowed.set(allowed.get() + 1);
            // What goes on is the path as the gateway's HTTP library has it.
            let path = uri.path();
            let upper = folds && path.bytes().any(|byte| byte.is_ascii_uppercase());
            let script = path.to_ascii_lowercase().contains(".php/") || path.contains(".aspx/");
            if path.contains(';') || path.to_ascii_lowercase().contains("%2f") || upper || script {
                special.set(special.get() + 1);
            }
            for (name, model_folds, read) in MODELS {
                let segments = read(path.as_bytes());
                let shown: Vec<_> = segments.iter().map(|segment| String::from_utf8_lossy(segment)).collect();
                prop_assert!(
                    open(&segments, folds || model_folds, scripts),
                    "{backend}: {path} was forwarded, and `{name}` reads {shown:?} in it"
                );
            }
            Ok(())
        });
        found.unwrap_or_else(|fault| panic!("{fault}"));
        assert!(allowed.get() > 150, "{backend}: only {} targets passed", allowed.get());
        assert!(special.get() >= wanted, "{backend}: only {} targets used an exception", special.get());
    }
}

#[test]
fn the_models_find_what_each_rule_is_there_for() {
    for (path, model) in [
        ("/public/../admin", "decodes, then removes dots"),
        ("/public/%2e%2e/admin", "decodes, then removes dots"),
        ("/x%2F..%2Fadmin", "decodes, then removes dots"),
        ("/public/%252e%252e/admin", "decodes twice, then removes dots"),
        ("/files%2Fprivate%2Fx", "decodes, then splits"),
        ("/files/%61/../private/x", "removes dots, then decodes"),
        ("/public//secret", "merges slashes"),
        ("/public/secret%00.html", "cuts at NUL"),
        ("/admin%23foo", "cuts at #"),
        ("/admin%3Ffoo", "cuts at ?"),
        ("/%c0%ae%c0%ae/admin", "reads overlong UTF-8"),
        ("/admin;x", "Tomcat"),
        ("/public/..;/admin", "Tomcat"),
        ("/admin%3Bx", "Shiro: decodes, then cuts"),
        ("/admin;x/y", "Jetty: cuts to the end"),
        ("/setup.php/x", "PHP"),
        ("/ADMIN", "folds case"),
        ("/admin.", "IIS"),
        ("/admin%20", "IIS"),
        ("/public\\secret", "IIS"),
        ("/%u0061dmin", "IIS"),
        ("/admin::$DATA", "IIS"),
        ("/(S(x))/admin", "ASP.NET"),
    ] {
        let (_, folds, read) = MODELS.iter().find(|(name, ..)| *name == model).unwrap();
        assert!(!open(&read(path.as_bytes()), *folds, false), "{model} does not read a closed place in {path}");
    }
}

#[test]
fn routes_that_a_dialect_lets_nobody_take_are_faults() {
    use portcullis::diag::Report;
    let faults = |backend: &str, more: &str| {
        let mut report = Report::new();
        let text = ROUTES.replace("BACKEND", backend).replace("MORE", more);
        let source = report.add_source("routes.yaml", &text);
        let routes = portcullis::document::read_routes(source, &mut report).into_iter().collect::<Vec<_>>();
        let source = report.add_source("grants.yaml", GRANTS);
        let grants = portcullis::document::read_grants(source, &mut report).into_iter().collect::<Vec<_>>();
        let inputs = portcullis::route::Inputs {
            routes: &routes,
            grants: &grants,
            tenants: &world::tenants_of(GATEWAY),
            files: &|_| Err("no files here".into()),
            taken: &[],
            sha256: portcullis::reload::sha256,
        };
        portcullis::route::compile(inputs, &mut report);
        let found = report.diagnostics().iter();
        found.map(|found| (found.code, found.related.len(), found.help.clone().unwrap_or_default())).collect::<Vec<_>>()
    };
    let route =
        |path: &str| format!("      - {{id: new, match: {{methods: [GET], path: \"{path}\"}}, require: [open]}}\n");
    /// Declaration and path; code, number of other places and a part of the help of each fault.
    type Case = (&'static str, &'static str, &'static [(&'static str, usize, &'static str)]);
    let cases: [Case; 10] = [
        ("strict", "/main.php/{rest...}", &[("unreachable_route", 0, "`backend: php` or `backend: iis`")]),
        ("tomcat", "/main.php/x", &[("unreachable_route", 0, "`backend: php` or `backend: iis`")]),
        ("php", "/setup.php/{rest...}", &[]),
        ("php", "/a/b/main.php/{rest...}", &[("unreachable_route", 0, "the backend runs `/a/b/main.php`")]),
        ("iis", "/setup.php/x", &[]),
        ("iis", "/a:b", &[("unreachable_route", 0, "windows_character")]),
        ("strict", "/a:b", &[]),
        ("iis", "/ADMIN", &[("ambiguous_route", 1, "letter case makes no difference")]),
        ("iis", "/Files/{others...}", &[("ambiguous_route", 1, "letter case makes no difference")]),
        ("strict", "/ADMIN", &[]),
    ];
    for (backend, path, expected) in cases {
        let found = faults(backend, &route(path));
        assert_eq!(found.len(), expected.len(), "{backend} {path}: {found:?}");
        for ((code, related, help), (expected_code, expected_related, part)) in found.iter().zip(expected) {
            assert_eq!((*code, *related), (*expected_code, *expected_related), "{backend} {path}");
            assert!(help.contains(part), "{backend} {path}: {help}");
        }
    }
}
