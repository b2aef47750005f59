//! Revoked tokens: the check that is made again while an exchange runs, and the challenge for clients that can get a
//! token without the user (Entra's continuous access evaluation).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use serde_json::json;

use super::Refusal;
use crate::snapshot::Snapshot;
use crate::token::revoked::is_ahead;
use crate::token::{Fault, Hit, Issuers, TokenFault, Verified};

/// Judges again, by the snapshot of now, who was let in by an earlier one: whether a verified token has been revoked in
/// the meantime. `now` is in Unix seconds. Everything that outlives its request's head asks this when
/// [`Revoked::generation`](crate::token::Revoked::generation) changes.
///
/// # Errors
/// The refusal of a revoked token, with a claims challenge if the client can handle one.
pub fn judge_again(snapshot: &Snapshot, issuers: &Issuers, token: &Verified, now: u64) -> Result<(), Refusal> {
    let Some(hit) = snapshot.revoked.find(token) else { return Ok(()) };
    let mut refusal = Refusal::from(TokenFault::Invalid(Fault::Revoked));
    refusal.challenge = challenge(issuers, token, hit, now);
    Err(refusal)
}

/// The challenge that asks for a token issued later. RFC 6750 section 3 has the form, Entra's documentation of claims
/// challenges the parameters; `None` where the client would not understand it, its issuer never sends it, or no token
/// that it could get now would do: the client would ask for one again and again.
fn challenge(issuers: &Issuers, token: &Verified, hit: Hit, now: u64) -> Option<Box<HeaderValue>> {
    let uri = issuers.get(token.issuer)?.authorization_uri.as_deref().filter(|_| token.takes_challenges)?;
    let from = match hit {
        Hit::Principal => return None,
        Hit::Before(moment) if is_ahead(moment, now) => return None,
        Hit::Before(moment) => moment,
        Hit::Token => now,
    };
    let from = from.to_string();
    let claims = json!({ "access_token": { "nbf": { "essential": true, "value": from } } }).to_string();
    let claims = STANDARD.encode(claims);
    let text =
        format!("Bearer realm=\"\", authorization_uri=\"{uri}\", error=\"insufficient_claims\", claims=\"{claims}\"");
    HeaderValue::try_from(text).ok().map(Box::new)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{Guid, PrincipalKey};
    use crate::policy::Domains;
    use crate::route::RouteMap;
    use crate::token::revoked::{PrincipalName, Target};
    use crate::token::{
        Class, Groups, Issuer, IssuerId, IssuerKind, KeyRing, Revocation, Revoked, RevokedList, Window,
    };

    fn of(issued_before: Option<u64>) -> Target {
        let key = PrincipalKey { tenant: Guid(1), object: Guid(2) };
        Target::Principal { tenant: Arc::from("uss"), name: PrincipalName::Oid(Guid(2)), key, issued_before }
    }

    fn judged(target: Target, takes_challenges: bool, uri: Option<&str>, issued_at: u64) -> Option<Refusal> {
        let issuer = Issuer {
            tenant: Arc::from("uss"),
            tenant_id: Guid(1),
            url: "https://issuer.example/".to_owned(),
            kind: IssuerKind::EntraV2,
            keys: Vec::new(),
            authorization_uri: uri.map(str::to_owned),
        };
        let list = RevokedList::new(&[Revocation { target, added_at: None }]);
        let snapshot = Snapshot {
            serial: 1,
            loaded_at: 0,
            routes: Arc::new(RouteMap::default()),
            domains: Arc::new(Domains::default()),
            keys: Arc::new(KeyRing::empty(0)),
            revoked: Arc::new(Revoked::new(1, [Arc::new(list)])),
        };
        let token = Verified {
            issuer: IssuerId(0),
            tenant: Arc::from("uss"),
            principal: PrincipalKey { tenant: Guid(1), object: Guid(2) },
            subject: Box::default(),
            class: Class::User,
            client: None,
            username: None,
            audiences: Vec::new(),
            roles: Vec::new(),
            groups: Groups::Unknown,
            token_id: Some(Arc::from("x")),
            issued_at,
            takes_challenges,
            window: Window::default(),
        };
        judge_again(&snapshot, &Issuers::new(vec![issuer]), &token, 777).err()
    }

    const URI: &str = "https://login.example/common/oauth2/authorize";

    fn claims(refusal: &Refusal) -> String {
        let text = refusal.challenge.as_deref().unwrap().to_str().unwrap();
        let beginning =
            format!("Bearer realm=\"\", authorization_uri=\"{URI}\", error=\"insufficient_claims\", claims=\"");
        let encoded = text.strip_prefix(&beginning).and_then(|rest| rest.strip_suffix('"')).unwrap();
        String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap()
    }

    #[test]
    fn a_client_that_can_is_asked_for_a_token_of_after_the_revocation() {
        let refusal = judged(of(Some(500)), true, Some(URI), 499).unwrap();
        assert_eq!(refusal.full_code(), "invalid_token:revoked");
        assert_eq!(claims(&refusal), "{\"access_token\":{\"nbf\":{\"essential\":true,\"value\":\"500\"}}}");
        let one = judged(Target::Token { id: "x".into(), tenant: None }, true, Some(URI), 600).unwrap();
        assert_eq!(claims(&one), "{\"access_token\":{\"nbf\":{\"essential\":true,\"value\":\"777\"}}}");
    }

    #[test]
    fn other_clients_and_issuers_get_no_challenge() {
        assert_eq!(judged(of(Some(500)), false, Some(URI), 499).unwrap().challenge, None);
        assert_eq!(judged(of(Some(500)), true, None, 499).unwrap().challenge, None);
        assert!(judged(of(Some(500)), true, Some(URI), 500).is_none());
    }

    #[test]
    fn no_challenge_asks_for_a_token_that_would_be_refused_as_well() {
        for (what, challenged) in [(None, false), (Some(777 + 60), true), (Some(777 + 61), false)] {
            let refusal = judged(of(what), true, Some(URI), 600).unwrap();
            assert_eq!(refusal.full_code(), "invalid_token:revoked");
            assert_eq!(refusal.challenge.is_some(), challenged, "{what:?}");
        }
    }
}
