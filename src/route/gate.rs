//! Who may come in to an application at all.

use std::sync::Arc;

use super::compile::unknown;
use crate::diag::Report;
use crate::document::Located;
use crate::document::entrance::CallersDocument;
use crate::document::routes::GateDocument;
use crate::model::{Guid, Tenant, client_certificate};
use crate::token::Class;

/// Who may come in to an application at all. Tells nothing about permission.
#[derive(Debug)]
pub struct Gate {
    /// Tenants by id.
    pub tenants: Vec<Guid>,
    /// Audiences, compared whole.
    pub audiences: Vec<Box<str>>,
    /// Clients that callers may use; GUIDs in lower case. Empty: any.
    pub clients: Vec<Box<str>>,
    /// Whether only people, or only applications, may come in.
    pub callers: Option<Class>,
    /// App roles, one of which is needed if there are any.
    pub app_roles: Vec<Box<str>>,
    /// Names of certificates as [`crate::model::ClientCertificate`] has them, one of which the client must have shown
    /// in its TLS handshake if there are any.
    pub client_certificates: Vec<Arc<str>>,
}

impl Gate {
    /// Whether callers may use this client (`azp`, `appid`); a token without one has none that could be listed.
    pub fn admits_client(&self, client: Option<&str>) -> bool {
        let Some(client) = client else { return self.clients.is_empty() };
        // Entra writes its GUIDs in lower case, but a token of another make may not.
        let same = |listed: &str| listed == client || listed.eq_ignore_ascii_case(client) && is_guid(client);
        self.clients.is_empty() || self.clients.iter().any(|listed| same(listed))
    }
}

/// Resolves the tenants of a gate.
pub(super) fn compile(gate: &GateDocument, tenants: &[Tenant], report: &mut Report) -> Gate {
    let mut admitted = Vec::new();
    for tenant in &gate.tenants {
        match tenants.iter().find(|known| *known.name == *tenant.value) {
            Some(known) => admitted.push(known.id),
            None => {
                let message = format!("gateway.yaml has no tenant `{}`", tenant.value);
                unknown(report, tenant, message, tenants.iter().map(|known| &*known.name));
            }
        }
    }
    let texts = |list: &[Located<String>]| list.iter().map(|item| item.value.as_str().into()).collect();
    let client = |text: &str| if is_guid(text) { text.to_ascii_lowercase().into() } else { text.into() };
    Gate {
        tenants: admitted,
        audiences: texts(&gate.audiences),
        clients: gate.clients.iter().map(|listed| client(&listed.value)).collect(),
        callers: gate.callers.as_ref().map(|callers| match callers.value {
            CallersDocument::Users => Class::User,
            CallersDocument::Apps => Class::App,
        }),
        app_roles: texts(&gate.app_roles),
        client_certificates: gate
            .client_certificates
            .iter()
            .filter_map(|name| certificate_name(name, report))
            .collect(),
    }
}

/// A name of a certificate in the one form in which it is compared.
/// A name of a certificate, in the form in which certificates are compared.
pub fn certificate_name(written: &Located<String>, report: &mut Report) -> Option<Arc<str>> {
    let named = client_certificate::canonical(&written.value).map_err(|why| {
        let message = format!("`{}` is no name of a certificate: {why}", written.value);
        report.error("bad_certificate_name", written.place, message).help(
            "write the subject as `openssl x509 -noout -subject -nameopt RFC2253` does, such as \
             `CN=billing,O=Example`, or `dns:NAME` or `uri:URI` of its alternative names",
        );
    });
    named.ok().map(Arc::from)
}

fn is_guid(text: &str) -> bool {
    text.parse::<Guid>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_certificates_are_brought_into_their_one_form() {
        let mut report = Report::new();
        let source = report.add_source("routes.yaml", "x");
        let place = crate::diag::Place { source, start: 0, end: 1 };
        let mut read = |text: &str| certificate_name(&Located::new(place, text.to_owned()), &mut report);
        assert_eq!(read("cn=billing,O=Example").as_deref(), Some("CN=billing,O=Example"));
        assert_eq!(read("dns:A.internal").as_deref(), Some("dns:a.internal"));
        assert_eq!(read("CN=billing, O=Example"), None);
        assert_eq!(report.diagnostics().iter().map(|found| found.code).collect::<Vec<_>>(), ["bad_certificate_name"]);
    }

    #[test]
    fn guids_of_clients_are_compared_without_case_and_other_names_with_it() {
        let gate = |clients: &[&str]| Gate {
            tenants: Vec::new(),
            audiences: Vec::new(),
            clients: clients.iter().map(|client| (*client).into()).collect(),
            callers: None,
            app_roles: Vec::new(),
            client_certificates: Vec::new(),
        };
        let lower = "aaaaaaaa-0000-4000-8000-00000000000a";
        let upper = "AAAAAAAA-0000-4000-8000-00000000000A";
        for (listed, client, admitted) in [
            (&[][..], None, true),
            (&[], Some("any"), true),
            (&["portal"], None, false),
            (&["portal"], Some("portal"), true),
            (&["portal"], Some("Portal"), false),
            (&["portal"], Some("portal "), false),
            (&["other", lower], Some(lower), true),
            (&[lower], Some(upper), true),
            (&[lower], Some("aaaaaaaa-0000-4000-8000-00000000000b"), false),
            (&[lower], Some(""), false),
        ] {
            assert_eq!(gate(listed).admits_client(client), admitted, "{client:?} of {listed:?}");
        }
    }
}
