//! What to change so that a token gets further, and where that is written.

use super::explain::Admitted;
use crate::diag::{Place, Report, suggest};
use crate::document::Located;
use crate::document::gateway::{GatewayDocument, IssuerDocument, TenantDocument};
use crate::document::routes::GateDocument;
use crate::model::Guid;
use crate::review::{Admission, GateCheck, GateStep};
use crate::source::jwks::{From, KeySource};
use crate::token::{Check, Fault, Inspection, Issuer, IssuerKind, Issuers, Outcome, Shown, Step, Verified};

/// What to change, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Advice {
    /// A clause with the names of settings and what the token says instead.
    pub(super) text: String,
    /// `FILE:LINE:COLUMN` of the setting, or of what it would be in; `FILE` where no entry is to blame; `None` if it is
    /// not in a file.
    pub(super) place: Option<String>,
}

/// A caller as grants name it.
pub(super) struct Named {
    /// `oid` at tenants of Entra ID, `subject` at other issuers.
    pub(super) key: &'static str,
    /// What the key must say, to the letter.
    pub(super) name: String,
}

impl Named {
    /// The name for people: letters that do not print, or that turn the others around, are escaped.
    pub(super) fn shown(&self) -> String {
        let escaped = |letter: char| match letter {
            '"' | '\'' | '\\' => letter.to_string(),
            other => other.escape_debug().to_string(),
        };
        self.name.chars().map(escaped).collect()
    }
}

/// An entry of `gateway.yaml` that tokens come from.
#[derive(Clone, Copy)]
enum Entry<'a> {
    Tenant(&'a TenantDocument),
    Issuer(&'a IssuerDocument),
}

impl Entry<'_> {
    fn place(self) -> Place {
        match self {
            Self::Tenant(tenant) => tenant.place,
            Self::Issuer(issuer) => issuer.place,
        }
    }

    /// Where it stands which keys it signs with.
    fn keys(self) -> Place {
        let written = match self {
            Self::Tenant(tenant) => &tenant.keys,
            Self::Issuer(issuer) => &issuer.jwks,
        };
        written.as_ref().map_or(self.place(), |keys| keys.place)
    }
}

/// What advice rests on.
pub(super) struct Advisor<'a> {
    pub(super) inspection: &'a Inspection,
    pub(super) gateway: &'a GatewayDocument,
    pub(super) issuers: &'a Issuers,
    pub(super) sources: &'a [KeySource],
    pub(super) report: &'a Report,
    /// When the token is checked, in Unix seconds.
    pub(super) at: u64,
}

