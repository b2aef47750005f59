//! From documents to a route map, and with it to the domains that its routes ask.

use std::collections::HashMap;
use std::sync::Arc;

use http::Method;

use super::host::Host;
use super::pattern::Pattern;
use super::reachable;
use super::tree::Tree;
use super::{Access, Application, Backend, IdentityHeaders, ResourceMetadata, Route, RouteMap};
use super::{METADATA_PATH, Mode, cors, gate, header_rules, places, trailers, upstream};
use crate::courtesy::in_turns;
use crate::diag::{Place, Report, suggest};
use crate::document::Located;
use crate::document::grants::GrantsDocument;
use crate::document::routes::{AccessDocument, ApplicationDocument, IdentityHeader, RouteDocument, RoutesDocument};
use crate::model::{Level, Tenant};
use crate::policy::{Asking, Builders, Domains, Finished, Keep, Origins, Sha256, Taken, check_reserved};

/// Routes that are compiled in one turn of the thread.
const ROUTES_A_TURN: u32 = 64;

/// Reads a file that a document names; the message of a failure is for operators.
pub type ReadFile<'i> = &'i dyn Fn(&Located<String>) -> Result<Vec<u8>, String>;

/// Everything that a policy is compiled from.
#[derive(Clone, Copy)]
pub struct Inputs<'i> {
    /// All route maps.
    pub routes: &'i [RoutesDocument],
    /// All grants documents.
    pub grants: &'i [GrantsDocument],
    /// The tenants and issuers of `gateway.yaml`.
    pub tenants: &'i [Tenant],
    /// Reads the files that route maps name.
    pub files: ReadFile<'i>,
    /// What another policy came to, by number of grants document: for those that say, and whose files say, what they said
    /// then. There may be fewer, and none at all.
    pub taken: &'i [Option<Arc<Taken>>],
    /// Computes what reserved roles are pinned to.
    pub sha256: Sha256,
}

/// A policy without faults.
#[derive(Debug)]
pub struct Compiled {
    /// Applications, routes and upstreams.
    pub routes: RouteMap,
    /// Who holds what.
    pub domains: Domains,
    /// Where that is written, domain by domain; empty unless it was to be kept.
    pub origins: Vec<Origins>,
    /// By grants document: what the next policy can go on from.
    pub taken: Vec<Option<Arc<Taken>>>,
}

/// Compiles a policy. All faults are reported; `None` if the report has errors, whoever put them there.
pub fn compile(inputs: Inputs<'_>, report: &mut Report) -> Option<Compiled> {
    compile_keeping(Keep::Decisions, inputs, report)
}

/// As [`compile`], and keeps more of the documents if asked to.
pub fn compile_keeping(keep: Keep, inputs: Inputs<'_>, report: &mut Report) -> Option<Compiled> {
    check_reserved(inputs.grants, inputs.sha256, report);
    let mut builders = Builders::new((inputs.grants, inputs.taken), inputs.tenants, keep, report);
    let mut compiler = Compiler {
        inputs,
        map: RouteMap::default(),
        hosts: HashMap::new(),
        names: HashMap::new(),
        upstreams: HashMap::new(),
    };
    for file in inputs.routes {
        compiler.file(file, &mut builders, report);
    }
    let routes = compiler.map;
    let Finished { domains, origins, taken } = builders.finish(report);
    if report.has_errors() { None } else { Some(Compiled { routes, domains, origins, taken }) }
}

struct Compiler<'i> {
    inputs: Inputs<'i>,
    map: RouteMap,
    /// Hosts that are taken, and where.
    hosts: HashMap<String, Place>,
    /// Applications that are named, and where.
    names: HashMap<&'i str, Place>,
    /// How many upstreams of this name were met.
    upstreams: HashMap<&'i str, usize>,
}

