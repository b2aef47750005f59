//! How the process runs: `gateway.yaml`, resolved and checked, fixed until the next start.

mod databases;
mod issuers;
mod keys;
mod listeners;
mod log;
mod reloads;
mod revoked;
mod settings;
mod tenants;
mod tokens;
mod traces;

use std::path::{Path, PathBuf};

use crate::diag::{Place, Report};
use crate::document;
use crate::document::Located;
use crate::document::gateway::GatewayDocument;
use crate::proxy::Settings;
use crate::reload::candidate::Below;
use crate::reload::revoked::RevokedFiles;
use crate::reload::{self, PolicyFiles};
use crate::source::file;
use crate::source::jwks::{Intervals, KeySource};
use crate::source::otlp::Exporter;
use crate::token::{Issuer, Room, Rules};

pub use listeners::{Admin, Listener};
pub use log::Log;

/// The whole of `gateway.yaml`. Paths are ready for use: relative ones start at the file that named them.
#[derive(Debug)]
pub struct Config {
    /// The file itself, as it was named.
    pub path: PathBuf,
    /// Where clients connect; at least one.
    pub listeners: Vec<Listener>,
    /// Where operators connect.
    pub admin: Option<Admin>,
    /// The live documents, and the tenants and issuers that they may name.
    pub policy: PolicyFiles,
    /// How reloads are made.
    pub reload: reload::Terms,
    /// Where candidates may lie that are judged beside what is live; `None` for nowhere.
    pub candidates: Option<Below>,
    /// Where revocations come from.
    pub revoked: RevokedFiles,
    /// Every `iss` that is believed; the index is the [`IssuerId`](crate::token::IssuerId).
    pub issuers: Vec<Issuer>,
    /// Where the keys of each issuer come from; the index is the [`KeySourceId`](crate::token::KeySourceId).
    pub keys: Vec<KeySource>,
    /// How often these are fetched, and how long they last.
    pub intervals: Intervals,
    /// How tokens are checked.
    pub rules: Rules,
    /// How much of verified tokens is remembered.
    pub room: Room,
    /// What the data plane needs to know.
    pub settings: Settings,
    /// What is logged.
    pub log: Log,
    /// Where spans go; `None` for nowhere.
    pub traces: Option<Exporter>,
}

/// Reads and resolves a `gateway.yaml`. Every fault goes to `report`: those of the file itself and of the
/// certificates, key sets and certificate authorities that it names. `None` when there is any; then the faults of
/// the live documents are in `report` too, so that nobody has to repair one file to hear of the next.
/// Without a fault the live documents are left to [`reload::load`].
pub fn load(path: &Path, report: &mut Report) -> Option<Config> {
    let source = file::read_document(path, report)?;
    let document = document::read_gateway(source, report)?;
    resolve(path, &document, report)
}

fn resolve(path: &Path, document: &GatewayDocument, report: &mut Report) -> Option<Config> {
    let base = Base::of(path);
    let listeners = listeners::resolve(document, &base, report);
    let beyond = listeners::first_beyond_loopback(document);
    let mut believed = tenants::Believed::nothing(beyond.is_none());
    tenants::resolve(&document.tenants, &base, beyond, &mut believed, report);
    issuers::resolve(&document.issuers, &base, beyond, &mut believed, report);
    if believed.keys.list.len().max(believed.issuers.len()) > usize::from(u16::MAX) {
        let place = document.tenants.last().map(|tenant| tenant.place);
        report.error("too_many_tenants", place, format!("more than {} issuers or key sets", u16::MAX));
    }
    // Where others can be used in their place, a start finds out by itself that live documents are missing.
    let live = |names: &[Located<String>], report: &mut Report| match document.reload.last_good {
        Some(_) => names.iter().map(|name| base.path(name)).collect(),
        None => base.existing(names, report),
    };
    let policy = PolicyFiles {
        routes: live(&document.routes, report),
        grants: live(&document.grants, report),
        tenants: believed.tenants,
        feeds: Vec::new(),
    };
    let feeds = databases::resolve(document, &base, report);
    let revoked = revoked::resolve(document, &base, report);
    let rules = tokens::rules(&document.tokens, report);
    let intervals = tokens::intervals(&document.tokens, report);
    let settings = settings::resolve(document, report);
    let log = log::resolve(document, &base, report);
    let traces = document.traces.as_ref().and_then(|traces| traces::resolve(traces, &base, report));
    if report.has_errors() {
        if policy.routes.len() == document.routes.len() && policy.grants.len() == document.grants.len() {
            let _rejected_anyway = reload::load(&policy, report);
        } else {
            reload::check_shape(&policy, report);
        }
        reload::revoked::check_shape(&revoked, report);
        return None;
    }
    Some(Config {
        path: path.to_owned(),
        listeners: listeners.clients,
        admin: listeners.admin,
        policy: PolicyFiles { feeds, ..policy },
        reload: reloads::resolve(&document.reload, &base),
        candidates: reloads::candidates(&document.shadow, &base),
        revoked,
        issuers: believed.issuers,
        keys: believed.keys.list,
        intervals,
        rules,
        room: Room { entries: document.tokens.cache_entries, bytes: document.tokens.cache_bytes },
        settings,
        log,
        traces,
    })
}

