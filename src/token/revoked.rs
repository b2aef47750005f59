//! Revocation: whose tokens are not believed any more although they have not expired.
//!
//! A token is known by what it says (`tid` and `oid`, `iat`, `uti`), never by its text: one token has several texts.

use std::collections::HashMap;
use std::sync::Arc;

use super::issuer::{IssuerKind, Issuers};
use super::verified::Verified;
use super::verify::Rules;
use super::{claims, principal_of};
use crate::diag::{Report, suggest};
use crate::document::Located;
use crate::document::revoked::{PrincipalNameDocument, RevocationDocument, TargetDocument};
use crate::model::{Guid, PrincipalKey, is_subject};

/// What one entry revokes, its names resolved.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// The tokens of a principal.
    Principal {
        /// The name of its tenant or issuer.
        tenant: Arc<str>,
        /// How the entry names it there.
        name: PrincipalName,
        /// What it is known by.
        key: PrincipalKey,
        /// Only tokens issued before this moment, in Unix seconds; otherwise every token.
        issued_before: Option<u64>,
    },
    /// One token.
    Token {
        /// Its `uti` or `jti`.
        id: Box<str>,
        /// The name and id of the tenant or issuer that it must come from.
        tenant: Option<(Arc<str>, Guid)>,
    },
}

impl Target {
    /// What stands for every entry of the same principal, or of the same token: it without its moment or tenant.
    pub fn widest(&self) -> Self {
        let mut widest = self.clone();
        match &mut widest {
            Self::Principal { issued_before, .. } => *issued_before = None,
            Self::Token { tenant, .. } => *tenant = None,
        }
        widest
    }
}

/// Seconds by which the clocks of those who write moments may be ahead.
const AHEAD: u64 = 60;

/// Whether a moment has not come at `now`, even by a clock that is a little ahead: an `issued_before` of it would refuse
/// new tokens, too. Both are in Unix seconds.
pub const fn is_ahead(moment: u64, now: u64) -> bool {
    moment > now.saturating_add(AHEAD)
}

/// How an entry names a principal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PrincipalName {
    /// By its object id, at a tenant of Entra ID.
    Oid(Guid),
    /// By its subject, at another issuer.
    Subject(Box<str>),
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// What it revokes.
    pub target: Target,
    /// When it was made, in Unix seconds, where it says so.
    pub added_at: Option<u64>,
}

impl Revocation {
    /// Whether no token that is believed at `now` can fall under it. Never of an entry that holds for every token of a
    /// principal, nor of one for a token that may be issued yet for all it says.
    pub fn is_spent(&self, rules: &Rules, now: u64) -> bool {
        // A token ends `max_lifetime` and a leeway after it was issued, at the latest, and is believed for a leeway more;
        // the clock that wrote when it was issued may be a leeway ahead of the one that wrote when it was revoked.
        let issued = match &self.target {
            Target::Principal { issued_before, .. } => *issued_before,
            Target::Token { .. } => self.added_at,
        };
        let believed = rules.max_lifetime.saturating_add(rules.leeway.saturating_mul(3));
        issued.is_some_and(|issued| issued.saturating_add(believed) < now)
    }

    /// Resolves the names of entries. All faults go to `report`; `None` if there is any.
    pub fn resolve(documents: Vec<RevocationDocument>, issuers: &Issuers, report: &mut Report) -> Option<Vec<Self>> {
        let known: HashMap<&str, Known<'_>> =
            issuers.iter().map(|(_, issuer)| (&*issuer.tenant, Known::of(issuer))).collect();
        let number = documents.len();
        let resolved: Vec<Self> =
            documents.into_iter().filter_map(|document| resolve(document, &known, report)).collect();
        (resolved.len() == number).then_some(resolved)
    }
}

/// A tenant or issuer that entries may name.
struct Known<'i> {
    name: &'i Arc<str>,
    id: Guid,
    entra: bool,
}

impl<'i> Known<'i> {
    fn of(issuer: &'i super::Issuer) -> Self {
        let entra = match issuer.kind {
            IssuerKind::EntraV1 | IssuerKind::EntraV2 => true,
            IssuerKind::Other(_) => false,
        };
        Self { name: &issuer.tenant, id: issuer.tenant_id, entra }
    }
}

fn resolve(document: RevocationDocument, known: &HashMap<&str, Known<'_>>, report: &mut Report) -> Option<Revocation> {
    let target = match document.target {
        TargetDocument::Principal { tenant, name, issued_before } => {
            let tenant = find(&tenant, known, report)?;
            let (name, object) = principal(name, tenant, report)?;
            let key = PrincipalKey { tenant: tenant.id, object };
            Target::Principal { tenant: Arc::clone(tenant.name), name, key, issued_before }
        }
        TargetDocument::Token { id, tenant } => {
            let tenant = match &tenant {
                Some(tenant) => find(tenant, known, report).map(|known| Some((Arc::clone(known.name), known.id))),
                None => Some(None),
            };
            let id = token_id(id, report);
            Target::Token { id: id?, tenant: tenant? }
        }
    };
    Some(Revocation { target, added_at: document.added_at })
}