impl Advisor<'_> {
    /// What to do about a step; `None` for those that pass, and where the fault's meaning says it all.
    pub(super) fn of_step(&self, step: Step) -> Option<Advice> {
        match step.outcome {
            Outcome::Failed(fault) => self.of_fault(fault),
            Outcome::NoKeys if step.check == Check::Key => Some(self.no_keys()),
            Outcome::Passed | Outcome::NoKeys | Outcome::NotReached => None,
        }
    }

    fn of_fault(&self, fault: Fault) -> Option<Advice> {
        let tokens = &self.gateway.tokens;
        match fault {
            Fault::UnknownIssuer => Some(self.unknown_issuer()),
            Fault::AlgorithmNotAllowed => {
                let allowed: Vec<&str> = tokens.algorithms.iter().map(|name| name.value.as_str()).collect();
                let said = self.header("alg");
                let text = format!("`tokens.algorithms` admits {}; the token says `{said}`", allowed.join(", "));
                Some(self.at(tokens.algorithms.first().map(|name| name.place), text))
            }
            Fault::UnknownKey => Some(self.unknown_key()),
            Fault::KeyAudience | Fault::IssuerAudience => Some(self.audience()),
            Fault::Expired | Fault::NotYetValid | Fault::IssuedInFuture => {
                let (leeway, at) = (tokens.leeway.value.as_secs(), Shown::Time(self.at));
                Some(self.at(
                    Some(tokens.leeway.place),
                    format!("`tokens.leeway` is {leeway} s; the check was made at {at}"),
                ))
            }
            Fault::LifetimeTooLong => {
                let text = format!("`tokens.max_lifetime` is {} s", tokens.max_lifetime.value.as_secs());
                Some(self.at(Some(tokens.max_lifetime.place), text))
            }
            _ => None,
        }
    }

    fn unknown_issuer(&self) -> Advice {
        let said = self.inspection.text("iss").unwrap_or_default();
        if let Some(written) = self.tenant_of_tid() {
            let urls: Vec<String> = self.issuers_of(written).map(|issuer| format!("`{}`", issuer.url)).collect();
            let (name, urls) = (&written.name.value, urls.join(" and "));
            return self
                .at(Some(written.place), format!("tenant `{name}` has the issuer {urls}; the token says `{said}`"));
        }
        if let Some(IssuerDocument { name, issuer, .. }) = self.near(said) {
            let text = format!("issuer `{}` is `{}`; the token says `{said}`", name.value, issuer.value);
            return self.at(Some(issuer.place), text);
        }
        let tenants = names(self.gateway.tenants.iter().map(|tenant| &tenant.name));
        let issuers = names(self.gateway.issuers.iter().map(|issuer| &issuer.name));
        let text = match self.tid() {
            Some(tenant) => {
                format!("`tenants` ({tenants}) has no tenant with the id `{tenant}`; add it if its people may come in")
            }
            None => format!("`issuers` ({issuers}) and `tenants` ({tenants}) have none that writes `{said}`"),
        };
        // No entry is to blame, so the file is all that can be named.
        Advice { text, place: Some(self.report.locate(self.gateway.tokens.leeway.place).file.to_string()) }
    }

    fn no_keys(&self) -> Advice {
        let issuer = self.inspection.text("iss").and_then(|url| self.issuers.find(url));
        let source = self.sources.iter().find(|source| Some(source.issuer) == issuer);
        let text = match source.map(|source| &source.from) {
            Some(From::Discovery { document, .. }) => format!(
                "the gateway would fetch them; give `--jwks` what the `jwks_uri` of `{document}` answers, to check offline"
            ),
            Some(From::Jwks { document, .. }) => {
                format!("the gateway would fetch them; give `--jwks` what `{document}` answers, to check offline")
            }
            Some(From::File(_)) | None => "the gateway has no keys of this issuer".to_owned(),
        };
        self.at(self.entry().map(Entry::place), text)
    }

    fn unknown_key(&self) -> Advice {
        let text = format!(
            "none of the keys at hand is called `{}`: they may be old, or another issuer's",
            self.header("kid")
        );
        self.at(self.entry().map(Entry::keys), text)
    }

    fn audience(&self) -> Advice {
        let said = self.inspection.claims.iter().find(|claim| claim.name == "aud");
        let said = said.map(|claim| claim.shown.to_string()).unwrap_or_default();
        match self.entry() {
            Some(Entry::Issuer(IssuerDocument { place, name, audiences, .. })) => {
                let (name, listed) = (&name.value, names(audiences.iter()));
                let place = audiences.first().map_or(*place, |first| first.place);
                self.at(Some(place), format!("`audiences` of `{name}` lists {listed}; the token says `{said}`"))
            }
            Some(Entry::Tenant(tenant)) => {
                let text = format!("the entry of the issuer says which audiences; the token says `{said}`");
                self.at(Some(tenant.place), text)
            }
            None => self.at(None, format!("the token says `{said}`")),
        }
    }

    /// What wrote the token, by its `iss`; otherwise the tenant that it says it is from.
    fn entry(&self) -> Option<Entry<'_>> {
        let by_text = || self.issuers.find(self.inspection.text("iss")?);
        // A long `iss` is cut where it is shown.
        let id = self.inspection.said.as_ref().map(|said| said.issuer).or_else(by_text);
        let name = id.and_then(|id| self.issuers.get(id)).map(|issuer| &*issuer.tenant);
        let issuer = self.gateway.issuers.iter().find(|issuer| Some(issuer.name.value.as_str()) == name);
        let tenant = self.gateway.tenants.iter().find(|tenant| Some(tenant.name.value.as_str()) == name);
        let named = issuer.map(Entry::Issuer).or(tenant.map(Entry::Tenant));
        named.or_else(|| self.tenant_of_tid().map(Entry::Tenant))
    }

    fn tid(&self) -> Option<Guid> {
        self.inspection.text("tid")?.parse().ok()
    }

    fn tenant_of_tid(&self) -> Option<&TenantDocument> {
        let said = self.tid()?;
        self.gateway.tenants.iter().find(|tenant| tenant.id.value.parse() == Ok(said))
    }

    /// The issuer that was perhaps meant: its `iss` differs by a slip, or by what people take for the same.
    fn near(&self, said: &str) -> Option<&IssuerDocument> {
        let said = folded(said);
        let same = self.gateway.issuers.iter().find(|issuer| folded(&issuer.issuer.value) == said);
        same.or_else(|| {
            let known: Vec<String> = self.gateway.issuers.iter().map(|issuer| folded(&issuer.issuer.value)).collect();
            let meant = suggest(&said, known.iter().map(String::as_str))?;
            self.gateway.issuers.iter().find(|issuer| folded(&issuer.issuer.value) == meant)
        })
    }

    fn issuers_of(&self, tenant: &TenantDocument) -> impl Iterator<Item = &Issuer> {
        self.issuers.iter().map(|(_, issuer)| issuer).filter(|issuer| *issuer.tenant == *tenant.name.value)
    }

    fn header(&self, name: &str) -> String {
        let found = self.inspection.header.iter().find(|claim| claim.name == name);
        found.map(|claim| claim.shown.to_string()).unwrap_or_default()
    }

    /// What an application says, with what to do about it.
    pub(super) fn admitted<'e>(&self, admission: Admission<'e>) -> Option<Admitted<'e>> {
        let gate = &admission.application.gate;
        let advice = admission.gate.iter().map(|step| (!step.passes).then(|| self.of_gate(gate, step))).collect();
        let said = self.inspection.said.as_ref()?;
        let stranger = admission.caller.is_none().then(|| self.stranger(&admission, said));
        let place = self.place(admission.application.name.place);
        Some(Admitted { place, advice, stranger, admission })
    }

    fn of_gate(&self, gate: &GateDocument, step: &GateStep) -> Advice {
        let (admitted, offered) = (step.admitted.join(", "), shown(&step.offered));
        let first = |list: &[Located<String>]| list.first().map(|first| first.place);
        let (setting, place) = match step.what {
            GateCheck::Tenant => ("gate.tenants", first(&gate.tenants)),
            GateCheck::Audience => ("gate.audiences", first(&gate.audiences)),
            GateCheck::Client => ("gate.clients", first(&gate.clients)),
            GateCheck::Caller => {
                let place = gate.callers.as_ref().map_or(gate.place, |callers| callers.place);
                // The setting has the plural of the word.
                return self.at(Some(place), format!("`gate.callers` is {admitted}s; the token speaks for: {offered}"));
            }
            GateCheck::AppRole => ("gate.app_roles", first(&gate.app_roles)),
            GateCheck::Certificate => ("gate.client_certificates", first(&gate.client_certificates)),
        };
        let text = format!("`{setting}` lists {admitted}; the token says {offered}");
        self.at(Some(place.unwrap_or(gate.place)), text)
    }

    fn stranger(&self, admission: &Admission<'_>, said: &Verified) -> Advice {
        let domain = &admission.world.document.domain;
        let (tenant, named) = (&said.tenant, self.named(said));
        let (domain_name, key, name) = (&domain.value, named.key, named.shown());
        let text = format!("`principals` of `{domain_name}` has none with tenant `{tenant}` and {key} `{name}`");
        self.at(Some(domain.place), text)
    }

    /// What grants call the caller.
    pub(super) fn named(&self, said: &Verified) -> Named {
        match self.issuers.get(said.issuer).map(|issuer| &issuer.kind) {
            Some(IssuerKind::Other(_)) => Named { key: "subject", name: said.subject.to_string() },
            Some(IssuerKind::EntraV1 | IssuerKind::EntraV2) | None => {
                Named { key: "oid", name: said.principal.object.to_string() }
            }
        }
    }

    fn at(&self, place: Option<Place>, text: String) -> Advice {
        Advice { text, place: place.map(|place| self.place(place)) }
    }

    fn place(&self, place: Place) -> String {
        place_of(place, self.report)
    }
}

/// `FILE:LINE:COLUMN`.
pub(super) fn place_of(place: Place, report: &Report) -> String {
    let location = report.locate(place);
    format!("{}:{}:{}", location.file, location.line, location.column)
}

/// An `iss` without what people take for the same: the scheme, letter case, a final slash.
fn folded(url: &str) -> String {
    let url = url.to_lowercase();
    let bare = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
    bare.trim_end_matches('/').to_owned()
}

fn names<'n>(of: impl Iterator<Item = &'n Located<String>>) -> String {
    let names: Vec<&str> = of.map(|name| name.value.as_str()).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// What a token offers, fit to be shown: whoever wrote it is a stranger.
pub(super) fn shown(offered: &[String]) -> String {
    if offered.is_empty() {
        return "none".to_owned();
    }
    let joined = offered.join(", ");
    let start: String = joined.chars().take(200).collect();
    let more = if start.len() < joined.len() { "…" } else { "" };
    format!("{}{more}", start.escape_debug())
}
