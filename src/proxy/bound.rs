//! Authentication that a backend ties to a connection instead of a request (NTLM; Negotiate, RFC 4559): whoever gets
//! such a connection next would be taken for the one who authenticated it. So it serves one principal on one client
//! connection, or is closed (RFC 9110 section 11.1).

use std::rc::Rc;
use std::time::Duration;

use http::Version;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};

use super::upstream::{Lease, Upstreams};
use super::{Caller, Connection};
use crate::model::PrincipalKey;
use crate::pep::{Carrier, Grounds};
use crate::route::{Application, Upstream};

/// The schemes that authenticate a connection.
const SCHEMES: [&[u8]; 2] = [b"ntlm", b"negotiate"];
/// Fields by which a server says that it does so (RFC 4559 section 6, and what IIS sends).
const SIGNS: [HeaderName; 2] = [HeaderName::from_static("proxy-support"), HeaderName::from_static("persistent-auth")];
/// How long a bound connection may take to finish its last exchange: the end of an upload that the answer did not wait
/// for, which nobody judges again. hyper needs a turn of the event loop.
const SETTLE: Duration = Duration::from_secs(2);

/// Whom an upstream connection belongs to once it was authenticated.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    client: Rc<Connection>,
    principal: PrincipalKey,
}

/// Whom a request's connection may belong to, if its application allows that: whoever the token speaks for. HTTP/2
/// clients and proxies send requests of many over one connection, so HTTP/1.1 is asked for, and a principal.
pub(super) fn owner(version: Version, grounds: &Grounds, application: &Application, caller: &Caller) -> Option<Owner> {
    let token = grounds.token.as_ref().filter(|_| grounds.carrier != Some(Carrier::Authorization))?;
    let allowed = application.connection_auth && version < Version::HTTP_2;
    allowed.then(|| Owner { client: Rc::clone(&caller.connection), principal: token.principal })
}

/// An authenticated upstream connection that waits for its owner's next request.
#[derive(Debug)]
pub(super) struct Bound {
    lease: Lease,
    principal: PrincipalKey,
    since: Instant,
}

impl Bound {
    /// Whether its last exchange has not come to its end in time.
    fn is_stuck(&self) -> bool {
        self.since.elapsed() >= SETTLE && !self.lease.is_ready()
    }
}

impl Owner {
    /// Keeps a connection for the owner's next request, in place of the one before.
    pub(super) fn keep(self, lease: Lease) {
        let Self { client, principal } = self;
        client.keep_bound(Bound { lease, principal, since: Instant::now() });
        let client = Rc::downgrade(&client);
        spawn_local(async move {
            sleep(SETTLE).await;
            if let Some(client) = client.upgrade() {
                drop(client.take_bound(Bound::is_stuck));
            }
        });
    }

    /// The connection that is kept for the owner, if it goes to a server of this upstream and still can be used; and
    /// which server that is, in the upstream's list.
    pub(super) async fn take(&self, upstreams: &Upstreams, upstream: &Upstream) -> Option<(usize, Lease)> {
        let mut found = None;
        let Bound { mut lease, .. } = self.client.take_bound(|bound| {
            let goes_to = |server| bound.lease.is_of(&upstreams.pool(server, upstream));
            found = upstream.servers.iter().position(goes_to).filter(|_| bound.principal == self.principal);
            found.is_some()
        })?;
        let ready = timeout(SETTLE, lease.ready()).await.unwrap_or(false);
        found.filter(|_| ready).map(|server| (server, lease))
    }
}

/// Whether a request authenticates its connection: by one `Authorization`, of such a scheme.
pub(super) fn authenticates(request: &HeaderMap) -> bool {
    let mut values = request.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next().filter(|_| values.next().is_none()) else { return false };
    let scheme = value.as_bytes().split(|byte| *byte == b' ').next().unwrap_or_default();
    SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known))
}

/// Whether an answer says that its connection was or is to be authenticated.
pub(super) fn is_bound_by(answer: &HeaderMap) -> bool {
    // Most answers have no field that begins like one of these.
    let hints = |name: &HeaderName| matches!(name.as_str().as_bytes().first(), Some(b'w' | b'p'));
    answer.keys().any(hints) && says_so(answer)
}

fn says_so(answer: &HeaderMap) -> bool {
    answer.get_all(WWW_AUTHENTICATE).iter().any(names_scheme) || SIGNS.iter().any(|sign| answer.contains_key(sign))
}

/// Whether a scheme is named anywhere in a list of challenges. A word inside another challenge's text counts too: that
/// costs a connection, and reading challenges wrongly could cost more.
fn names_scheme(value: &HeaderValue) -> bool {
    let words = value.as_bytes().split(|byte| !byte.is_ascii_alphanumeric());
    words.into_iter().any(|word| SCHEMES.iter().any(|scheme| word.eq_ignore_ascii_case(scheme)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_are_found_in_every_case_and_list() {
        for (value, found) in [
            ("NTLM", true),
            ("ntlm TlRMTVNTUAAB", true),
            ("Negotiate", true),
            ("Negotiate oYG2MIGzoAMKAQChCwYJ", true),
            ("Bearer realm=\"a\", NEGOTIATE", true),
            ("Basic realm=\"x\",NTLM", true),
            ("Basic realm=\"negotiate\"", true),
            ("Basic realm=\"x\"", false),
            ("Bearer negotiated", false),
            ("", false),
        ] {
            let mut fields = HeaderMap::new();
            fields.insert(WWW_AUTHENTICATE, HeaderValue::from_static(value));
            assert_eq!(is_bound_by(&fields), found, "{value}");
        }
    }

    #[test]
    fn a_request_authenticates_its_connection_by_one_field_of_such_a_scheme() {
        for (values, does) in [
            (&["NTLM TlRMTVNTUAAB"][..], true),
            (&["negotiate oYG2"], true),
            (&["Bearer ntlm"], false),
            (&["Digest username=\"ntlm\""], false),
            (&["NTLMx a"], false),
            (&["NTLM a", "NTLM b"], false),
            (&["NTLM a", "Bearer b"], false),
            (&[], false),
        ] {
            let mut fields = HeaderMap::new();
            for value in values {
                fields.append(AUTHORIZATION, HeaderValue::from_static(value));
            }
            assert_eq!(authenticates(&fields), does, "{values:?}");
        }
    }

    #[test]
    fn a_server_may_say_so_by_other_fields_too() {
        for (name, found) in [("Proxy-Support", true), ("persistent-auth", true), ("authentication-info", false)] {
            let mut fields = HeaderMap::new();
            fields.insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static("x"));
            assert_eq!(is_bound_by(&fields), found, "{name}");
        }
    }
}