fn find<'k, 'i>(
    written: &Located<String>,
    known: &'k HashMap<&str, Known<'i>>,
    report: &mut Report,
) -> Option<&'k Known<'i>> {
    let found = known.get(written.value.as_str());
    if found.is_none() {
        let message = format!("unknown tenant `{}`", written.value);
        let help = match suggest(&written.value, known.keys().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "name a tenant or issuer of `gateway.yaml`".to_owned(),
        };
        report.error("unknown_tenant", written.place, message).help(help);
    }
    found
}

fn principal(written: PrincipalNameDocument, tenant: &Known<'_>, report: &mut Report) -> Option<(PrincipalName, Guid)> {
    match written {
        PrincipalNameDocument::Oid(oid) if tenant.entra => {
            let id: Option<Guid> = oid.value.parse().ok();
            if id.is_none() {
                report
                    .error("bad_guid", oid.place, format!("`{}` is not an object id", oid.value))
                    .help("an object id is a GUID such as `11111111-1111-1111-1111-111111111111`");
            }
            id.map(|id| (PrincipalName::Oid(id), id))
        }
        PrincipalNameDocument::Subject(subject) if !tenant.entra => {
            let key = principal_of(tenant.id, &subject.value);
            let usable = is_subject(&subject.value);
            if !usable {
                let message = "no token has this subject: it must be 1 to 256 bytes without control characters";
                report.error("bad_value", subject.place, message).help("write the subject as tokens have it");
            }
            usable.then(|| (PrincipalName::Subject(subject.value.into()), key.object))
        }
        PrincipalNameDocument::Oid(written) => {
            let message = format!("principals of `{}` are not named by `oid`", tenant.name);
            report.error("wrong_name", written.place, message).help("it is not a tenant of Entra ID: write `subject:`");
            None
        }
        PrincipalNameDocument::Subject(written) => {
            let message = format!("principals of `{}` are not named by `subject`", tenant.name);
            report.error("wrong_name", written.place, message).help("it is a tenant of Entra ID: write `oid:`");
            None
        }
    }
}

fn token_id(written: Located<String>, report: &mut Report) -> Option<Box<str>> {
    let usable = (1..=claims::TOKEN_ID_BYTES).contains(&written.value.len());
    if !usable {
        let message = format!("no token has this id: it must be 1 to {} bytes", claims::TOKEN_ID_BYTES);
        report.error("bad_value", written.place, message).help("write the `uti` (or `jti`) of the token");
    }
    usable.then(|| written.value.into())
}

/// The entries of one source, ready for look-ups that need no memory.
#[derive(Debug, Default)]
pub struct RevokedList {
    /// Of each principal, until when tokens must have been issued to be revoked; `None`: whenever.
    principals: HashMap<PrincipalKey, Option<u64>>,
    tokens: HashMap<Box<str>, Origin>,
    entries: usize,
}

/// Where a revoked token must come from.
#[derive(Debug)]
enum Origin {
    Anywhere,
    These(Vec<Guid>),
}

/// What a token falls under, from what covers fewest tokens to what covers most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hit {
    /// An entry for this one token.
    Token,
    /// An entry for the tokens of the principal that were issued before this moment, in Unix seconds.
    Before(u64),
    /// An entry for all tokens of the principal, those that it will get, too.
    Principal,
}

impl RevokedList {
    /// Makes the look-up. Of several entries for one principal, the one that covers more tokens counts.
    pub fn new<'r>(entries: impl IntoIterator<Item = &'r Revocation>) -> Self {
        let mut list = Self::default();
        for entry in entries {
            list.entries += 1;
            match &entry.target {
                Target::Principal { key, issued_before, .. } => {
                    let known = list.principals.entry(*key).or_insert(*issued_before);
                    *known = known.zip(*issued_before).map(|(one, other)| one.max(other));
                }
                Target::Token { id, tenant } => {
                    let from = list.tokens.entry(id.clone()).or_insert_with(|| Origin::These(Vec::new()));
                    match (from, tenant) {
                        (Origin::Anywhere, _) => {}
                        (Origin::These(tenants), Some((_, tenant))) => tenants.push(*tenant),
                        (from @ Origin::These(_), None) => *from = Origin::Anywhere,
                    }
                }
            }
        }
        list
    }

    /// How many entries it was made of.
    pub fn entries(&self) -> usize {
        self.entries
    }

    fn find(&self, token: &Verified) -> Option<Hit> {
        let id = token.token_id.as_deref().and_then(|id| self.tokens.get(id));
        let by_id = id.is_some_and(|from| match from {
            Origin::Anywhere => true,
            Origin::These(tenants) => tenants.contains(&token.principal.tenant),
        });
        let by_principal = match self.principals.get(&token.principal) {
            Some(Some(moment)) if token.issued_at < *moment => Some(Hit::Before(*moment)),
            Some(Some(_)) | None => None,
            Some(None) => Some(Hit::Principal),
        };
        by_principal.max(by_id.then_some(Hit::Token))
    }
}