/// Where relative paths of `gateway.yaml` start.
struct Base(PathBuf);

impl Base {
    fn of(file: &Path) -> Self {
        Self(file.parent().map(Path::to_owned).unwrap_or_default())
    }

    /// The path that a name means.
    fn path(&self, name: &Located<String>) -> PathBuf {
        self.0.join(&name.value)
    }

    /// Reads a small file that `gateway.yaml` names.
    fn read(&self, name: &Located<String>, report: &mut Report) -> Option<Vec<u8>> {
        let path = self.path(name);
        file::read(&path, file::MAX_SECRET).map_err(|error| unreadable(name, &path, &error, report)).ok()
    }

    /// Those of the named files or directories that can be opened; the others are faults.
    fn existing(&self, names: &[Located<String>], report: &mut Report) -> Vec<PathBuf> {
        let mut paths = Vec::with_capacity(names.len());
        for name in names {
            let path = self.path(name);
            match file::probe(&path) {
                Ok(()) => paths.push(path),
                Err(error) => unreadable(name, &path, &error, report),
            }
        }
        paths
    }
}

/// Reports a file that cannot be read, by its name as written.
fn unreadable(name: &Located<String>, path: &Path, error: &str, report: &mut Report) {
    let found = report.error("unreadable_file", name.place, format!("cannot read `{}`: {error}", name.value));
    found.help(if path == Path::new(&name.value) {
        "it must be a file, or a directory of documents, that this process may read".to_owned()
    } else {
        format!("relative paths start at the file that names them; this is `{}`", path.display())
    });
}

/// Where each value was written first, to tell the second writer of it.
struct Seen<T>(Vec<(T, Place)>);

impl<T: PartialEq> Seen<T> {
    const fn new() -> Self {
        Self(Vec::new())
    }

    /// Takes note of a value; the place of the same value before it, if there is one.
    fn before(&mut self, value: T, place: Place) -> Option<Place> {
        let before = self.0.iter().find(|(seen, _)| *seen == value).map(|(_, place)| *place);
        if before.is_none() {
            self.0.push((value, place));
        }
        before
    }
}

