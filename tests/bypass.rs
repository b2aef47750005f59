//! How authorizing proxies were talked around, and that this one is not. One test a class; each sends the request of the
//! advisory over a raw socket to a gateway before a backend that keeps every byte it gets. A refusal counts only if the
//! backend got nothing.
//!
//! | advisory | request | how it is ruled out | test |
//! |---|---|---|---|
//! | Ory Oathkeeper GHSA-p224-6x5r-fjpm | `GET /public/../admin/secrets` | routes match the canonical path; a raw path that is not canonical is a 400 | `dot_segments_are_refused_and_never_resolved` |
//! | Oathkeeper CVE-2026-33496, CVE-2021-32701 | a token of one application, cached, sent to another | the cache holds who the token speaks for, never a verdict; the gate is asked each time | `a_token_that_opened_one_application_opens_no_other` |
//! | Oathkeeper GHSA-w9mr-28mw-j8hg, Traefik CVE-2021-32813, CVE-2024-45410, CVE-2026-29054, Apache CVE-2022-31813, Fabio CVE-2025-48865, Pingora CVE-2026-105299 | `Connection: close, X-Forwarded-Host` | what `Connection` names goes first, in any case; the gateway's own fields are set after | `connection_takes_away_nothing_that_the_gateway_sets` |
//! | oauth2-proxy CVE-2025-54576 | `GET /admin?x=/public/` | the query plays no part in the choice of a route | `the_query_chooses_no_route` |
//! | oauth2-proxy CVE-2026-40575, CVE-2026-76835 | `GET /admin` with `X-Forwarded-Uri: /public/x` | the request line alone decides; `trusted_proxies` is empty unless written | `no_header_chooses_a_route` |
//! | oauth2-proxy CVE-2026-34457 | `User-Agent: GoogleHC/1.0` | health has a listener of its own | `no_user_agent_opens_a_door` |
//! | oauth2-proxy CVE-2025-64484, Traefik CVE-2026-33433, CVE-2026-54763, CVE-2026-88011, Caddy GO-2026-4639, GO-2026-5346 | `X_Forwarded_User: admin`, `X.Authenticated.User: admin` | names that speak for the caller go in every fold, on public routes too, and from trailers | `identity_fields_go_in_every_fold_on_every_route` |
//! | Traefik CVE-2026-35051, CVE-2026-39858 | `X-Forwarded-Prefix: /public` | the whole family goes unless a trusted proxy sent it | `forwarded_fields_of_strangers_go` |
//! | Traefik CVE-2026-48020, CVE-2026-40912, CVE-2025-66490 | `/public../admin`, `/public%2f..`, `/public%2e/admin` | patterns match whole segments; nothing is stripped or rewritten after the decision | `patterns_match_on_the_borders_of_segments` |
//! | Traefik CVE-2026-71324, Go CVE-2026-56866, CVE-2026-94439 | `CONNECT /x` with a body | CONNECT is a 405 and its connection ends | `connect_is_refused_and_nothing_behind_it_is_read` |
//! | Envoy CVE-2019-9901, CVE-2021-29492, CVE-2021-32779, Istio CVE-2021-39156, CVE-2021-31920 | `/public%2F..%2Fadmin`, `%5C`, `//`, `/admin#foo` | encoded separators, backslashes, empty segments and fragments are 400s | `encoded_separators_empty_segments_and_fragments_are_refused` |
//! | Envoy CVE-2026-73551, 73511, 73553, Shiro CVE-2020-11989, CVE-2020-13933, Spring HttpFirewall | `/public/..;a=b/admin`, `/admin;x`, `%3B`, `%252f` | `;` and `%` inside a path, encoded or not, are 400s | `path_parameters_and_nested_encodings_are_refused` |
//! | Envoy CVE-2025-46821 | `/admin/*` | what no pattern matches is denied | `what_no_pattern_matches_is_denied` |
//! | Envoy CVE-2023-27487, CVE-2019-9900, CVE-2026-73552, CVE-2026-73548, CVE-2022-29226 | `x-envoy-original-path`, NUL and obs-text in values, `Upgrade: foo` | internal fields go; such a value is refused or plain text; upgrades other than WebSocket never happen | `internal_fields_odd_values_and_upgrades_open_nothing` |
//! | Istio CVE-2021-39155, Caddy CVE-2026-27588, CVE-2026-27587 | `Host: APP.test.`, `/%41dmin`, `/ADMIN` | one form of a host for every lookup; needless encoding is a 400; a path means its bytes | `a_host_and_a_path_have_one_form` |
//! | Spring CVE-2022-22978, CVE-2023-20860, Shiro CVE-2022-32532 | `/admin/x%0a`, `/admin/` | encoded controls are 400s; one matcher, in which `/a` and `/a/` differ | `encoded_controls_are_refused_and_a_last_slash_counts` |
//! | Apache CVE-2011-3368, CVE-2023-25690, CVE-2024-38473 | `@internal/x`, `%0d%0a` | a target begins with `/`; nothing is decoded on its way | `a_target_is_a_path_and_is_never_decoded` |
//! | UniFi CVE-2026-34908, gixy `proxy_pass_normalized`, `%C0%AF` | `/public/..%2fadmin`, overlong UTF-8 | the same bytes are matched, logged and forwarded | `the_bytes_that_were_matched_are_the_bytes_that_go_on` |
//! | HAProxy CVE-2023-25725, CVE-2023-40225, CVE-2021-40346, CVE-2021-39240 | `: x`, `Content-Length:`, a name longer than 255 letters | what is not in the grammar is a 400 | `fields_that_are_none_are_refused` |
//! | Go CVE-2025-22871, CVE-2022-1705, Node CVE-2021-22959, CVE-2021-22960 | `5;\n`, `Transfer-Encoding: xchunked` | chunks are read by the strict grammar and framed anew | `chunk_lines_are_strict` |
//! | Pingora RUSTSEC-2025-0037, RUSTSEC-2026-0033, RUSTSEC-2026-0034 | a refused PUT whose body is a request; bytes behind an upgrade; HTTP/1.0 with `Transfer-Encoding` | an unread body ends its connection; no upgrade, no tunnel; 400 | `a_body_is_never_a_request` |
//! | hyper RUSTSEC-2020-0008, 2021-0020, 2021-0078, 2021-0079, h2 RUSTSEC-2023-0034, 2024-0003, 2024-0332, 2026-0258, rustls 2024-0336, 2024-0399 | two codings, `+5`, a chunk size that overflows, floods of frames | 400; versions behind the advisories; counts of frames (`tests/proxy/h2_frames.rs`) | `lengths_and_codings_are_plain`, `the_libraries_are_newer_than_their_advisories` |
//! | APISIX CVE-2022-24112, CVE-2022-25757, CVE-2026-39999, Kong PR 8823 | a batch of requests in one body, `X-Real-IP` | a request is one request; the field goes | `a_batch_in_a_body_is_a_body` |
//! | Symfony CVE-2018-14773, CVE-2019-10913, CVE-2026-118514 | `X-Original-URL`, `X-HTTP-Method-Override: DELETE`, `HEAD /admin` | such fields go; HEAD needs what GET needs; a method that no route lists is a 405 | `methods_are_what_the_request_line_says` |
//! | oathkeeper generator GHSA-9f3w-vm54-7gfc | `/user/a/b` on `/user/{id}` | `{id}` is one segment that is not empty | `a_variable_is_one_segment` |
//! | Skipper GO-2026-6019 | a head beyond the bound | what does not fit is refused, never passed over | `what_does_not_fit_is_refused` |
//! | Pomerium CVE-2021-39206, CVE-2023-33189 | those of Envoy | as there | `the_libraries_are_newer_than_their_advisories` |
//! | Next.js CVE-2025-29927 | `X-Middleware-Subrequest: middleware` | what a server says to itself goes with the identity fields | `identity_fields_go_in_every_fold_on_every_route` |
//! | Rack CVE-2025-61780 | `X-Sendfile-Type: X-Accel-Redirect` with `X-Accel-Mapping` | so do fields with which a proxy moves files about | `no_header_chooses_a_route` |
//! | WebDAV (RFC 4918 section 10.3) | `MOVE /mine/x` with `Destination: /admin` | a second target that no route has judged goes | `no_header_chooses_a_route` |
//! | ingress-nginx CVE-2021-25746, CVE-2021-25748, CVE-2025-24514, CVE-2025-1097, CVE-2025-1098 | configuration in a value | files are typed data, and no text is made of them | `a_value_of_a_route_file_is_only_a_value` |