/// Everything that is revoked at one moment: the lists of all sources.
#[derive(Debug, Default)]
pub struct Revoked {
    generation: u64,
    lists: Box<[Arc<RevokedList>]>,
}

impl Revoked {
    /// Takes the lists together. `generation` differs from that of any other value in the process.
    pub fn new(generation: u64, lists: impl IntoIterator<Item = Arc<RevokedList>>) -> Self {
        Self { generation, lists: lists.into_iter().collect() }
    }

    /// Which one this is: what was found with one generation may not hold with another.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// How many entries all lists have.
    pub fn entries(&self) -> usize {
        self.lists.iter().map(|list| list.entries()).sum()
    }

    /// What a verified token falls under, if anything: of several entries, the one that covers more tokens.
    pub fn find(&self, token: &Verified) -> Option<Hit> {
        self.lists.iter().filter_map(|list| list.find(token)).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document;
    use crate::token::verify::Algorithms;
    use crate::token::{Class, Groups, Issuer, IssuerId, Profile, Window};

    const USS: &str = "11111111-1111-1111-1111-111111111111";
    const AWAY: &str = "22222222-2222-2222-2222-222222222222";
    const OLGA: &str = "00000000-0000-0000-0000-000000000001";

    fn issuers() -> Issuers {
        let profile = Profile {
            subject: "sub".into(),
            client: None,
            roles: "roles".into(),
            groups: "groups".into(),
            username: "name".into(),
            audiences: Vec::new(),
        };
        let issuer = |name: &str, id: &str, kind| Issuer {
            tenant: Arc::from(name),
            tenant_id: id.parse().unwrap(),
            url: format!("https://{name}.example/"),
            kind,
            keys: Vec::new(),
            authorization_uri: None,
        };
        Issuers::new(vec![
            issuer("uss", USS, IssuerKind::EntraV1),
            issuer("uss", USS, IssuerKind::EntraV2),
            issuer("away", AWAY, IssuerKind::EntraV2),
            issuer("sso", "33333333-3333-3333-3333-333333333333", IssuerKind::Other(Arc::new(profile))),
        ])
    }

    fn resolved(entries: &[&str]) -> Result<Vec<Revocation>, Vec<&'static str>> {
        let text: String = entries.iter().map(|entry| format!("\n  - {entry}")).collect();
        let mut report = Report::new();
        let source = report.add_source("revoked.yaml", format!("version: 1\nrevoked:{text}\n"));
        let documents = document::read_revoked(source, &mut report).unwrap();
        let resolved = Revocation::resolve(documents, &issuers(), &mut report);
        resolved.ok_or_else(|| report.diagnostics().iter().map(|found| found.code).collect())
    }

    fn revoked(entries: &[&str]) -> Revoked {
        Revoked::new(1, [Arc::new(RevokedList::new(&resolved(entries).unwrap()))])
    }

    fn token(tenant: &str, object: &str, id: Option<&str>, issued_at: u64) -> Verified {
        Verified {
            issuer: IssuerId(0),
            tenant: Arc::from("uss"),
            principal: PrincipalKey { tenant: tenant.parse().unwrap(), object: object.parse().unwrap() },
            subject: object.into(),
            class: Class::User,
            client: None,
            username: None,
            audiences: Vec::new(),
            roles: Vec::new(),
            groups: Groups::Unknown,
            token_id: id.map(Arc::from),
            issued_at,
            takes_challenges: false,
            window: Window::default(),
        }
    }

