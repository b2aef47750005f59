//! How the process runs: `gateway.yaml`, resolved and checked, fixed until the next start.

mod listeners;
mod revoked;
mod settings;
mod tenants;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diag::{Place, Report};
use crate::document;
use crate::document::Located;
use crate::document::gateway::{GatewayDocument, TokensDocument};
use crate::proxy::Settings;
use crate::reload::revoked::RevokedFiles;
use crate::reload::{self, PolicyFiles};
use crate::source::file;
use crate::source::jwks::KeySource;
use crate::token::{Algorithms, Issuer, Rules};

pub use listeners::{Admin, Listener};

/// The whole of `gateway.yaml`. Paths are ready for use: relative ones start at the file that named them.
#[derive(Debug)]
pub struct Config {
    /// The file itself, as it was named.
    pub path: PathBuf,
    /// Where clients connect; at least one.
    pub listeners: Vec<Listener>,
    /// Where operators connect.
    pub admin: Option<Admin>,
    /// The live documents, and the tenants that they may name.
    pub policy: PolicyFiles,
    /// Where revocations come from.
    pub revoked: RevokedFiles,
    /// Every `iss` that is believed; the index is the [`IssuerId`](crate::token::IssuerId).
    pub issuers: Vec<Issuer>,
    /// Where the keys of each issuer come from.
    pub keys: Vec<KeySource>,
    /// How tokens are checked.
    pub rules: Rules,
    /// How many verified tokens are remembered.
    pub cache_entries: u64,
    /// What the data plane needs to know.
    pub settings: Settings,
    /// What is logged.
    pub log: Log,
}

/// `log`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Whether each decision is a JSON line on standard output.
    pub decisions: bool,
    /// Lowest level of the process log on standard error.
    pub level: String,
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
    let tenants = tenants::resolve(&document.tenants, &base, listeners::first_beyond_loopback(document), report);
    let policy = PolicyFiles {
        routes: base.existing(&document.routes, report),
        grants: base.existing(&document.grants, report),
        tenants: tenants.names,
    };
    let revoked = revoked::resolve(document, &base, report);
    let rules = rules(&document.tokens, report);
    let settings = settings::resolve(document, report);
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
        policy,
        revoked,
        issuers: tenants.issuers,
        keys: tenants.keys,
        rules,
        cache_entries: document.tokens.cache_entries,
        settings,
        log: Log { decisions: document.log.decisions, level: document.log.level.value.clone() },
    })
}

fn rules(document: &TokensDocument, report: &mut Report) -> Rules {
    let mut algorithms = Algorithms { rs256: false, ps256: false, es256: false };
    for name in &document.algorithms {
        match name.value.as_str() {
            "RS256" => algorithms.rs256 = true,
            "PS256" => algorithms.ps256 = true,
            "ES256" => algorithms.es256 = true,
            _ => {
                let message = format!("unknown algorithm `{}`", name.value);
                report
                    .error("unknown_algorithm", name.place, message)
                    .help("`RS256`, `PS256` and `ES256` are supported; Entra ID signs with RS256");
            }
        }
    }
    Rules { leeway: document.leeway.value.as_secs(), max_lifetime: document.max_lifetime.value.as_secs(), algorithms }
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

/// The name of a tenant, shared by all that mention it.
type Name = Arc<str>;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
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
            ("cloud: usgov", &["https://login.microsoftonline.us/ID/v2.0"]),
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
    fn an_admin_listener_beyond_loopback_needs_a_token() {
        let gateway = |admin: &str| format!("listeners: [{{address: 127.0.0.1:0}}]\nadmin: {admin}\n{FILES}");
        let codes = |admin: &str| {
            let faults = Folder::new(&gateway(admin)).faults();
            faults.into_iter().map(|(code, _)| code).collect::<Vec<_>>()
        };
        assert_eq!(codes("{address: 0.0.0.0:9901}"), ["admin_without_token"]);
        assert_eq!(codes("{address: 0.0.0.0:9901, token_file: gone}"), ["unreadable_file"]);
        assert_eq!(codes("{address: 127.0.0.1:9901, token_file: routes.yaml/x}"), ["unreadable_file"]);
        Folder::new(&gateway("{address: 0.0.0.0:9901, token_file: admin.token}")).good();
        Folder::new(&gateway("{address: 127.0.0.1:9901}")).good();
        let weak = Folder::new(&gateway("{address: 127.0.0.1:9901, token_file: weak}")).with("weak", "secret\n");
        assert_eq!(weak.faults()[0].0, "weak_token");
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