impl<'i> Compiler<'i> {
    fn file(&mut self, file: &'i RoutesDocument, builders: &mut Builders, report: &mut Report) {
        let upstreams = self.upstreams(file, report);
        for application in &file.applications {
            if let Some(first) = self.names.insert(&application.name.value, application.name.place) {
                let message = format!("two applications have the name `{}`", application.name.value);
                report
                    .error("duplicate_name", application.name.place, message)
                    .help("rename one of the two")
                    .also(first, "the other one");
            }
            let upstream = upstreams.get(application.upstream.value.as_str()).cloned();
            if upstream.is_none() {
                let message = format!("there is no upstream `{}`", application.upstream.value);
                unknown(report, &application.upstream, message, upstreams.keys().copied());
            }
            let gate = gate::compile(&application.gate, self.inputs.tenants, report);
            let Some((domain, builder)) = builders.find(&application.domain, report) else { continue };
            let backend = Backend::of(&application.backend);
            let own_mode = mode(application.mode.as_ref(), report).unwrap_or_default();
            let mut tree = Tree::new(backend.case_insensitive);
            let mut routes = Vec::new();
            let mut patterns = Vec::new();
            let mut ids: HashMap<&str, Place> = HashMap::new();
            for route in in_turns(ROUTES_A_TURN, &application.routes) {
                if let Some(first) = ids.insert(&route.id.value, route.id.place) {
                    let message = format!("two routes have the id `{}`", route.id.value);
                    report
                        .error("duplicate_name", route.id.place, message)
                        .help("rename one of the two")
                        .also(first, "the other one");
                }
                let pattern = pattern(route, report);
                let variables = pattern.as_ref().map(Pattern::variables).unwrap_or_default();
                let access = match &route.access {
                    AccessDocument::Public => Access::Public,
                    AccessDocument::GateOnly => Access::GateOnly,
                    AccessDocument::Require(requirement) => {
                        let definitions = [application.define.as_slice(), file.define.as_slice()];
                        let settings = &file.settings;
                        let variables = &variables;
                        let asking = Asking { route, requirement, variables, settings, definitions };
                        Access::Rules(builder.rules(asking, report))
                    }
                };
                if let Some(pattern) = &pattern {
                    enter(&mut tree, pattern, routes.len(), application, route, report);
                }
                let methods = route.methods.iter().filter_map(|written| written.value.parse().ok()).collect();
                let takes = pattern.clone().unwrap_or_default();
                patterns.push(pattern);
                let levels = levels(route, report);
                let trailers = trailers::compile(application, route, &access, report);
                let websocket = route.websocket.unwrap_or(application.websocket);
                let mode = mode(route.mode.as_ref(), report).unwrap_or(own_mode);
                let id = route.id.value.as_str().into();
                routes.push(Route { id, access, pattern: takes, methods, trailers, websocket, mode, levels });
            }
            let table = tree.table();
            reachable::check(application, backend, &routes, &patterns, &table, report);
            let hosts = self.hosts(application, report);
            let header_rules = header_rules::compile(application, &routes, report);
            let token = places::compile(application, &routes, report);
            let cors = application.cors.as_ref().map(|cors| cors::compile(cors, &table, report));
            let resource_metadata = resource_metadata(application, backend, report);
            let Some(upstream) = upstream else { continue };
            upstream::check_routes(application, (&routes, backend), &upstream, report);
            let application = Arc::new(Application {
                name: application.name.value.as_str().into(),
                upstream,
                gate,
                domain,
                forward_authorization: application.forward_authorization,
                header_rules,
                full_detail: application.full_detail,
                identity_headers: identity_headers(&application.identity_headers),
                token,
                cors,
                resource_metadata,
                backend,
                keeps_expired: application.keeps_expired,
                mode: own_mode,
                connection_auth: application.connection_auth.is_some(),
                routes,
                table,
            });
            for (name, port) in hosts {
                self.map.name(&name, port, &application);
            }
            self.map.applications.push(application);
        }
    }