    #[test]
    fn an_entry_covers_the_tokens_that_it_names_and_no_others() {
        let every = format!("{{principal: {{tenant: uss, oid: {OLGA}}}}}");
        let before = format!("{{principal: {{tenant: uss, oid: {OLGA}}}, issued_before: 100}}");
        let later = format!("{{principal: {{tenant: uss, oid: {OLGA}}}, issued_before: 200}}");
        let (anywhere, here) = ("{uti: x}".to_owned(), "{uti: x, tenant: uss}".to_owned());
        let other = "00000000-0000-0000-0000-000000000002";
        let (all, one) = (Some(Hit::Principal), Some(Hit::Token));
        let until = |moment| Some(Hit::Before(moment));
        for (entries, token, expected) in [
            (vec![&every], token(USS, OLGA, None, 5), all),
            (vec![&every], token(USS, OLGA, None, u64::MAX), all),
            (vec![&every], token(AWAY, OLGA, None, 5), None),
            (vec![&every], token(USS, other, None, 5), None),
            (vec![&before], token(USS, OLGA, None, 99), until(100)),
            (vec![&before], token(USS, OLGA, None, 100), None),
            (vec![&before], token(AWAY, OLGA, None, 99), None),
            (vec![&before, &later], token(USS, OLGA, None, 150), until(200)),
            (vec![&later, &before], token(USS, OLGA, None, 150), until(200)),
            (vec![&later, &every, &before], token(USS, OLGA, None, 500), all),
            (vec![&every, &before], token(USS, OLGA, None, 500), all),
            (vec![&every, &anywhere], token(USS, OLGA, Some("x"), 500), all),
            (vec![&anywhere], token(USS, OLGA, Some("x"), 5), one),
            (vec![&anywhere], token(AWAY, other, Some("x"), 5), one),
            (vec![&anywhere], token(USS, OLGA, Some("X"), 5), None),
            (vec![&anywhere], token(USS, OLGA, None, 5), None),
            (vec![&here], token(USS, OLGA, Some("x"), 5), one),
            (vec![&here], token(AWAY, OLGA, Some("x"), 5), None),
            (vec![&here, &anywhere], token(AWAY, OLGA, Some("x"), 5), one),
            (vec![&anywhere, &here], token(AWAY, OLGA, Some("x"), 5), one),
            (vec![&before, &anywhere], token(USS, OLGA, Some("x"), 5), until(100)),
            (vec![&before, &anywhere], token(USS, OLGA, Some("x"), 100), one),
            (vec![], token(USS, OLGA, Some("x"), 5), None),
        ] {
            let entries: Vec<&str> = entries.into_iter().map(String::as_str).collect();
            let list = if entries.is_empty() { Revoked::default() } else { revoked(&entries) };
            assert_eq!(list.find(&token), expected, "{entries:?} {token:?}");
            // The same entries in several lists mean the same.
            let lists = entries.iter().map(|entry| Arc::new(RevokedList::new(&resolved(&[entry]).unwrap())));
            assert_eq!(Revoked::new(1, lists).find(&token), expected, "{entries:?} {token:?}");
        }
    }

    #[test]
    fn a_subject_of_another_issuer_is_known_by_its_digest() {
        let list = revoked(&["{principal: {tenant: sso, subject: \"a|b\"}}"]);
        let key = principal_of("33333333-3333-3333-3333-333333333333".parse().unwrap(), "a|b");
        let caller = Verified { principal: key, ..token(USS, OLGA, None, 5) };
        assert_eq!(list.find(&caller), Some(Hit::Principal));
    }

    #[test]
    fn names_that_mean_nothing_are_faults() {
        let long = format!("{{uti: {}}}", "x".repeat(129));
        for (entry, code) in [
            ("{principal: {tenant: nobody, oid: x}}", "unknown_tenant"),
            ("{principal: {tenant: uss, oid: x}}", "bad_guid"),
            ("{principal: {tenant: uss, subject: x}}", "wrong_name"),
            ("{principal: {tenant: sso, oid: 00000000-0000-0000-0000-000000000001}}", "wrong_name"),
            ("{principal: {tenant: sso, subject: \"\"}}", "bad_value"),
            ("{uti: x, tenant: nobody}", "unknown_tenant"),
            ("{uti: \"\"}", "bad_value"),
            (&long, "bad_value"),
        ] {
            assert_eq!(resolved(&[entry, "{uti: good}"]), Err(vec![code]), "{entry}");
        }
    }

    #[test]
    fn an_entry_is_spent_once_no_live_token_can_fall_under_it() {
        let algorithms = Algorithms { rs256: true, ps256: false, es256: true };
        let rules = Rules { leeway: 60, max_lifetime: 3600, algorithms };
        let all = resolved(&[
            &format!("{{principal: {{tenant: uss, oid: {OLGA}}}, added_at: 1}}"),
            &format!("{{principal: {{tenant: uss, oid: {OLGA}}}, issued_before: 1000}}"),
            "{uti: x, added_at: 1000}",
            "{uti: x}",
        ])
        .unwrap();
        for (now, spent) in [(1000 + 3600 + 180, [false; 4]), (1000 + 3600 + 181, [false, true, true, false])] {
            let found: Vec<_> = all.iter().map(|entry| entry.is_spent(&rules, now)).collect();
            assert_eq!(found, spent, "{now}");
        }
    }
}
