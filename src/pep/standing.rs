//! Judging again, whole: what outlives its request's head (a tunnel, a stream of events) keeps that head, and may go on only
//! while it would still be let in.

use std::fmt;
use std::sync::Arc;

use http::Request;
use http::request::Parts;

use super::{Carrier, Environment, ExtendedConnect, Grounds, Permitted, Refusal};
use super::{judge, judge_again, origin, websocket};
use crate::model::Reason;
use crate::route::Application;
use crate::route::host::Host;
use crate::snapshot::Snapshot;
use crate::token::{Verified, Verifier};

/// What a permission rested on. It says whether that still holds and lets nothing through: no permission can be made of it.
pub struct Standing {
    head: Parts,
    environment: Environment,
    token: Option<(Arc<Verified>, Carrier)>,
    websocket: bool,
    serial: u64,
}

impl fmt::Debug for Standing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The head has the token itself.
        out.debug_struct("Standing").field("serial", &self.serial).finish_non_exhaustive()
    }
}

impl Standing {
    /// What this permission rests on, in the environment in which it was given.
    pub fn of(permitted: &Permitted, environment: Environment) -> Self {
        let (judged, grounds) = permitted.parts();
        let mut head = Request::new(()).into_parts().0;
        head.method.clone_from(&judged.method);
        head.uri.clone_from(&judged.uri);
        head.version = judged.version;
        head.headers.clone_from(&judged.headers);
        if websocket::is_extended_connect(judged) {
            head.extensions.insert(ExtendedConnect);
        }
        let token = grounds.token.clone().zip(grounds.carrier);
        Self { head, environment, token, websocket: grounds.websocket, serial: grounds.snapshot.serial }
    }

    /// What would be kept of a request with this token and nothing else.
    #[cfg(test)]
    pub(crate) fn of_token(token: &Arc<Verified>) -> Self {
        let environment = Environment { now: 0, trusted_peer: false, secure: true };
        let token = Some((Arc::clone(token), Carrier::Authorization));
        Self { head: Request::new(()).into_parts().0, environment, token, websocket: false, serial: 1 }
    }

    /// The serial of the policy that let it in.
    pub const fn serial(&self) -> u64 {
        self.serial
    }

    /// The token that let it in.
    pub fn token(&self) -> Option<&Arc<Verified>> {
        self.token.as_ref().map(|(token, _)| token)
    }

    /// When its token is not believed any more, in Unix seconds.
    pub fn expires(&self, verifier: &Verifier) -> Option<u64> {
        self.token().map(|token| verifier.expires(token))
    }

    /// Takes the steps of [`authorize`](super::authorize) once more, by the snapshot of now. The signature was verified; whether
    /// the token has expired counts unless the application keeps such streams.
    ///
    /// # Errors
    /// Why it may not go on.
    pub fn judge(&self, snapshot: &Arc<Snapshot>, verifier: &Verifier, now: u64) -> Result<(), Refusal> {
        let mut grounds = Grounds::none(snapshot);
        let environment = Environment { now, ..self.environment };
        let identify = |head: &Parts, application: &Application, host: &Host<'_>| {
            let (token, carrier) = self.token.as_ref().ok_or_else(|| Refusal::of(Reason::NoToken))?;
            let looked_for = match carrier {
                Carrier::Authorization => application.token.bearer,
                Carrier::Cookie => !application.token.cookies.is_empty(),
                Carrier::Header => !application.token.headers.is_empty(),
            };
            if !looked_for {
                return Err(Refusal::of(Reason::NoToken));
            }
            if *carrier != Carrier::Authorization {
                let cors = application.cors.as_ref();
                origin::check_page(head, host, cors, environment, *carrier).map_err(Refusal::of)?;
            }
            if !application.keeps_expired {
                verifier.check_time(token, now)?;
            }
            Ok((Arc::clone(token), *carrier))
        };
        let current = |token: &Verified| judge_again(snapshot, verifier.issuers(), token, now);
        match judge(snapshot, (identify, current), &self.head, &mut grounds)? {
            None if grounds.websocket || !self.websocket => Ok(()),
            None => Err(Refusal::about(Reason::MethodForbidden, "websocket")),
            // The gateway answers for this path itself by now.
            Some(_) => Err(Refusal::of(Reason::NoRoute)),
        }
    }
}
