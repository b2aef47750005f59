//! Who appears in the demo and what they try: four principals of examples/ips-oms and five requests.

use std::path::Path;

use crate::cli::demo::Ports;
use crate::cli::identity::{Identity, Who};
use crate::diag::Report;
use crate::document;
use crate::model::Guid;

/// The grants that the demo decides by.
pub(super) const GRANTS: &str = include_str!("../../../examples/ips-oms/grants.yaml");
/// The route map that the demo runs when the current folder has none.
pub(super) const ROUTES: &str = include_str!("../../../routes.yaml");
/// Only its tenants are taken.
const GATEWAY: &str = include_str!("../../../examples/ips-oms/gateway.yaml");

/// The host of the protected application in `routes.yaml`.
pub(super) const HOST: &str = "oms.example.org";
/// Whom tokens are printed for.
pub(super) const PRINCIPALS: [&str; 4] = ["olga", "nils", "noel", "vera"];

const OFFICER: &str = "/territories/USS/officers/1001";
const PERSONAL_INFO: &str = "/territories/USS/officers/1001/personal-info";

/// One request to try.
struct Call {
    who: Option<&'static str>,
    method: &'static str,
    path: &'static str,
    tls: bool,
    title: &'static str,
}

const CALLS: [Call; 5] = [
    Call {
        who: Some("olga"),
        method: "GET",
        path: OFFICER,
        tls: true,
        title: "200: olga may see officer 1001; the answer shows what the application received",
    },
    Call { who: None, method: "GET", path: OFFICER, tls: false, title: "401 no_token: the same without a token" },
    Call {
        who: Some("nils"),
        method: "GET",
        path: OFFICER,
        tls: false,
        title: "403 right_missing: nils is known, but holds no right in OMS",
    },
    Call {
        who: Some("noel"),
        method: "PUT",
        path: PERSONAL_INFO,
        tls: false,
        title: "403 flag_missing: noel holds the right to write, but is no editor",
    },
    Call {
        who: Some("vera"),
        method: "PUT",
        path: PERSONAL_INFO,
        tls: false,
        title: "403 right_level: vera is an editor, but may only read this",
    },
];

/// Tenants and people of the example.
#[derive(Debug)]
pub(super) struct Cast {
    /// Names and ids of the tenants.
    pub(super) tenants: Vec<(String, Guid)>,
    people: Vec<(String, String, Guid)>,
}

impl Cast {
    /// Reads the example's files.
    ///
    /// # Errors
    /// The rendered faults, if the files that were built in are broken.
    pub(super) fn read() -> Result<Self, String> {
        let mut report = Report::new();
        let gateway = report.add_source("examples/ips-oms/gateway.yaml", GATEWAY);
        let gateway = document::read_gateway(gateway, &mut report);
        let grants = report.add_source("examples/ips-oms/grants.yaml", GRANTS);
        let grants = document::read_grants(grants, &mut report);
        let (Some(gateway), Some(grants)) = (gateway, grants) else { return Err(report.render()) };
        let id = |text: &str| text.parse().map_err(|_| format!("not a GUID: `{text}`"));
        let tenants = gateway.tenants.into_iter().map(|it| Ok((it.name.value, id(&it.id.value)?)));
        let people =
            grants.principals.into_iter().map(|it| Ok((it.id.value, it.tenant.value, id(&it.known_by.text().value)?)));
        Ok(Self { tenants: tenants.collect::<Result<_, String>>()?, people: people.collect::<Result<_, String>>()? })
    }

    /// What the token of a principal says, signed in at the made-up service at `authority`.
    pub(super) fn identity(&self, name: &str, authority: &str) -> Option<Identity> {
        let (_, tenant, object) = self.people.iter().find(|(id, _, _)| id == name)?;
        let (_, tenant) = self.tenants.iter().find(|(known, _)| known == tenant)?;
        Some(Identity {
            issuer: format!("{authority}/{tenant}/v2.0"),
            who: Who::Object { tenant: *tenant, object: *object },
            username: format!("{name}@uss.example.org"),
            audience: "api://oms".to_owned(),
            roles: vec!["IPS Access".to_owned()],
            client: None,
        })
    }
}

/// The five lines to paste, each with what it shows.
pub(super) fn calls(ports: &Ports, folder: &Path) -> String {
    CALLS.iter().map(|call| format!("# {}\n{}\n\n", call.title, curl(call, ports, folder))).collect()
}

fn curl(call: &Call, ports: &Ports, folder: &Path) -> String {
    let folder = folder.display();
    let mut line = "curl -i".to_owned();
    if call.method != "GET" {
        line += &format!(" -X {} -d '{{}}'", call.method);
    }
    if let Some(who) = call.who {
        line += &format!(" -H \"Authorization: Bearer $(cat {folder}/{who}.jwt)\"");
    }
    let path = call.path;
    if call.tls {
        let port = ports.tls();
        line + &format!(" --cacert {folder}/ca.pem --resolve {HOST}:{port}:127.0.0.1 https://{HOST}:{port}{path}")
    } else {
        line + &format!(" -H 'Host: {HOST}' http://127.0.0.1:{}{path}", ports.http())
    }
}