fn list(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::source::jwks::From;
    use crate::token::IssuerKind;
    use crate::token::mint::DevelopmentKey;

    const ID: &str = "11111111-1111-1111-1111-11111111111A";
    const LOWER: &str = "11111111-1111-1111-1111-11111111111a";

    /// A directory with live documents, an admin token and a development key set; `gateway` becomes its gateway.yaml.
    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new(gateway: &str) -> Self {
            let folder = Self(tempfile::tempdir().unwrap());
            folder.write("gateway.yaml", &format!("version: 1\n{gateway}"));
            folder.write("routes.yaml", "version: 1\napplications: []\n");
            folder.write("grants.yaml", "version: 1\ndomain: d\nprincipals: []\n");
            folder.write("admin.token", "0123456789abcdef0123456789abcdef\n");
            folder
        }

        fn with(self, name: &str, text: &str) -> Self {
            self.write(name, text);
            self
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.0.path().join(name), text).unwrap();
        }

        fn load(&self) -> (Option<Config>, Report) {
            let mut report = Report::new();
            let config = load(&self.0.path().join("gateway.yaml"), &mut report);
            (config, report)
        }

        fn good(&self) -> Config {
            let (config, report) = self.load();
            assert!(!report.has_errors(), "{}", report.render());
            config.unwrap()
        }

        /// Codes and messages of all faults.
        fn faults(&self) -> Vec<(&'static str, String)> {
            let (config, report) = self.load();
            assert!(config.is_none());
            report.diagnostics().iter().map(|found| (found.code, found.message.clone())).collect()
        }
    }

    const FILES: &str = "routes: [routes.yaml]\ngrants: [grants.yaml]\n";

    #[test]
    fn a_tenant_becomes_its_two_issuers_by_discovery() {
        let folder =
            Folder::new(&format!("listeners: [{{address: 127.0.0.1:0}}]\n{FILES}tenants: [{{name: uss, id: {ID}}}]\n"));
        let config = folder.good();
        let issuers: Vec<_> = config.issuers.iter().map(|issuer| (issuer.kind.clone(), issuer.url.clone())).collect();
        assert_eq!(
            issuers,
            [
                (IssuerKind::EntraV1, format!("https://sts.windows.net/{LOWER}/")),
                (IssuerKind::EntraV2, format!("https://login.microsoftonline.com/{LOWER}/v2.0")),
            ]
        );
        let documents: Vec<_> = config.keys.iter().map(|source| format!("{:?}", source.from)).collect();
        let v1 = format!("\"https://login.microsoftonline.com/{LOWER}/.well-known/openid-configuration\"");
        let v2 = format!("\"https://login.microsoftonline.com/{LOWER}/v2.0/.well-known/openid-configuration\"");
        assert!(documents[0].contains(&v1) && documents[1].contains(&v2), "{documents:?}");
        assert_eq!(config.keys.iter().map(|source| source.issuer.0).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn clouds_and_authorities_have_issuers_of_their_own() {
        let cases: [(&str, &[&str]); 4] = [
            ("cloud: usgov", &["https://sts.windows.net/ID/", "https://login.microsoftonline.us/ID/v2.0"]),
            ("cloud: china", &["https://sts.chinacloudapi.cn/ID/", "https://login.partner.microsoftonline.cn/ID/v2.0"]),
            ("authority: \"http://127.0.0.1:9000/\"", &["http://127.0.0.1:9000/ID/", "http://127.0.0.1:9000/ID/v2.0"]),
            (
                "authority: \"https://login.example.org\"",
                &["https://login.example.org/ID/", "https://login.example.org/ID/v2.0"],
            ),
        ];
        for (setting, expected) in cases {
            let config = Folder::new(&format!(
                "listeners: [{{address: 127.0.0.1:0}}]\n{FILES}tenants: [{{name: uss, id: {ID}, {setting}}}]\n"
            ))
            .good();
            let issuers: Vec<_> = config.issuers.iter().map(|issuer| issuer.url.replace(LOWER, "ID")).collect();
            assert_eq!(issuers, expected, "{setting}");
            assert_eq!(config.keys.iter().map(|source| &source.url).collect::<Vec<_>>(), {
                config.issuers.iter().map(|issuer| &issuer.url).collect::<Vec<_>>()
            });
        }
    }

    #[test]
    fn a_database_is_connected_to_only_by_what_makes_sense() {
        let feed = |keys: &str| {
            Folder::new(&format!(
                "listeners: [{{address: 127.0.0.1:0}}]\nroutes: [routes.yaml]\ngrants: [grants.yaml, {keys}]\n"
            ))
            .with("url", "postgres://u:p@db.example/x\n")
        };
        let config = feed("{postgres: {domain: d, url_file: url}}").good();
        assert_eq!(config.policy.feeds.iter().map(|feed| feed.domain()).collect::<Vec<_>>(), ["d"]);
        for (keys, code, message) in [
            ("{postgres: {domain: d, url: \"http://db\"}}", "bad_url", "cannot be connected to"),
            ("{postgres: {domain: d, url: \"${PORTCULLIS_NO_SUCH_VARIABLE}\"}}", "environment", "has no variable"),
            ("{postgres: {domain: d, url_file: none}}", "unreadable_file", "cannot read `none`"),
            ("{postgres: {domain: d, url_file: url, ca: grants.yaml}}", "bad_url", "has no certificate"),
            ("{postgres: {domain: d, url_file: url, max_staleness: 5s}}", "bad_value", "more than `poll`"),
            (
                "{postgres: {domain: d, url_file: url, max_staleness: 1m, queries: {principals: q}}}",
                "bad_value",
                "more than `reconcile`",
            ),
            (
                "{postgres: {domain: d, url_file: url}}, {postgres: {domain: d, url_file: url}}",
                "duplicate_domain",
                "two databases feed the domain `d`",
            ),
        ] {
            let faults = feed(keys).faults();
            assert!(faults.iter().any(|found| found.0 == code && found.1.contains(message)), "{keys}: {faults:?}");
            assert!(!format!("{faults:?}").contains("u:p@"), "{faults:?}");
        }
    }

    /// The faults of these lines of gateway.yaml, beside good listeners, routes and grants.
    fn faults_of(lines: &str) -> Vec<(&'static str, String)> {
        Folder::new(&format!("listeners: [{{address: 127.0.0.1:0}}]\n{FILES}{lines}\n"))
            .with("keys.json", &DevelopmentKey::generate().unwrap().jwks())
            .faults()
    }

    fn good_of(lines: &str) -> Config {
        Folder::new(&format!("listeners: [{{address: 127.0.0.1:0}}]\n{FILES}{lines}\n"))
            .with("keys.json", &DevelopmentKey::generate().unwrap().jwks())
            .good()
    }

    #[test]
    fn a_tenant_may_name_its_v1_issuer() {
        let lines = |issuer: &str| format!("tenants: [{{name: u, id: {ID}, cloud: usgov, v1_issuer: \"{issuer}\"}}]");
        let config = good_of(&lines(&format!("https://sts.example.org/{LOWER}/")));
        assert_eq!(config.issuers[0].url, format!("https://sts.example.org/{LOWER}/"));
        assert_eq!(config.issuers[1].url, format!("https://login.microsoftonline.us/{LOWER}/v2.0"));
        for bad in [
            format!("https://login.microsoftonline.us/{LOWER}/v2.0"),
            format!("https://sts.example.org/{LOWER}"),
            format!("http://sts.example.org/{LOWER}/"),
            "https://sts.example.org/11111111-1111-1111-1111-111111111112/".into(),
            "x".into(),
        ] {
            assert_eq!(faults_of(&lines(&bad))[0].0, "bad_issuer", "{bad}");
        }
    }

    #[test]
    fn the_german_cloud_is_closed_and_says_so() {
        let faults = faults_of(&format!("tenants: [{{name: uss, id: {ID}, cloud: germany}}]"));
        assert_eq!(faults[0].0, "closed_cloud");
    }

    #[test]
    fn an_issuer_has_its_keys_from_a_file_a_url_or_discovery() {
        for (entry, expected) in [
            (
                "issuer: \"https://sso.example.org/realms/a\"",
                "Discovery https://sso.example.org/realms/a/.well-known/openid-configuration",
            ),
            (
                "issuer: \"https://sso.example.org/\"",
                "Discovery https://sso.example.org/.well-known/openid-configuration",
            ),
            ("issuer: \"http://127.0.0.1:1\"", "Discovery http://127.0.0.1:1/.well-known/openid-configuration"),
            (
                "issuer: \"https://sso.example.org\", jwks: \"https://keys.example.org/k?a=b\"",
                "Jwks https://keys.example.org/k?a=b",
            ),
            ("issuer: anything at all, jwks: keys.json", "File keys.json"),
        ] {
            let config = good_of(&format!("issuers: [{{name: sso, {entry}}}]"));
            let found = match &config.keys[0].from {
                From::Discovery { document, ca: None } => format!("Discovery {document}"),
                From::Jwks { document, ca: None } => format!("Jwks {document}"),
                From::File(path) => format!("File {}", path.file_name().unwrap().display()),
                other => panic!("{other:?}"),
            };
            assert_eq!(found, expected);
            let [issuer] = &config.issuers[..] else { panic!() };
            assert!(entry.replace('"', "").contains(&format!("issuer: {}", issuer.url)), "as it is written");
            let IssuerKind::Other(profile) = &issuer.kind else { panic!() };
            let named = [&profile.subject, &profile.roles, &profile.groups, &profile.username].map(|name| &**name);
            assert_eq!(named, ["sub", "roles", "groups", "preferred_username"]);
            assert!(profile.client.is_none() && profile.audiences.is_empty());
        }
    }

    #[test]
    fn issuers_that_cannot_be_believed_are_refused() {
        let entra = format!("https://login.microsoftonline.com/{LOWER}/v2.0");
        let gov = format!("https://login.microsoftonline.us/{LOWER}/v2.0");
        for (lines, codes) in [
            ("issuers: [{name: a, issuer: \"http://sso.example.org\"}]".to_owned(), vec!["bad_issuer"]),
            ("issuers: [{name: a, issuer: sso}]".into(), vec!["bad_issuer"]),
            ("issuers: [{name: a, issuer: \"\", jwks: keys.json}]".into(), vec!["bad_issuer"]),
            ("issuers: [{name: a, issuer: \"https://a/?x\"}]".into(), vec!["bad_issuer"]),
            ("issuers: [{name: a, issuer: \"https://u@a/\"}]".into(), vec!["bad_issuer"]),
            (format!("issuers: [{{name: a, issuer: \"{entra}\"}}]"), vec!["entra_issuer"]),
            (format!("issuers: [{{name: a, issuer: \"{gov}\", jwks: keys.json}}]"), vec!["entra_issuer"]),
            ("issuers: [{name: a, issuer: \"https://a\", jwks: \"http://a/keys\"}]".into(), vec!["bad_jwks"]),
            ("issuers: [{name: a, issuer: \"https://a\", jwks: \"ftp://a/keys\"}]".into(), vec!["bad_jwks"]),
            ("issuers: [{name: a, issuer: \"https://a\", jwks: gone.json}]".into(), vec!["unreadable_file"]),
            ("issuers: [{name: a, issuer: \"https://a\", jwks: routes.yaml}]".into(), vec!["bad_keys"]),
            ("issuers: [{name: a, issuer: \"https://a\", ca: routes.yaml}]".into(), vec!["bad_certificate"]),
            ("issuers: [{name: a, issuer: \"https://a\", roles: \"\"}]".into(), vec!["bad_value"]),
            (
                "issuers: [{name: a, issuer: \"https://a\"}, {name: b, issuer: \"https://a\"}]".into(),
                vec!["duplicate_issuer"],
            ),
            (
                format!("tenants: [{{name: a, id: {ID}}}]\nissuers: [{{name: a, issuer: \"https://a\"}}]"),
                vec!["duplicate_tenant"],
            ),
            (
                format!(
                    "tenants: [{{name: a, id: {ID}, authority: \"https://a\"}}]\n\
                     issuers: [{{name: b, issuer: \"https://a/{LOWER}/v2.0\"}}]"
                ),
                vec!["duplicate_issuer"],
            ),
        ] {
            let faults = faults_of(&lines);
            assert_eq!(faults.iter().map(|(code, _)| *code).collect::<Vec<_>>(), codes, "{lines}: {faults:?}");
        }
    }

    #[test]
    fn an_application_with_keys_of_its_own_has_them_from_both_documents_and_for_itself_only() {
        let client = "33333333-3333-3333-3333-33333333333A";
        let lower = client.to_lowercase();
        let config = good_of(&format!(
            "tenants: [{{name: uss, id: {ID}, app_keys: [{{appid: {client}, audiences: [\"api://orders\"]}}]}}]"
        ));
        let documents: Vec<_> = config.keys.iter().map(|source| (source.issuer.0, source.label())).collect();
        let (v1, v2) = (&config.issuers[0].url, &config.issuers[1].url);
        let expected =
            [(0, v1.clone()), (0, format!("{v1}?appid={lower}")), (1, v2.clone()), (1, format!("{v2}?appid={lower}"))];
        assert_eq!(documents, expected);
        for (issuer, discovery) in config.issuers.iter().zip([LOWER.to_owned(), format!("{LOWER}/v2.0")]) {
            let [own, application] = &issuer.keys[..] else { panic!() };
            assert!(own.audiences.is_none() && own.application().is_none());
            assert_eq!(application.application(), Some(lower.as_str()));
            let audiences: Vec<&str> = application.audiences.iter().flatten().map(|text| &**text).collect();
            assert_eq!(audiences, [lower.as_str(), &format!("api://{lower}"), "api://orders"]);
            let From::Discovery { document, .. } = &config.keys[usize::from(application.source.0)].from else {
                panic!()
            };
            let base = "https://login.microsoftonline.com";
            assert_eq!(*document, format!("{base}/{discovery}/.well-known/openid-configuration?appid={lower}"));
        }
        let entry = |entries: &str| faults_of(&format!("tenants: [{{name: uss, id: {ID}, app_keys: [{entries}]}}]"));
        let codes = |faults: Vec<(&'static str, String)>| faults.iter().map(|(code, _)| *code).collect::<Vec<_>>();
        assert_eq!(codes(entry("{appid: orders}")), ["bad_guid"]);
        assert_eq!(codes(entry(&format!("{{appid: {client}}}, {{appid: {lower}}}"))), ["duplicate_app_keys"]);
        let file =
            faults_of(&format!("tenants: [{{name: u, id: {ID}, keys: keys.json, app_keys: [{{appid: {ID}}}]}}]"));
        assert_eq!(codes(file), ["conflicting_keys"]);
    }

    #[test]
    fn a_key_file_that_holds_a_secret_key_is_warned_of() {
        let mut jwks: serde_json::Value = serde_json::from_str(&DevelopmentKey::generate().unwrap().jwks()).unwrap();
        let mut secret = jwks["keys"][0].clone();
        secret["kid"] = "leaked".into();
        secret["d"] = "AQAB".into();
        jwks["keys"].as_array_mut().unwrap().push(secret);
        let lines =
            format!("listeners: [{{address: 127.0.0.1:0}}]\n{FILES}tenants: [{{name: u, id: {ID}, keys: k.json}}]\n");
        let (config, report) = Folder::new(&lines).with("k.json", &jwks.to_string()).load();
        let told: Vec<_> = report.diagnostics().iter().map(|found| found.code).collect();
        assert!(config.is_some() && told == ["exposed_key"], "{}", report.render());
        assert!(report.render().contains("`leaked`"), "{}", report.render());
    }

    #[test]
    fn keys_are_kept_for_twice_as_long_as_until_they_are_fetched_again_at_least() {
        let config = good_of("tokens: {refresh: 10m, cooldown: 30s, keep: 20m}");
        let seconds = [config.intervals.refresh, config.intervals.wake, config.intervals.keep];
        assert_eq!(seconds.map(|time| time.as_secs()), [600, 30, 1200]);
        for (tokens, code) in [
            ("keep: 119m", "keep_too_short"),
            ("refresh: 24h, keep: 23h", "keep_too_short"),
            ("refresh: 9s", "out_of_range"),
            ("cooldown: 500ms", "out_of_range"),
            ("keep: 169h", "out_of_range"),
        ] {
            assert_eq!(faults_of(&format!("tokens: {{{tokens}}}"))[0].0, code, "{tokens}");
        }
    }

    #[test]
    fn relative_paths_start_at_the_file_that_names_them() {
        let folder = Folder::new(&format!(
            "listeners: [{{address: 127.0.0.1:0}}]\nadmin: {{address: 127.0.0.1:0, token_file: admin.token}}\n{FILES}"
        ));
        let config = folder.good();
        assert_eq!(config.policy.routes, [folder.0.path().join("routes.yaml")]);
        assert_eq!(config.policy.grants, [folder.0.path().join("grants.yaml")]);
        assert_eq!(config.admin.unwrap().token_file.unwrap(), folder.0.path().join("admin.token"));
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let folder = Folder::new(&format!(
            "listeners:\n\
             \x20 - {{address: nowhere}}\n\
             \x20 - {{address: 0.0.0.0:8080}}\n\
             \x20 - {{address: 127.0.0.1:8081, tls: {{certificate: no.crt, key: no.key}}}}\n\
             \x20 - {{address: 127.0.0.1:8082}}\n\
             admin: {{address: 127.0.0.1:8082}}\n\
             routes: [routes.yaml, gone.yaml]\n\
             grants: [grants.yaml]\n\
             tenants:\n\
             \x20 - {{name: uss, id: {ID}}}\n\
             \x20 - {{name: uss, id: {LOWER}}}\n\
             \x20 - {{name: odd, id: odd}}\n\
             \x20 - {{name: far, id: 11111111-1111-1111-1111-111111111112, authority: \"http://login.example.org\"}}\n\
             tokens: {{algorithms: [RS256, none]}}\n\
             trusted_proxies: [proxy.example.org]\n"
        ));
        let codes: Vec<_> = folder.faults().into_iter().map(|(code, _)| code).collect();
        assert_eq!(
            codes,
            [
                "bad_address",
                "plaintext_listener",
                "unreadable_file",
                "unreadable_file",
                "duplicate_address",
                "duplicate_tenant",
                "duplicate_tenant",
                "bad_guid",
                "bad_authority",
                "unreadable_file",
                "unknown_algorithm",
                "bad_network",
            ]
        );
    }

    #[test]
    fn a_missing_file_is_named_as_written() {
        let folder =
            Folder::new("listeners: [{address: 127.0.0.1:0}]\nroutes: [sub/gone.yaml]\ngrants: [grants.yaml]\n");
        let faults = folder.faults();
        assert_eq!(faults.len(), 1);
        assert!(faults[0].1.starts_with("cannot read `sub/gone.yaml`: No such file"), "{faults:?}");
    }

    #[test]
    fn faults_of_live_documents_are_told_together_with_those_of_the_gateway() {
        let folder = Folder::new(&format!("listeners: [{{address: nowhere}}]\n{FILES}"))
            .with("routes.yaml", "version: 1\nbogus: 1\n")
            .with("grants.yaml", "version: 1\ndomain: d\nbogus: 1\n");
        let (_, report) = folder.load();
        let rendered = report.render();
        for name in ["gateway.yaml", "routes.yaml", "grants.yaml"] {
            assert!(rendered.contains(name), "{name}\n{rendered}");
        }
    }

    #[test]
    fn development_keys_are_for_loopback_only() {
        let jwks = DevelopmentKey::generate().unwrap().jwks();
        let gateway = |address: &str| {
            format!(
                "listeners: [{{address: \"127.0.0.1:0\"}}, {{address: \"{address}\", insecure_plaintext: true}}]\n\
                 {FILES}tenants: [{{name: uss, id: {ID}, keys: dev.jwks.json}}]\n"
            )
        };
        for address in ["127.9.9.9:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
            let config = Folder::new(&gateway(address)).with("dev.jwks.json", &jwks).good();
            assert_eq!(config.keys.len(), 2, "{address}");
        }
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
            let faults = Folder::new(&gateway(address)).with("dev.jwks.json", &jwks).faults();
            assert_eq!(faults.iter().map(|(code, _)| *code).collect::<Vec<_>>(), ["development_keys"], "{address}");
        }
    }

    #[test]
    fn listeners_become_what_the_data_plane_needs() {
        let made = rcgen::generate_simple_self_signed(vec!["app.example.org".into()]).unwrap();
        let pair =
            |folder: Folder| folder.with("a.crt", &made.cert.pem()).with("a.key", &made.signing_key.serialize_pem());
        let config = pair(Folder::new(&format!(
            "listeners:\n\
             \x20 - {{address: 127.0.0.1:0, tls: {{certificate: a.crt, key: a.key, client_ca: a.crt}}, \
             hsts: {{max_age: 365d, include_subdomains: true, preload: true}}, proxy_protocol: true}}\n\
             \x20 - {{address: 0.0.0.0:0, redirect_to_https: {{port: 8443}}}}\n\
             trusted_proxies: [10.0.0.1]\n{FILES}"
        )))
        .good();
        let [first, second] = &config.listeners[..] else { panic!() };
        let tls = first.tls.as_ref().unwrap();
        assert_eq!(tls.clients.as_ref().map(|clients| clients.required), Some(true));
        assert_eq!(first.hsts.as_ref().unwrap(), "max-age=31536000; includeSubDomains; preload");
        assert!(first.proxy_protocol && first.redirect_to_https.is_none());
        assert!(second.tls.is_none() && second.hsts.is_none() && second.redirect_to_https == Some(8443));
    }

    #[test]
    fn every_file_of_a_listener_that_cannot_be_used_is_told() {
        let made = rcgen::generate_simple_self_signed(vec!["app.example.org".into()]).unwrap();
        let codes = |lines: &str| {
            let folder = Folder::new(&format!("listeners: [{{address: 127.0.0.1:0, {lines}}}]\n{FILES}"));
            let folder = folder.with("a.crt", &made.cert.pem()).with("a.key", &made.signing_key.serialize_pem());
            folder.faults().into_iter().map(|(code, _)| code).collect::<Vec<_>>()
        };
        let tls = |more: &str| codes(&format!("tls: {{certificate: a.crt, key: a.key, {more}}}"));
        assert_eq!(codes("proxy_protocol: true"), ["nobody_trusted"]);
        assert_eq!(tls("certificates: [{certificate: gone, key: a.key}], client_ca: gone"), ["unreadable_file"; 2]);
        assert_eq!(
            tls("certificates: [{certificate: a.crt, key: routes.yaml}], client_ca: routes.yaml"),
            ["bad_certificate"; 2]
        );
        assert_eq!(tls("client_ca: a.crt, client_crl: a.crt"), ["bad_certificate"]);
    }

    #[test]
    fn an_admin_listener_beyond_loopback_needs_a_token() {
        let gateway = |admin: &str| format!("listeners: [{{address: 127.0.0.1:0}}]\nadmin: {admin}\n{FILES}");
        let codes = |admin: &str| {
            let faults = Folder::new(&gateway(admin)).faults();
            faults.into_iter().map(|(code, _)| code).collect::<Vec<_>>()
        };
        assert_eq!(codes("{address: 0.0.0.0:9901}"), ["admin_without_token"]);
        assert_eq!(codes("{address: 0.0.0.0:9901, token_file: gone}"), ["unreadable_file", "plaintext_admin"]);
        assert_eq!(codes("{address: 127.0.0.1:9901, token_file: routes.yaml/x}"), ["unreadable_file"]);
        Folder::new(&gateway("{address: 0.0.0.0:9901, token_file: admin.token}")).good();
        Folder::new(&gateway("{address: 127.0.0.1:9901}")).good();
        let weak = Folder::new(&gateway("{address: 127.0.0.1:9901, token_file: weak}")).with("weak", "secret\n");
        assert_eq!(weak.faults()[0].0, "weak_token");
    }

    #[test]
    fn an_admin_listener_with_tls_knows_its_operators_by_certificates() {
        let made = rcgen::generate_simple_self_signed(vec!["gate.example.org".into()]).unwrap();
        let loaded = |address: &str, more: &str| {
            let gateway =
                format!("listeners: [{{address: 127.0.0.1:0}}]\nadmin: {{address: \"{address}\", {more}}}\n{FILES}");
            let folder = Folder::new(&gateway).with("a.crt", &made.cert.pem());
            folder.with("a.key", &made.signing_key.serialize_pem()).load()
        };
        let codes = |address: &str, more: &str| {
            let (_, report) = loaded(address, more);
            report.diagnostics().iter().map(|found| found.code).collect::<Vec<_>>()
        };
        let shown = "tls: {certificate: a.crt, key: a.key, client_ca: a.crt}";
        for (address, more, expected) in [
            ("0.0.0.0:9901", shown, &[][..]),
            ("0.0.0.0:9901", "tls: {certificate: a.crt, key: a.key}", &["admin_without_token"]),
            ("0.0.0.0:9901", "token_file: admin.token", &["plaintext_admin"]),
            ("0.0.0.0:9901", "token_file: admin.token, tls: {certificate: a.crt, key: a.key}", &[]),
            ("127.0.0.1:9901", "token_file: admin.token", &[]),
            ("127.0.0.1:9901", "operators: [CN=ann]", &["missing_key"]),
            ("127.0.0.1:9901", "tls: {certificate: a.crt, key: a.key}, operators: [CN=ann]", &["missing_key"]),
            ("127.0.0.1:9901", &format!("{shown}, operators: [ann]"), &["bad_certificate_name"]),
            ("127.0.0.1:9901", "tls: {certificate: a.crt, key: routes.yaml}", &["bad_certificate"]),
            ("127.0.0.1:9901", "tls: {certificate: a.crt, key: a.key, client_crl: a.crt}", &["missing_key"]),
            ("127.0.0.1:9901", "tls: {certificate: a.crt, key: a.key, client_certificate: required}", &["unknown_key"]),
        ] {
            assert_eq!(codes(address, more), expected, "{address} {more}");
        }
        let admin =
            loaded("127.0.0.1:9901", &format!("{shown}, operators: [\"cn=ann,O=Example\"]")).0.unwrap().admin.unwrap();
        assert_eq!(admin.tls.unwrap().clients.map(|clients| clients.required), Some(false), "health checks have none");
        assert_eq!(admin.operators.iter().map(|name| &**name).collect::<Vec<_>>(), ["CN=ann,O=Example"]);
    }

    #[test]
    fn keys_that_cannot_be_used_are_a_fault_with_the_name_of_their_file() {
        let folder = Folder::new(&format!(
            "listeners: [{{address: 127.0.0.1:0}}]\n{FILES}tenants: [{{name: uss, id: {ID}, keys: keys.json}}]\n"
        ))
        .with("keys.json", "{\"keys\": 1}");
        let faults = folder.faults();
        assert_eq!(faults[0].0, "bad_keys");
        assert!(faults[0].1.contains("`keys.json`"), "{faults:?}");
    }
}
