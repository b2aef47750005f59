//! What to change so that a token gets further, and where that is written.

use super::explain::Admitted;
use crate::diag::{Place, Report};
use crate::document::gateway::{GatewayDocument, TenantDocument};
use crate::document::routes::GateDocument;
use crate::model::Guid;
use crate::review::{Admission, GateStep};
use crate::source::jwks::{From, KeySource};
use crate::token::{Check, Fault, Inspection, Issuer, Issuers, Outcome, Shown, Step, Verified};

/// What to change, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Advice {
    /// A clause with the names of settings and what the token says instead.
    pub(super) text: String,
    /// `FILE:LINE:COLUMN` of the setting, or of what it would be in; `None` if it is not in a file.
    pub(super) place: Option<String>,
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
            Fault::UnknownKey => {
                let text = format!(
                    "none of the keys at hand is called `{}`: they may be old, or another issuer's",
                    self.header("kid")
                );
                Some(self.at(self.tenant().and_then(|tenant| tenant.keys.as_ref()).map(|keys| keys.place), text))
            }
            Fault::KeyAudience | Fault::IssuerAudience => {
                let said = self.inspection.claims.iter().find(|claim| claim.name == "aud");
                let said = said.map(|claim| claim.shown.to_string()).unwrap_or_default();
                let text = format!("the entry of the issuer says which audiences; the token says `{said}`");
                Some(self.at(self.tenant().map(|tenant| tenant.place), text))
            }
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
        let tenant = self.inspection.text("tid").unwrap_or_default();
        if let Some(written) = self.tenant() {
            let urls: Vec<String> = self.issuers_of(written).map(|issuer| format!("`{}`", issuer.url)).collect();
            let (name, urls) = (&written.name.value, urls.join(" and "));
            return self
                .at(Some(written.place), format!("tenant `{name}` has the issuer {urls}; the token says `{said}`"));
        }
        let known: Vec<&str> = self.gateway.tenants.iter().map(|tenant| tenant.name.value.as_str()).collect();
        let text = if tenant.is_empty() {
            format!("`issuers` and `tenants` ({}) have none that writes `{said}`", known.join(", "))
        } else {
            format!(
                "`tenants` ({}) has no tenant with the id `{tenant}`; add it if its people may come in",
                known.join(", ")
            )
        };
        self.at(self.gateway.tenants.first().map(|tenant| tenant.place), text)
    }

    fn no_keys(&self) -> Advice {
        let issuer = self.inspection.text("iss").and_then(|url| self.issuers.find(url));
        let source = self.sources.iter().find(|source| Some(source.issuer) == issuer);
        let text = match source.map(|source| &source.from) {
            Some(From::Discovery { document, .. }) => format!(
                "the gateway would fetch them; give `--jwks` what the `jwks_uri` of `{document}` answers, to check offline"
            ),
            _ => "the gateway has no keys of this issuer".to_owned(),
        };
        self.at(self.tenant().map(|tenant| tenant.place), text)
    }

    /// The tenant that the token says it is from.
    fn tenant(&self) -> Option<&TenantDocument> {
        let said: Guid = self.inspection.text("tid")?.parse().ok()?;
        self.gateway.tenants.iter().find(|tenant| tenant.id.value.parse() == Ok(said))
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
        let (setting, list) = match step.what {
            "tenant" => ("gate.tenants", &gate.tenants),
            "audience" => ("gate.audiences", &gate.audiences),
            "app role" => ("gate.app_roles", &gate.app_roles),
            _ => return self.at(Some(gate.place), format!("`gate` asks for another {}", step.what)),
        };
        let (admitted, offered) = (step.admitted.join(", "), shown(&step.offered));
        let text = format!("`{setting}` lists {admitted}; the token says {offered}");
        self.at(Some(list.first().map_or(gate.place, |first| first.place)), text)
    }

    fn stranger(&self, admission: &Admission<'_>, said: &Verified) -> Advice {
        let domain = &admission.world.document.domain;
        let (tenant, object) = (&said.tenant, said.principal.object);
        let text = format!("`principals` of `{}` has none with tenant `{tenant}` and oid `{object}`", domain.value);
        self.at(Some(domain.place), text)
    }

    fn at(&self, place: Option<Place>, text: String) -> Advice {
        Advice { text, place: place.map(|place| self.place(place)) }
    }

    fn place(&self, place: Place) -> String {
        let location = self.report.locate(place);
        format!("{}:{}:{}", location.file, location.line, location.column)
    }
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
