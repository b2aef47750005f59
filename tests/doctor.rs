//! `portcullis doctor`: what it finds where all is well, and what where something is wrong, over real sockets and TLS.

#[path = "support/identity_provider.rs"]
mod identity_provider;
#[path = "support/process.rs"]
mod process;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::time::UNIX_EPOCH;

use identity_provider::{Answer, Server, Signer};
use portcullis::telemetry::rfc3339;
use process::{Done, edit, free_ports, portcullis};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use serde_json::{Value, json};
use tempfile::TempDir;

const ID: &str = "11111111-1111-1111-1111-111111111111";

/// A gateway's configuration with an issuer and an upstream that speak TLS.
struct Site {
    folder: TempDir,
    issuer: Server,
    upstream: Server,
}

impl Site {
    async fn new() -> Self {
        let site = Self {
            folder: tempfile::tempdir().unwrap(),
            issuer: Server::https().await,
            upstream: Server::https().await,
        };
        let (issuer, upstream) = (&site.issuer.base, &site.upstream.base);
        site.write(
            "gateway.yaml",
            &format!(
                "version: 1\n\
             listeners: [{{address: 127.0.0.1:0, tls: {{certificate: tls.crt, key: tls.key}}}}]\n\
             admin: {{address: 127.0.0.1:0, token_file: admin.token}}\n\
             routes: [routes.yaml]\n\
             grants: [grants.yaml]\n\
             tenants: [{{name: uss, id: {ID}, authority: \"{issuer}\", ca: issuer.pem}}]\n",
            ),
        );
        site.write(
            "routes.yaml",
            &format!(
                "version: 1\n\
             upstreams: {{back: {{servers: [\"{upstream}\"], ca: upstream.pem}}}}\n\
             applications:\n\
             \x20 - name: app\n\
             \x20   hosts: [app.example.org, \"*.example.net\", \"other.example.org:8443\"]\n\
             \x20   domain: d\n\
             \x20   upstream: back\n\
             \x20   gate: {{tenants: [uss], audiences: [\"api://app\"]}}\n\
             \x20   routes: [{{id: r, match: {{methods: [GET], path: /}}, gate_only: true}}]\n",
            ),
        );
        site.write("grants.yaml", "version: 1\ndomain: d\nprincipals: []\n");
        site.write("admin.token", "0123456789abcdef0123456789abcdef\n");
        site.write("issuer.pem", &String::from_utf8(site.issuer.ca.clone().unwrap()).unwrap());
        site.write("upstream.pem", &String::from_utf8(site.upstream.ca.clone().unwrap()).unwrap());
        site.certificate(&["app.example.org", "*.example.net", "other.example.org"], [2040, 1, 1]);
        for name in ["admin.token", "tls.key"] {
            fs::set_permissions(site.folder.path().join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        site.discovery(&format!("{issuer}/{ID}/v2.0"));
        site.issuer.answer("/keys", Answer::json(&json!({"keys": [Signer::p256().jwk("one")]})));
        site
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn edit(&self, name: &str, from: &str, to: &str) {
        edit(&self.folder.path().join(name), from, to);
    }

    /// The discovery documents of both versions, the second of which says that it is of `v2`.
    fn discovery(&self, v2: &str) {
        let base = &self.issuer.base;
        let keys = format!("{base}/keys");
        for (path, issuer) in [(String::new(), format!("{base}/{ID}/")), ("/v2.0".to_owned(), v2.to_owned())] {
            let document = Answer::json(&json!({"issuer": issuer, "jwks_uri": keys}));
            self.issuer.answer(&format!("/{ID}{path}/.well-known/openid-configuration"), document);
        }
    }

    fn certificate(&self, names: &[&str], until: [i32; 3]) {
        let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until[0], u8::try_from(until[1]).unwrap(), u8::try_from(until[2]).unwrap());
        let key = KeyPair::generate().unwrap();
        self.write("tls.crt", &params.self_signed(&key).unwrap().pem());
        self.write("tls.key", &key.serialize_pem());
    }

    async fn doctor(&self, further: &[&str]) -> Done {
        let arguments: Vec<String> = [&["doctor"], further].concat().iter().map(ToString::to_string).collect();
        let folder = self.folder.path().to_owned();
        let run = move || portcullis(&folder, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        tokio::task::spawn_blocking(run).await.unwrap()
    }

    /// Expects a line that begins with the level and contains the parts.
    async fn expect(&self, code: i32, level: &str, parts: &[&str]) {
        let done = self.doctor(&["--timeout", "3s"]).await;
        assert_eq!((done.code, done.err.as_str()), (code, ""), "{}", done.out);
        let fits = |line: &str| line.starts_with(level) && parts.iter().all(|part| line.contains(part));
        assert!(done.out.lines().any(fits), "no {level} with {parts:?} in\n{}", done.out);
    }
}

fn now() -> u64 {
    UNIX_EPOCH.elapsed().unwrap().as_secs()
}

#[tokio::test]
async fn where_all_is_well_every_line_is_ok() {
    let site = Site::new().await;
    let done = site.doctor(&[]).await;
    assert_eq!((done.code, done.err.as_str()), (0, ""), "{}", done.out);
    let lines: Vec<&str> = done.out.lines().collect();
    let (sum, lines) = lines.split_last().unwrap();
    assert!(lines.iter().all(|line| line.starts_with("ok ")), "{}", done.out);
    assert_eq!(*sum, format!("{} ok, 0 to be warned of, 0 failed", lines.len()));
    for part in
        ["all documents", "admin token", "private key", "all hosts", "1 usable key: one", "clock", "upstream back"]
    {
        assert!(done.out.contains(part), "{part}\n{}", done.out);
    }
    let json: Value = serde_json::from_str(&site.doctor(&["--output", "json"]).await.out).unwrap();
    assert_eq!((&json["ok"], &json["fail"]), (&json!(lines.len()), &json!(0)), "{json:#}");
    assert_eq!(site.upstream.count("*"), 2, "the upstream is asked what means nothing to an application");
}

#[tokio::test]
async fn what_is_wrong_with_an_issuer_is_named() {
    let site = Site::new().await;
    let base = site.issuer.base.clone();

    site.discovery(&format!("{base}/{ID}/"));
    site.expect(1, "fail", &["/v2.0", "the document is of the issuer"]).await;
    site.discovery(&format!("{base}/{ID}/v2.0"));

    site.issuer.answer("/keys", Answer::json(&json!({"keys": [{"kty": "oct", "kid": "k", "k": "AA"}]})));
    site.expect(1, "fail", &["no usable key"]).await;
    let mixed = json!({"keys": [Signer::p256().jwk("one"), {"kty": "OKP", "kid": "ed"}]});
    site.issuer.answer("/keys", Answer::json(&mixed));
    site.expect(0, "warn", &["key `ed`"]).await;
    site.issuer.answer("/keys", Answer::status(503));
    site.expect(1, "fail", &["/keys`: answered 503"]).await;
    site.issuer.answer("/keys", Answer::json(&mixed));

    site.write("issuer.pem", &String::from_utf8(site.upstream.ca.clone().unwrap()).unwrap());
    site.expect(1, "fail", &["TLS failed", "invalid peer certificate"]).await;
    site.write("issuer.pem", &String::from_utf8(site.issuer.ca.clone().unwrap()).unwrap());

    let numeric = base.replace("localhost", "127.0.0.1");
    site.edit("gateway.yaml", &base, &numeric);
    site.expect(1, "fail", &["TLS failed", "not valid for name"]).await;
    let refused = format!("https://localhost:{}", free_ports(1));
    site.edit("gateway.yaml", &numeric, &refused);
    site.expect(1, "fail", &["no connection to"]).await;
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    site.edit("gateway.yaml", &refused, &format!("https://localhost:{}", silent.local_addr().unwrap().port()));
    site.expect(1, "fail", &["no complete answer within 3 s"]).await;
}

#[tokio::test]
async fn a_clock_that_is_off_is_told_by_the_date_of_answers() {
    let site = Site::new().await;
    let path = format!("/{ID}/.well-known/openid-configuration");
    let dated = |seconds: u64| {
        // From `2026-11-22T04:47:03.000Z` to the form of HTTP; nobody reads the day of the week.
        let text = rfc3339(seconds * 1000);
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let month = months[text[5..7].parse::<usize>().unwrap() - 1];
        ("date", format!("Sun, {} {month} {} {} GMT", &text[8..10], &text[..4], &text[11..19]))
    };
    for (offset, code, level, part) in [
        (-45, 0, "warn", "s ahead of the issuer's"),
        (50, 0, "warn", "s behind the issuer's"),
        (600, 1, "fail", "s behind the issuer's"),
    ] {
        let date = dated(now().checked_add_signed(offset).unwrap());
        for path in [path.as_str(), "/keys"] {
            let body = if path == "/keys" {
                json!({"keys": [Signer::p256().jwk("one")]})
            } else {
                json!({"issuer": format!("{}/{ID}/", site.issuer.base), "jwks_uri": format!("{}/keys", site.issuer.base)})
            };
            site.issuer.answer(path, Answer { headers: vec![date.clone()], ..Answer::json(&body) });
        }
        site.expect(code, level, &["clock is", part]).await;
    }
}

#[tokio::test]
async fn what_is_wrong_with_an_upstream_is_named() {
    let site = Site::new().await;
    let base = site.upstream.base.clone();
    let plain = base.replace("https://", "http://");
    site.edit("routes.yaml", &base, &plain);
    site.expect(1, "fail", &["upstream back", "no answer in HTTP"]).await;
    site.edit("routes.yaml", &plain, &base);

    site.write("upstream.pem", &String::from_utf8(site.issuer.ca.clone().unwrap()).unwrap());
    site.expect(1, "fail", &["upstream back", "invalid peer certificate"]).await;
    site.write("upstream.pem", &String::from_utf8(site.upstream.ca.clone().unwrap()).unwrap());

    let refused = format!("http://127.0.0.1:{}", free_ports(1));
    site.edit("routes.yaml", &base, &refused);
    site.expect(1, "fail", &["upstream back", "no connection to"]).await;
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    site.edit("routes.yaml", &refused, &format!("http://{}", silent.local_addr().unwrap()));
    site.expect(1, "fail", &["upstream back", "no answer within 3 s"]).await;
    site.edit("routes.yaml", &format!("http://{}", silent.local_addr().unwrap()), "http://nowhere.invalid");
    site.expect(1, "fail", &["upstream back http://nowhere.invalid:80"]).await;
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_or_a_secret_is_named() {
    let site = Site::new().await;
    let all = ["app.example.org", "*.example.net", "other.example.org"];
    site.certificate(&all, [2021, 1, 1]);
    site.expect(1, "fail", &["`tls.crt` ended on 2021-01-01"]).await;
    let soon = rfc3339((now() + 10 * 86_400) * 1000);
    let soon = [&soon[..4], &soon[5..7], &soon[8..10]].map(|part| part.parse().unwrap());
    site.certificate(&all, soon);
    site.expect(0, "warn", &["`tls.crt` ends in 9 days"]).await;
    site.certificate(&["app.example.org"], [2040, 1, 1]);
    site.expect(0, "warn", &["is for app.example.org, and not for *.example.net, other.example.org:8443"]).await;
    fs::set_permissions(site.folder.path().join("admin.token"), fs::Permissions::from_mode(0o644)).unwrap();
    site.expect(1, "fail", &["admin token", "open to everybody", "mode 644"]).await;
    site.write("password.txt", "secret\n");
    fs::set_permissions(site.folder.path().join("password.txt"), fs::Permissions::from_mode(0o644)).unwrap();
    let own = "ca: upstream.pem, credentials: {basic: gateway, from_file: password.txt}";
    site.edit("routes.yaml", "ca: upstream.pem", own);
    site.expect(1, "fail", &["backend secret", "password.txt", "open to everybody", "mode 644"]).await;
}

#[tokio::test]
async fn all_certificates_of_a_listener_are_looked_at_together_and_so_are_authorities_of_clients() {
    let site = Site::new().await;
    let copy = |from: &str, to: &str| fs::copy(site.folder.path().join(from), site.folder.path().join(to)).unwrap();
    let gate = "audiences: [\"api://app\"]";
    site.edit("routes.yaml", gate, &format!("{gate}, client_certificates: \"CN=a\""));
    site.expect(1, "fail", &["application app", "asks for client certificates, and no listener does"]).await;
    site.certificate(&["app.example.org"], [2021, 1, 1]);
    copy("tls.crt", "clients.pem");
    site.certificate(&["*.example.net", "other.example.org"], [2040, 1, 1]);
    copy("tls.crt", "more.crt");
    copy("tls.key", "more.key");
    fs::set_permissions(site.folder.path().join("more.key"), fs::Permissions::from_mode(0o600)).unwrap();
    site.certificate(&["app.example.org"], [2040, 1, 1]);
    let more = "key: tls.key, client_ca: clients.pem, certificates: [{certificate: more.crt, key: more.key}]";
    site.edit("gateway.yaml", "key: tls.key", more);
    site.expect(1, "fail", &["`clients.pem` ended on 2021-01-01"]).await;
    copy("tls.crt", "clients.pem");
    site.expect(0, "ok", &["`tls.crt`, `more.crt` are for all hosts"]).await;
    site.expect(0, "ok", &["`more.crt` and its key belong together until 2040-01-01"]).await;
    site.expect(0, "ok", &["the authorities of clients in `clients.pem` are good until 2040-01-01"]).await;
}

#[tokio::test]
async fn a_configuration_with_faults_is_exit_code_3() {
    let site = Site::new().await;
    site.edit("routes.yaml", "upstream: back", "upstream: bakc");
    let done = site.doctor(&[]).await;
    assert_eq!((done.code, done.out.as_str()), (3, ""));
    assert!(done.err.contains("routes.yaml:7"), "{}", done.err);
    assert_eq!(site.doctor(&["--timeout", "soon"]).await.code, 2);
}