#[path = "support/backend.rs"]
mod backend;
#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/recorder.rs"]
mod recorder;
#[path = "support/wire.rs"]
mod wire;

use std::fs;
use std::path::Path;

use gateway::{Gateway, Pass, Setup, token};
use recorder::Recorder;
use wire::{Answer, get, request};

const ROUTES: &str = "version: 1
upstreams:
  app: {servers: [\"SERVER\"]}
applications:
  - name: app
    hosts: [app.test, HOSTS]
    domain: app
    upstream: app
    gate: {tenants: [home], audiences: [\"api://app\"]}
    routes:
      - {id: open, match: {methods: [GET, POST, PUT], path: \"/public/{rest...}\"}, public: true}
      - {id: mine, match: {methods: [GET, PUT], path: \"/mine/{rest...}\"}, require: [things]}
      - {id: user, match: {methods: [GET], path: \"/user/{id}\"}, gate_only: true}
      - {id: admin, match: {methods: [GET, DELETE], path: /admin}, require: [secrets]}
      - {id: below, match: {methods: [GET, DELETE], path: \"/admin/{rest...}\"}, require: [secrets]}
  - name: other
    hosts: [other.test]
    domain: app
    upstream: app
    gate: {tenants: [home], audiences: [\"api://other\"]}
    routes: [{id: all, match: {methods: [GET], path: \"/{rest...}\"}, gate_only: true}]
";

/// A gateway before a backend that keeps what it gets. Nobody holds the right to `/admin`.
struct Site {
    backend: Recorder,
    gateway: Gateway,
}

impl Site {
    fn start() -> Self {
        let backend = Recorder::hello();
        // More hosts than fit into one line of a cache, or of a list that is searched.
        let hosts: Vec<String> = (0..200).map(|number| format!("h{number}.test")).collect();
        let routes = ROUTES.replace("SERVER", &backend.backend.url()).replace("HOSTS", &hosts.join(", "));
        let gateway = Setup { routes, workers: 1, ..Setup::before(&backend.backend) }.start();
        Self { backend, gateway }
    }

    /// Sends a request on a connection of its own.
    fn ask(&self, request: impl AsRef<[u8]>) -> Answer {
        let mut client = self.gateway.connect();
        // The gateway may have had enough before all is written.
        let _ = client.try_send(request);
        client.answer()
    }

    /// Asserts that a request is refused with this status, and that nothing of it reached the backend.
    #[track_caller]
    fn refuses(&self, status: u16, request: impl AsRef<[u8]>) {
        let before = self.backend.all().len();
        let shown = String::from_utf8_lossy(request.as_ref()).chars().take(300).collect::<String>();
        let answer = self.ask(request);
        assert_eq!(answer.status, status, "{shown}: {answer:?}");
        assert_eq!(&self.backend.all()[before..], "", "{shown}");
    }

    /// Asserts that a request passes, and returns what the backend got of it.
    #[track_caller]
    fn passes(&self, request: impl AsRef<[u8]>) -> String {
        let before = self.backend.all().len();
        let shown = String::from_utf8_lossy(request.as_ref()).into_owned();
        let answer = self.ask(request);
        assert_eq!(answer.status, 200, "{shown}: {answer:?}");
        self.backend.all().split_off(before)
    }
}

/// A field of a request as the backend got it, in lower case.
fn fields(heard: &str, name: &str) -> Vec<String> {
    let lines = heard.split("\r\n\r\n").next().unwrap().lines().skip(1).filter_map(|line| line.split_once(": "));
    lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).collect()
}

#[test]
fn dot_segments_are_refused_and_never_resolved() {
    let site = Site::start();
    for path in [
        "/public/../admin/secrets",
        "/public/..",
        "/public/x/../../admin",
        "/public/./x",
        "/public/.",
        "/./admin",
        "/../admin",
        "/public/%2e%2e/admin",
        "/public/%2E./admin",
        "/public/.%2e/admin",
        "/public/x/%2e",
    ] {
        for token in ["", &token("olga")] {
            site.refuses(400, get(path, token));
        }
    }
}

#[test]
fn a_token_that_opened_one_application_opens_no_other() {
    let site = Site::start();
    let at = |host: &str, token: &str| get("/mine/x", token).replace("app.test", host);
    let (app, other) = (token("olga"), Pass { audience: "api://other", ..Pass::default() }.token());
    for _ in 0..3 {
        site.passes(at("app.test", &app));
        site.refuses(403, at("other.test", &app));
        site.passes(at("other.test", &other));
        site.refuses(403, at("app.test", &other));
        site.refuses(403, get("/admin/x", &app));
    }
}

#[test]
fn connection_takes_away_nothing_that_the_gateway_sets() {
    let site = Site::start();
    for names in [
        "close, X-Forwarded-Host",
        "close, x-forwarded-for, X-FORWARDED-PROTO",
        "x-auth-request-user",
        "X-Real-IP, x-request-id, via, host, content-length, traceparent",
        "Host",
    ] {
        for line in [format!("Connection: {names}\r\n"), format!("Connection: close\r\nconnection: {names}\r\n")] {
            let heard = site.passes(request(
                "PUT",
                "/mine/x",
                &token("olga"),
                &format!("{line}X-Real-IP: 1.2.3.4\r\n"),
                "body",
            ));
            for (name, value) in [
                ("x-forwarded-host", "app.test"),
                ("x-forwarded-for", "127.0.0.1"),
                ("x-forwarded-proto", "http"),
                ("host", "app.test"),
                ("content-length", "4"),
                ("via", "1.1 portcullis"),
            ] {
                assert_eq!(fields(&heard, name), [value], "{line}");
            }
            assert_eq!(fields(&heard, "x-auth-request-user").len(), 1, "{line}");
            assert_eq!(fields(&heard, "x-request-id").len(), 1, "{line}");
            assert!(fields(&heard, "x-real-ip").is_empty() && fields(&heard, "connection").is_empty(), "{heard}");
        }
    }
}

#[test]
fn the_query_chooses_no_route() {
    let site = Site::start();
    for target in ["/admin?x=/public/", "/admin/x?/public/x", "/admin?/../public/x", "/admin/x?x=1&y=/public/"] {
        site.refuses(401, get(target, ""));
        site.refuses(403, get(target, &token("olga")));
    }
    assert!(
        site.passes(get("/public/x?y=/admin/../%2e%2e", ""))
            .starts_with("GET /public/x?y=/admin/../%2e%2e HTTP/1.1\r\n")
    );
}

/// Fields in which one proxy or server or another looks for the target.
const TARGETS: [&str; 21] = [
    "X-Forwarded-Uri",
    "X-Forwarded-Path",
    "X-Original-URL",
    "X-Original-URI",
    "X-Rewrite-URL",
    "X-Accel-Redirect",
    "X-Envoy-Original-Path",
    "X-Override-URL",
    "X-HTTP-DestinationURL",
    "X_Original_Url",
    "x.original.url",
    "Request-URI",
    "X-Waws-Unencoded-Url",
    "X-Invoke-Path",
    "X-Matched-Path",
    "X-Sendfile-Type",
    "Base-Url",
    "Uri",
    "X-Proxy-URL",
    "SCRIPT_NAME",
    "Destination",
];

#[test]
fn no_header_chooses_a_route() {
    let site = Site::start();
    for name in TARGETS {
        site.refuses(401, request("GET", "/admin", "", &format!("{name}: /public/x\r\n"), ""));
        site.refuses(403, request("GET", "/admin", &token("olga"), &format!("{name}: /public/x\r\n"), ""));
        let heard = site.passes(request("GET", "/public/x", "", &format!("{name}: /admin\r\n"), ""));
        assert!(!heard.contains("/admin"), "{heard}");
    }
}

#[test]
fn no_user_agent_opens_a_door() {
    let site = Site::start();
    for agent in ["GoogleHC/1.0", "kube-probe/1.33", "ELB-HealthChecker/2.0", "Prometheus/3.0"] {
        site.refuses(401, request("GET", "/admin", "", &format!("User-Agent: {agent}\r\n"), ""));
        for path in ["/healthz", "/readyz", "/metrics", "/ping"] {
            site.refuses(401, request("GET", path, "", &format!("User-Agent: {agent}\r\n"), ""));
        }
    }
}

#[test]
fn identity_fields_go_in_every_fold_on_every_route() {
    let site = Site::start();
    for name in [
        "X-Forwarded-User",
        "X_Forwarded_User",
        "x-forwarded.user",
        "X-Auth-Request-User",
        "X_Auth_Request_User",
        "X-Auth-Request_Groups",
        "X.Authenticated.User",
        "X-Authenticated-User",
        "x-auth-user",
        "X_AUTH_USER",
        "Remote-User",
        "REMOTE_USER",
        "X-Portcullis-Scopes",
        "X-Portcullis-Assertion",
        "X-MS-Client-Principal",
        "SSL_CLIENT_S_DN",
        "X-WEBAUTH-USER",
        "Impersonate-User",
        "SMUSER",
        "SM_UNIVERSALID",
        "OIDC_access_token",
        "Shib-Session-ID",
        "CAS-User",
        "IV-Remote-Address",
        "OAM_REMOTE_USER",
        "MS-ASPNETCORE-WINAUTHTOKEN",
        "WL-Proxy-Client-Cert",
        "X-ARR-SSL",
        "Tailscale-User-Login",
        "Webauth-User",
        "X-Vouch-User",
        "X-Middleware-Subrequest",
        "Authenticated-User",
    ] {
        for (path, token) in [("/public/x", String::new()), ("/mine/x", token("olga"))] {
            let line = format!("{name}: sentinel\r\n");
            let lower = format!("{}: sentinel\r\n", name.to_ascii_lowercase());
            let heard = site.passes(request("GET", path, &token, &format!("{line}{lower}"), ""));
            assert!(!heard.contains("sentinel"), "{name}: {heard}");
            // And behind the body.
            let head = request("PUT", path, &token, "Transfer-Encoding: chunked\r\n", "");
            let heard = site.passes(format!("{head}1\r\nx\r\n0\r\n{line}\r\n"));
            assert!(!heard.contains("sentinel") && heard.ends_with("1\r\nx\r\n0\r\n\r\n"), "{name}: {heard}");
        }
    }
}

#[test]
fn forwarded_fields_of_strangers_go() {
    let site = Site::start();
    for name in [
        "X-Forwarded-Prefix",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Port",
        "X-Forwarded-Ssl",
        "X-Forwarded-Server",
        "x-FORWARDED-prefix",
        "X_Forwarded_Prefix",
        "X-Forwarded",
        "Forwarded",
    ] {
        let line = format!("{name}: sentinel\r\n");
        site.refuses(401, request("GET", "/admin", "", &line, ""));
        let heard = site.passes(request("GET", "/public/x", "", &line, ""));
        assert!(!heard.contains("sentinel"), "{name}: {heard}");
    }
}

#[test]
fn patterns_match_on_the_borders_of_segments() {
    let site = Site::start();
    for (path, status) in [
        ("/public../admin", 400),
        ("/publicx/admin", 401),
        ("/public", 401),
        ("/public%2e/admin", 400),
        ("/public%2e%2e/admin", 400),
        ("/public%2f../admin", 400),
        ("/public%2f..", 400),
        ("/api%2e/admin/secret", 400),
        ("/public/", 401),
    ] {
        site.refuses(status, get(path, ""));
    }
}

#[test]
fn connect_is_refused_and_nothing_behind_it_is_read() {
    let site = Site::start();
    for target in ["/public/x", "app.test:80", "/admin"] {
        let hidden = get("/public/hidden", "");
        for lines in [format!("Content-Length: {}\r\n", hidden.len()), String::new()] {
            let mut client = site.gateway.connect();
            client.send(format!("CONNECT {target} HTTP/1.1\r\nHost: app.test\r\n{lines}\r\n{hidden}"));
            assert_eq!(client.answer().status, 405, "{target}");
            assert!(client.rest().is_empty(), "{target}");
            assert_eq!(site.backend.all(), "", "{target}");
        }
    }
}

#[test]
fn encoded_separators_empty_segments_and_fragments_are_refused() {
    let site = Site::start();
    for path in [
        "/public%2F..%2Fadmin",
        "/public/%2F../admin",
        "/public/..%2fadmin",
        "/public/..%5Cadmin",
        "/public/%5c..%5cadmin",
        "/public/..\\admin",
        "\\public\\x",
        "//admin",
        "/public//../admin",
        "/public//x",
        "///admin/x",
        "/admin#foo",
        "/public/x#/../../admin",
        "/public/x%23",
    ] {
        for token in ["", &token("olga")] {
            site.refuses(400, get(path, token));
        }
    }
}

#[test]
fn path_parameters_and_nested_encodings_are_refused() {
    let site = Site::start();
    for path in [
        "/user/..;foo=bar/admin",
        "/public/..;/admin",
        "/public/x;a=b",
        "/admin;x/panel",
        "/;/admin",
        "/admin/%3Bxx",
        "/public/%3b/..",
        "/public/%252f..%252fadmin",
        "/public/%252e%252e/admin",
        "/public/%25252e/admin",
        "/public/%%32%65/admin",
    ] {
        site.refuses(400, get(path, ""));
        site.refuses(400, get(path, &token("olga")));
    }
}

#[test]
fn what_no_pattern_matches_is_denied() {
    let site = Site::start();
    for path in ["/admin/*", "/*", "/~", "/admin/x*y", "/unknown", "/public*", "/user/*/x", "/favicon.ico"] {
        // A stranger learns nothing, not even that there is no route.
        site.refuses(401, get(path, ""));
        let answer = site.ask(get(path, &token("olga")));
        assert!(matches!(answer.status, 403 | 404), "{path}: {answer:?}");
    }
    assert_eq!(site.backend.all(), "");
}

#[test]
fn internal_fields_odd_values_and_upgrades_open_nothing() {
    let site = Site::start();
    site.refuses(401, request("GET", "/admin", "", "x-envoy-original-path: /public/x\r\n", ""));
    for value in ["a\0b", "a\rb", "a\x01b", "a\x7fb"] {
        site.refuses(400, request("GET", "/public/x", "", &format!("X-A: {value}\r\n"), ""));
    }
    // Letters beyond ASCII are text that nobody reads.
    let obs_text = [b"GET /admin HTTP/1.1\r\nHost: app.test\r\nX-A: \xff\xfe\r\n".as_slice(), b"\r\n"].concat();
    site.refuses(401, obs_text);
    for (name, value) in [("authorization", &b"Bearer \xff"[..]), ("host", b"app.test\xff")] {
        let line = [name.as_bytes(), b": ", value, b"\r\n"].concat();
        let host: &[u8] = if name == "host" { b"" } else { b"Host: app.test\r\n" };
        let answer = site.ask([b"GET /admin HTTP/1.1\r\n", host, &line, b"\r\n"].concat());
        assert!(matches!(answer.status, 400 | 401), "{name}: {answer:?}");
    }
    for protocol in ["foo", "h2c", "TLS/1.0", "HTTP/3.0", "foo, bar"] {
        let lines = format!("Connection: Upgrade\r\nUpgrade: {protocol}\r\n");
        let answer = site.ask(request("GET", "/public/x", "", &lines, ""));
        assert!(matches!(answer.status, 200 | 400), "{protocol}: {answer:?}");
        site.refuses(401, request("GET", "/admin", "", &lines, ""));
    }
    let heard = site.backend.all().to_ascii_lowercase();
    assert!(!heard.contains("upgrade") && !heard.contains("/admin"), "{heard}");
}

#[test]
fn a_host_and_a_path_have_one_form() {
    let site = Site::start();
    for host in ["APP.test", "app.test.", "App.Test:80", "H0.TEST", "h150.test", "h199.test."] {
        let at = |path: &str, token: &str| get(path, token).replace("app.test", host);
        site.refuses(401, at("/admin", ""));
        site.refuses(403, at("/admin", &token("olga")));
        site.passes(at("/mine/x", &token("olga")));
    }
    site.refuses(421, get("/public/x", "").replace("app.test", "unknown.test"));
    for path in ["/%41dmin", "/%61dmin", "/admi%6e", "/public/%7e"] {
        site.refuses(400, get(path, &token("olga")));
    }
    for path in ["/ADMIN", "/Admin/x", "/Public/x"] {
        site.refuses(404, get(path, &token("olga")));
    }
}

#[test]
fn encoded_controls_are_refused_and_a_last_slash_counts() {
    let site = Site::start();
    for path in
        ["/admin/index%0a", "/admin%0a", "/public/x%0d", "/public/%00", "/admin%09", "/public/x%7f", "/public/%1f"]
    {
        site.refuses(400, get(path, ""));
        site.refuses(400, get(path, &token("olga")));
    }
    // `/admin/` is another path than `/admin`, and no route has it.
    site.refuses(401, get("/admin/", ""));
    site.refuses(404, get("/admin/", &token("olga")));
}

#[test]
fn a_target_is_a_path_and_is_never_decoded() {
    let site = Site::start();
    for target in [
        "@internal/x",
        "internal/x",
        "app.test/public/x",
        "public/x",
        ":80/public/x",
        "?/public/x",
        "/public/%0d%0aX-A:%201",
        "/public/x%0d%0a%0d%0aGET%20/admin%20HTTP/1.1",
        "/public/%",
        "/public/%4",
        "/public/%zz",
        "/public/%u0041",
        "http://internal.test/public/x",
        "http://app.test@internal.test/public/x",
        "http:///public/x",
        "file:///etc/passwd",
        "*",
    ] {
        let answer = site.ask(get(target, ""));
        assert!(matches!(answer.status, 400 | 421), "{target}: {answer:?}");
        assert_eq!(site.backend.all(), "", "{target}");
    }
    // An encoded blank stays one, and a `+` and a `&` stay what they are.
    for target in ["/public/a%20b", "/public/a+b?c=d%0A&e", "/public/%C3%A4?%2e%2e/"] {
        assert!(site.passes(get(target, "")).starts_with(&format!("GET {target} HTTP/1.1\r\n")));
    }
}

#[test]
fn the_bytes_that_were_matched_are_the_bytes_that_go_on() {
    let site = Site::start();
    for path in [
        "/public/..%2fadmin",
        "/public/%C0%AF../admin",
        "/public/%c0%ae%c0%ae/admin",
        "/public/%e0%80%af",
        "/public/%ff",
        "/public/%ed%a0%80",
        "/public/%EF%BC%8F\u{e4}",
    ] {
        site.refuses(400, get(path, ""));
    }
    for path in ["/public/a%20b/c", "/public/%E2%82%AC", "/public/a:b@c!$&'()*+,=", "/public/~a-b_c.d"] {
        for target in [path.to_owned(), format!("http://app.test{path}")] {
            assert!(site.passes(get(&target, "")).starts_with(&format!("GET {path} HTTP/1.1\r\n")), "{target}");
        }
    }
}

#[test]
fn fields_that_are_none_are_refused() {
    let site = Site::start();
    let long = format!("X-{}: 1\r\n", "a".repeat(70_000));
    for lines in [
        ": x\r\n",
        " : x\r\n",
        "X-A\r\n",
        "X A: 1\r\n",
        "X-A : 1\r\n",
        "\tX-A: 1\r\n",
        "X-A: 1\r\n folded\r\n",
        "X\u{e4}: 1\r\n",
        "X(A): 1\r\n",
        "Content-Length:\r\n",
        "Content-Length: \r\n",
        "Content-Length : 4\r\n",
        "Content-Length\x0b: 4\r\n",
        "Transfer-Encoding : chunked\r\n",
    ] {
        site.refuses(400, request("PUT", "/public/x", "", lines, ""));
    }
    let answer = site.ask(request("PUT", "/public/x", "", &long, ""));
    assert!(matches!(answer.status, 400 | 431), "{answer:?}");
    // A name of 300 letters is one; whatever it ends in, it does not frame the message.
    let name = format!("Content-Length{}", "a".repeat(300));
    let heard = site.passes(request("PUT", "/public/x", "", &format!("{name}: 0\r\n"), "body"));
    assert_eq!((fields(&heard, "content-length"), heard.ends_with("\r\n\r\nbody")), (vec!["4".to_owned()], true));
    // `_` is `-` to some servers.
    let heard =
        site.passes(request("PUT", "/public/x", "", "Content_Length: 0\r\nTransfer_Encoding: chunked\r\n", "body"));
    assert!(!heard.to_ascii_lowercase().contains("content_length") && !heard.contains("chunked"), "{heard}");
}

#[test]
fn chunk_lines_are_strict() {
    let site = Site::start();
    let hidden = get("/public/hidden", "");
    for (lines, body) in [
        ("Transfer-Encoding: chunked\r\n", format!("5;\nhello\r\n0\r\n\r\n{hidden}")),
        ("Transfer-Encoding: chunked\r\n", format!("5\nhello\r\n0\r\n\r\n{hidden}")),
        ("Transfer-Encoding: chunked\r\n", format!("5;a=\"\n\"\r\nhello\r\n0\r\n\r\n{hidden}")),
        ("Transfer-Encoding: chunked\r\n", format!("0;\n{hidden}\r\n\r\n")),
        ("Transfer-Encoding: chunked\r\n", format!("1\r\nxx\r\n0\r\n\r\n{hidden}")),
        ("Transfer-Encoding: xchunked\r\n", format!("5\r\nhello\r\n0\r\n\r\n{hidden}")),
        ("Transfer-Encoding: chunked, identity\r\n", format!("5\r\nhello\r\n0\r\n\r\n{hidden}")),
        ("Transfer-Encoding: \"chunked\"\r\n", format!("5\r\nhello\r\n0\r\n\r\n{hidden}")),
    ] {
        let mut client = site.gateway.connect();
        client.send(format!("{}{body}", request("PUT", "/public/x", "", lines, "")));
        assert_eq!(client.answer().status, 400, "{lines}{body}");
        assert!(client.rest().is_empty(), "{lines}{body}");
    }
    let heard = site.backend.all();
    assert!(!heard.contains("hidden") && !heard.contains("0\r\n\r\n"), "no complete request: {heard}");
}

#[test]
fn a_body_is_never_a_request() {
    let site = Site::start();
    let hidden = get("/public/hidden", "");
    for (head, behind) in [
        (request("PUT", "/admin", "", &format!("Content-Length: {}\r\n", hidden.len()), ""), hidden.clone()),
        (request("PUT", "/mine/x", "", &format!("Content-Length: {}\r\n", 100 * hidden.len()), ""), hidden.repeat(100)),
        (
            request("PUT", "/mine/x", "", "Transfer-Encoding: chunked\r\n", ""),
            format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len()),
        ),
        // Nothing was upgraded, so what comes behind is HTTP, or nothing.
        (
            request("GET", "/admin", "", "Connection: Upgrade\r\nUpgrade: websocket\r\n", ""),
            "\u{81}\u{85}binary".into(),
        ),
    ] {
        for whole in [true, false] {
            let mut client = site.gateway.connect();
            if whole {
                client.send(format!("{head}{behind}"));
            } else {
                client.send(&head);
            }
            let answer = client.answer();
            assert!(matches!(answer.status, 400 | 401), "{head}: {answer:?}");
            if !whole {
                let _ = client.try_send(&behind);
            }
            client.try_finish();
            assert!(!String::from_utf8_lossy(&client.rest()).contains(" 200 "), "{head}");
        }
    }
    let old = request("PUT", "/public/x", "", "Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n", "");
    site.refuses(400, format!("{}5\r\nhello\r\n0\r\n\r\n", old.replace("HTTP/1.1", "HTTP/1.0")));
    assert_eq!(site.backend.all(), "");
}

#[test]
fn lengths_and_codings_are_plain() {
    let site = Site::start();
    let chunks = "5\r\nhello\r\n0\r\n\r\n";
    for (lines, body) in [
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", chunks),
        ("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", chunks),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", chunks),
        ("Transfer-Encoding: gzip, chunked\r\n", chunks),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", chunks),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", chunks),
        ("Content-Length: +5\r\n", "hello"),
        ("Content-Length: -5\r\n", "hello"),
        ("Content-Length: 5 5\r\n", "hello"),
        ("Content-Length: 0x5\r\n", "hello"),
        ("Content-Length: 5, 5\r\n", "hello"),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"),
        ("Content-Length: 18446744073709551621\r\n", "hello"),
    ] {
        site.refuses(400, format!("{}{body}", request("PUT", "/public/x", "", lines, "")));
    }
    for size in ["ffffffffffffffff1", "10000000000000005", "+5", "-5", "0x5"] {
        let head = request("PUT", "/public/x", "", "Transfer-Encoding: chunked\r\n", "");
        assert_eq!(site.ask(format!("{head}{size}\r\nhello\r\n0\r\n\r\n")).status, 400, "{size}");
    }
    assert!(!site.backend.all().contains("0\r\n\r\n"), "no complete request");
}

#[test]
fn the_libraries_are_newer_than_their_advisories() {
    let lock = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).unwrap();
    let version = |text: &str| text.split('.').map(|part| part.parse().unwrap()).collect::<Vec<u32>>();
    for (name, floor) in [("hyper", "1.0.0"), ("h2", "0.4.16"), ("rustls", "0.23.18")] {
        let packages = lock.split("[[package]]").filter(|package| package.contains(&format!("\nname = \"{name}\"\n")));
        let versions: Vec<&str> =
            packages.map(|package| package.split("version = \"").nth(1).unwrap().split('"').next().unwrap()).collect();
        assert!(!versions.is_empty(), "{name}");
        assert!(versions.iter().all(|found| version(found) >= version(floor)), "{name}: {versions:?}");
    }
}

#[test]
fn a_batch_in_a_body_is_a_body() {
    let site = Site::start();
    let batch = "{\"pipeline\":[{\"path\":\"/admin\",\"headers\":{\"X-Real-IP\":\"127.0.0.1\"}}]}";
    let heard = site.passes(request("POST", "/public/batch", "", "X-Real-IP: 127.0.0.1\r\n", batch));
    assert!(heard.ends_with(batch) && heard.matches("HTTP/1.1\r\n").count() == 1, "{heard}");
    assert!(fields(&heard, "x-real-ip").is_empty());
    site.refuses(401, request("POST", "/apisix/batch-requests", "", "X-Real-IP: 127.0.0.1\r\n", batch));
}

#[test]
fn methods_are_what_the_request_line_says() {
    let site = Site::start();
    for name in [
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
        "X_HTTP_Method_Override",
        "x.http.method.override",
        "X-Original-Method",
        "X-Forwarded-Method",
    ] {
        let heard = site.passes(request("POST", "/public/x", "", &format!("{name}: DELETE\r\n"), "a=b"));
        assert!(heard.starts_with("POST /public/x ") && !heard.contains("DELETE"), "{name}: {heard}");
    }
    for (method, status) in
        [("HEAD", 403), ("OPTIONS", 405), ("PATCH", 405), ("get", 405), ("GET\u{b}", 400), ("FOO", 405), ("PURGE", 405)]
    {
        let mut client = site.gateway.connect();
        client.send(request(method, "/admin", &token("olga"), "", ""));
        assert_eq!(client.head().unwrap().status, status, "{method}");
    }
    let mut stranger = site.gateway.connect();
    stranger.send(request("HEAD", "/admin", "", "", ""));
    assert_eq!(stranger.answer_to_head().status, 401);
    for method in ["TRACE", "TRACK", "DEBUG", "PROPFIND"] {
        let answer = site.ask(request(method, "/public/x", "", "", ""));
        assert!(matches!(answer.status, 401 | 405), "{method}: {answer:?}");
    }
    assert!(!site.backend.all().contains("/admin"));
}

#[test]
fn a_variable_is_one_segment() {
    let site = Site::start();
    let olga = token("olga");
    assert!(site.passes(get("/user/7", &olga)).starts_with("GET /user/7 "));
    for (path, status) in [
        ("/user/7/admin", 404),
        ("/user/", 404),
        ("/user", 404),
        ("/user//", 400),
        ("/user/7%2fadmin", 400),
        ("/user/%2e%2e", 400),
    ] {
        site.refuses(status, get(path, &olga));
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let site = Site::start();
    for (lines, statuses) in [
        (format!("X-A: {}\r\n", "a".repeat(70_000)), &[431][..]),
        ("X-A: 1\r\n".repeat(200), &[431]),
        (format!("Cookie: {}\r\n", "a=b; ".repeat(20_000)), &[431]),
    ] {
        let answer = site.ask(request("GET", "/public/x", "", &lines, ""));
        assert!(statuses.contains(&answer.status), "{}: {answer:?}", lines.len());
    }
    for path in [
        format!("/public/{}", "a".repeat(70_000)),
        format!("/public/{}", "a/".repeat(500)),
        format!("/public/x?{}", "a=b&".repeat(20_000)),
    ] {
        let answer = site.ask(get(&path, ""));
        assert!(matches!(answer.status, 400 | 414 | 431), "{}: {answer:?}", path.len());
    }
    assert_eq!(site.backend.all(), "");
}

#[test]
fn a_value_of_a_route_file_is_only_a_value() {
    let backend = Recorder::hello();
    for (written, instead) in [
        ("path: /admin}", "path: \"/admin; return 200\"}"),
        ("path: /admin}", "path: \"/admin\\n      - {id: x}\"}"),
        ("path: /admin}", "path: \"~* ^/.*\"}"),
        ("hosts: [other.test]", "hosts: [\"other.test;}\"]"),
        ("hosts: [other.test]", "hosts: [\"other.test\\nevil.test\"]"),
        ("methods: [GET, DELETE], path: /admin}", "methods: [\"GET|POST\"], path: /admin}"),
        ("SERVER", "http://127.0.0.1:1;proxy_pass"),
        ("SERVER", "http://127.0.0.1:1/\\r\\nX: y"),
    ] {
        assert!(ROUTES.contains(written), "{written}");
        let routes = ROUTES.replacen(written, instead, 1);
        let routes = routes.replace("SERVER", &backend.backend.url()).replace("HOSTS", "h.test");
        assert!(Setup { routes, ..Setup::before(&backend.backend) }.try_start().is_err(), "{instead}");
    }
}