    fn upstreams(&mut self, file: &'i RoutesDocument, report: &mut Report) -> upstream::ByName<'i> {
        let mut upstreams = HashMap::new();
        for upstream in &file.upstreams {
            let mut compiled = upstream::compile(upstream, self.inputs.files, report);
            let name = upstream.name.value.as_str();
            let met = self.upstreams.entry(name).or_default();
            *met += 1;
            if *met > 1 {
                // Names belong to their file; what runs and fails is counted for each upstream by itself.
                compiled.id = format!("{name}#{met}").into();
            }
            upstreams.insert(name, Arc::new(compiled));
        }
        upstreams
    }

    /// The hosts of an application in canonical form, wildcards as `*.suffix`, and their ports where those matter.
    fn hosts(&mut self, application: &'i ApplicationDocument, report: &mut Report) -> Vec<(String, Option<u16>)> {
        let mut hosts = Vec::new();
        for written in &application.hosts {
            let (wildcard, name) = match written.value.strip_prefix("*.") {
                Some(name) => ("*.", name),
                None => ("", written.value.as_str()),
            };
            let (name, port) = match Host::parse(name) {
                Ok(Host { name, port: None | Some(80 | 443) }) => (format!("{wildcard}{name}"), None),
                Ok(Host { name, port }) if wildcard.is_empty() => (name.into_owned(), port),
                Ok(_) | Err(_) => {
                    let message = format!("`{}` is no host", written.value);
                    let help = "write `app.example.org`, `app.example.org:8443` or `*.example.org`";
                    report.error("bad_host", written.place, message).help(help);
                    continue;
                }
            };
            let canonical = port.map_or_else(|| name.clone(), |port| format!("{name}:{port}"));
            if canonical.strip_prefix("*.").is_some_and(|suffix| !reachable::wildcard(suffix)) {
                let message = format!("no request can name a host of `{}`", written.value);
                let help =
                    "an address has no names below it, and a name has at most 253 letters; write the host itself";
                report.error("unreachable_route", written.place, message).help(help);
            }
            if let Some(first) = self.hosts.insert(canonical.clone(), written.place) {
                let message = format!("the host `{canonical}` belongs to two applications");
                report
                    .error("duplicate_host", written.place, message)
                    .help("leave it to one of them")
                    .also(first, "the other one");
            }
            hosts.push((name, port));
        }
        hosts
    }
}

/// A mode that is written; shadow is told, for it protects nothing.
fn mode(written: Option<&Located<Mode>>, report: &mut Report) -> Option<Mode> {
    let Located { value: mode, place } = written?;
    if *mode == Mode::Shadow {
        let found =
            report.warning("shadow_mode", *place, "what the policy refuses here is logged and forwarded all the same");
        found.help("write `mode: enforce` once the decision log shows no `would_deny` that should not be");
    }
    Some(*mode)
}

fn identity_headers(asked: &[IdentityHeader]) -> IdentityHeaders {
    let asks = |header| asked.contains(&header);
    IdentityHeaders {
        groups: asks(IdentityHeader::Groups),
        scopes: asks(IdentityHeader::Scopes),
        assertion: asks(IdentityHeader::Assertion),
        client_certificate: asks(IdentityHeader::ClientCertificate),
    }
}

/// The gateway answers for the metadata itself, so a route of that very path would never be asked.
fn resource_metadata(
    application: &ApplicationDocument,
    backend: Backend,
    report: &mut Report,
) -> Option<ResourceMetadata> {
    let metadata = application.resource_metadata.as_ref()?;
    let taken = |path: &str| match backend.case_insensitive {
        true => path.eq_ignore_ascii_case(METADATA_PATH),
        false => path == METADATA_PATH,
    };
    for route in application.routes.iter().filter(|route| taken(&route.path.value)) {
        let message = format!("the gateway itself answers `{METADATA_PATH}` of this application");
        let found = report.error("ambiguous_route", route.path.place, message);
        found.help("remove the route, or `resource_metadata`").also(metadata.place, "`resource_metadata` is here");
    }
    Some(ResourceMetadata { scopes: metadata.scopes.iter().map(|scope| scope.value.as_str().into()).collect() })
}

fn pattern(route: &RouteDocument, report: &mut Report) -> Option<Pattern> {
    match Pattern::parse(&route.path.value) {
        Ok(pattern) => Some(pattern),
        Err((message, help)) => {
            report.error("bad_path", route.path.place, message).help(help);
            None
        }
    }
}

fn enter(
    tree: &mut Tree,
    pattern: &Pattern,
    number: usize,
    application: &ApplicationDocument,
    route: &RouteDocument,
    report: &mut Report,
) {
    for written in &route.methods {
        let Some(method) = method(written, report) else { continue };
        let Err(other) = tree.insert(pattern, &method, number) else { continue };
        let message = format!("two routes take the same requests: {method} {}", route.path.value);
        let found = report.error("ambiguous_route", route.path.place, message);
        found.help(if tree.folds() {
            "make one path more specific (letter case makes no difference to this backend), or give each its own methods"
        } else {
            "make one path more specific, or give each its own methods"
        });
        if let Some(other) = application.routes.get(other) {
            found.also(other.path.place, format!("also taken by `{}`", other.id.value));
        }
    }
}

fn method(written: &Located<String>, report: &mut Report) -> Option<Method> {
    let refuse = |report: &mut Report, message: String, help: &str| {
        report.error("bad_method", written.place, message).help(help);
        None
    };
    match Method::from_bytes(written.value.as_bytes()) {
        Ok(Method::CONNECT | Method::TRACE) => {
            let message = format!("{} is never forwarded", written.value);
            refuse(report, message, "remove it")
        }
        Ok(Method::HEAD) => refuse(report, "HEAD always needs what GET needs".into(), "list GET instead"),
        Ok(method) if written.value.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') => Some(method),
        Ok(_) | Err(_) => refuse(report, format!("`{}` is no method", written.value), "write it in capitals"),
    }
}

fn levels(route: &RouteDocument, report: &mut Report) -> Vec<(Method, Level)> {
    let mut levels = Vec::new();
    for (written, level) in &route.levels {
        let parsed = Level::parse(&level.value);
        if parsed.is_none() {
            let message = format!("`{}` is no level", level.value);
            report.error("bad_level", level.place, message).help("use `read`, `write` or `delete`");
        }
        if !route.methods.iter().any(|listed| listed.value == written.value) {
            let message = format!("the route does not list {}", written.value);
            report.error("unused_level", written.place, message).help("add it to `methods`, or remove its level");
        }
        if let (Some(method), Some(level)) = (method(written, report), parsed) {
            // HEAD takes what GET takes.
            if method == Method::GET {
                levels.push((Method::HEAD, level));
            }
            levels.push((method, level));
        }
    }
    levels
}

/// Reports a name that nothing has.
pub(super) fn unknown<'n>(
    report: &mut Report,
    name: &Located<String>,
    message: String,
    candidates: impl Iterator<Item = &'n str>,
) {
    let known: Vec<&str> = candidates.collect();
    let listed = || known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let help = match suggest(&name.value, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "none is declared".to_owned(),
        None => format!("known: {}", listed()),
    };
    report.error("unknown_name", name.place, message).help(help);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::read_routes;

    #[test]
    fn upstreams_of_one_name_in_two_files_are_told_apart() {
        let mut report = Report::new();
        let text =
            "version: 1\nupstreams: {a: {servers: \"http://a\"}, b: {servers: \"http://b\"}}\napplications: []\n";
        let files: Vec<_> = (0..3)
            .map(|number| {
                let source = report.add_source(&format!("{number}.yaml"), text);
                read_routes(source, &mut report).unwrap()
            })
            .collect();
        let inputs = Inputs {
            routes: &files,
            grants: &[],
            tenants: &[],
            files: &|_| Err(String::new()),
            taken: &[],
            sha256: |_| [0; 32],
        };
        let mut compiler = Compiler {
            inputs,
            map: RouteMap::default(),
            hosts: HashMap::new(),
            names: HashMap::new(),
            upstreams: HashMap::new(),
        };
        let mut ids = Vec::new();
        for file in &files {
            ids.extend(compiler.upstreams(file, &mut report).into_values().map(|upstream| upstream.id.to_string()));
        }
        ids.sort();
        assert_eq!(ids, ["a", "a#2", "a#3", "b", "b#2", "b#3"]);
        assert!(!report.has_errors(), "{}", report.render());
    }
}
