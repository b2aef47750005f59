//! What a listener does that only sends clients to HTTPS: the same host and target there, if they are such as the
//! gateway serves.

use std::sync::Arc;

use http::request::Parts;

use super::sought::Seen;
use super::target;
use super::{Answer, FORWARDED_METHODS, Grounds, Refusal, Verdict};
use crate::model::Reason;
use crate::route::canonical::{self, BadTarget, CanonicalPath};
use crate::route::host::Host;
use crate::snapshot::Snapshot;

/// Where authorities of certificates look for proofs by plain HTTP (RFC 8555 section 8.3). The gateway has none to
/// show, and a redirect would send them to an application.
const ACME: &str = "/.well-known/acme-challenge/";
/// The port that `https` URLs need not name.
const HTTPS: u16 = 443;

/// Answers one request head with the URL of HTTPS at this port, or with a refusal. No token is read, and nothing
/// reaches the URL but a host of the route map and a target in its one form.
pub fn redirect(snapshot: &Arc<Snapshot>, head: Parts, port: u16) -> Verdict {
    let mut grounds = Grounds::none(snapshot);
    match location(snapshot, &head, port, &mut grounds) {
        Ok(url) => Verdict::Answered { answer: Answer::Redirect(url.into()), grounds },
        Err(refusal) => Verdict::Refused { head, refusal, grounds },
    }
}

fn location(snapshot: &Snapshot, head: &Parts, port: u16, grounds: &mut Grounds) -> Result<String, Refusal> {
    if canonical::is_forbidden(&head.method) {
        return Err(Refusal::of(Reason::MethodForbidden).allowing(FORWARDED_METHODS));
    }
    let bad_target = |bad: BadTarget| Refusal::about(Reason::BadTarget, bad.0);
    canonical::check_target(&head.uri).map_err(bad_target)?;
    CanonicalPath::new(head.uri.path()).map_err(bad_target)?;
    let (asked, _) = target::host(head)?;
    target::check_framing(head, Seen::of(&head.headers))?;
    // The application is the one that will be asked for there.
    let host = Host { port: Some(port), ..asked };
    let application = snapshot.routes.application(&host).ok_or_else(|| Refusal::of(Reason::NoApplication))?;
    grounds.application = Some(Arc::clone(application));
    if head.uri.path().starts_with(ACME) {
        return Err(Refusal::about(Reason::NoRoute, "acme_challenge"));
    }
    let port = if port == HTTPS { String::new() } else { format!(":{port}") };
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    Ok(format!("https://{}{port}{target}", host.name))
}
