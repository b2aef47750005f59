//! Judging again, whole: what outlives its request's head (a tunnel, a stream of events) keeps that head, and may go on
//! only while it would still be let in.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::request::Parts;

use super::facts::Body;
use super::kept::Kept;
use super::objects::{self, Given};
use super::{Carrier, Environment, Grounds, Permitted, Refusal};
use super::{Outcome, credentials, judge, judge_again, origin, rewrite, shadow};
use crate::model::{ClientCertificate, Reason};
use crate::route::host::Host;
use crate::route::{Application, Mode};
use crate::snapshot::Snapshot;
use crate::token::{Verified, Verifier};

/// What a permission rested on. It says whether that still holds. No other permission can be made of it: it lets
/// through nothing but the same request once more, and that only judged again.
pub struct Standing {
    /// The head as it was judged: every field of it, and the target before any prefix of the upstream's.
    head: Kept,
    form: Option<Bytes>,
    objects: Vec<Given>,
    surroundings: Surroundings,
    token: Option<(Arc<Verified>, Carrier)>,
    websocket: bool,
    watched: bool,
    judged: bool,
    state: (u64, u64),
}

/// Whether the end of a token is the end of what it let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Unless the application keeps such streams: nothing else ends them.
    Counts,
    /// It was asked for in time, and comes to its own end.
    Passes,
}

/// What is kept of an environment.
pub(super) struct Surroundings {
    trusted_peer: bool,
    secure: bool,
    has_body: bool,
    server_name: Option<Arc<str>>,
    certificate: Option<Arc<ClientCertificate>>,
}

impl Surroundings {
    pub(super) fn of(environment: Environment<'_>) -> Self {
        let Environment { now: _, trusted_peer, secure, has_body, server_name, certificate } = environment;
        let (server_name, certificate) = (server_name.cloned(), certificate.cloned());
        Self { trusted_peer, secure, has_body, server_name, certificate }
    }

    pub(super) fn at(&self, now: u64) -> Environment<'_> {
        Environment {
            now,
            trusted_peer: self.trusted_peer,
            secure: self.secure,
            has_body: self.has_body,
            server_name: self.server_name.as_ref(),
            certificate: self.certificate.as_ref(),
        }
    }
}

/// What is left of a permission once a [`Standing`] has kept what was judged: what it takes to write the request that goes
/// on.
#[derive(Debug)]
pub struct Onward {
    /// The head that was judged, with the target as the upstream is to see it. Its fields are those of the client, of which
    /// not all may go on.
    pub head: Parts,
    /// The form that was read to judge it: to be sent in place of the body.
    pub form: Option<Bytes>,
    /// What it was permitted on.
    pub grounds: Grounds,
}

impl fmt::Debug for Standing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The head has the token itself.
        out.debug_struct("Standing").field("state", &self.state).finish_non_exhaustive()
    }
}

/// What of a snapshot says that it may judge otherwise than another one, keys and revocations apart.
pub fn state_of(snapshot: &Snapshot) -> (u64, u64) {
    (snapshot.serial, snapshot.domains.generation())
}

impl Standing {
    /// What this permission rests on, in the environment in which it was given, and what is left of it to go on.
    pub fn of(permitted: Permitted, environment: Environment<'_>) -> (Self, Onward) {
        let (head, form, mut grounds) = permitted.into_parts();
        let token = grounds.token.clone().zip(grounds.carrier);
        let standing = Self {
            head: Kept::of(&head, grounds.target.take()),
            form: form.clone(),
            objects: std::mem::take(&mut grounds.objects),
            surroundings: Surroundings::of(environment),
            token,
            websocket: grounds.websocket,
            watched: grounds.mode == Mode::Shadow,
            judged: true,
            state: state_of(&grounds.snapshot),
        };
        (standing, Onward { head, form, grounds })
    }

    /// What is known of a request that is not judged to its end: its token, and nothing else.
    pub fn of_token(token: &Arc<Verified>) -> Self {
        let surroundings =
            Surroundings { trusted_peer: false, secure: true, has_body: false, server_name: None, certificate: None };
        let token = Some((Arc::clone(token), Carrier::Authorization));
        Self {
            head: Kept::nothing(),
            form: None,
            objects: Vec::new(),
            surroundings,
            token,
            websocket: false,
            watched: false,
            judged: false,
            state: (1, 0),
        }
    }

    /// The same as if it had been judged, by these objects.
    #[cfg(test)]
    pub(crate) fn about(self, objects: Vec<Given>) -> Self {
        Self { objects, judged: true, ..self }
    }

    /// Whether it was judged to its end, so that it can be judged again.
    pub const fn is_judged(&self) -> bool {
        self.judged
    }

    /// The serial of the policy that let it in, and how often its principals had changed.
    pub const fn state(&self) -> (u64, u64) {
        self.state
    }

    /// The token that let it in.
    pub fn token(&self) -> Option<&Arc<Verified>> {
        self.token.as_ref().map(|(token, _)| token)
    }

    /// Whether it was let in where nothing is enforced, so that its token alone decides nothing.
    pub const fn is_watched(&self) -> bool {
        self.watched
    }

    /// When its token is not believed any more, in Unix seconds.
    pub fn expires(&self, verifier: &Verifier) -> Option<u64> {
        self.token().map(|token| verifier.expires(token))
    }

    /// Takes the steps of [`authorize`](super::authorize) once more, by the snapshot of now. The signature was
    /// verified; whether the token has expired counts as `expiry` says. `given` is what is known by
    /// now of the objects that it is about; another object than these is none that it may go on for.
    ///
    /// # Errors
    /// Why it may not go on.
    pub fn judge(
        &self,
        snapshot: &Arc<Snapshot>,
        verifier: &Verifier,
        (now, expiry): (u64, Expiry),
        given: &[Given],
    ) -> Result<(), Refusal> {
        self.grounds(&self.head.restored()?, (snapshot, verifier), (now, expiry), given).map(drop)
    }

    /// What was looked up to let it in.
    pub fn objects(&self) -> &[Given] {
        &self.objects
    }

    /// Whether all that was looked up to let it in is still believed at this moment.
    pub fn is_believed(&self, at: Instant) -> bool {
        self.objects.iter().all(|given| given.until.is_none_or(|until| at < until))
    }

    /// Judges as [`judge`](Self::judge) does, and says what it takes to send the same request once more.
    ///
    /// # Errors
    /// Why it may not be sent by now.
    pub fn once_more(&self, snapshot: &Arc<Snapshot>, verifier: &Verifier, now: u64) -> Result<Onward, Refusal> {
        let mut head = self.head.restored()?;
        let mut grounds = self.grounds(&head, (snapshot, verifier), (now, Expiry::Counts), &self.objects)?;
        let application = grounds.application.as_ref().ok_or_else(|| Refusal::of(Reason::Internal))?;
        grounds.target = rewrite::rewrite(&mut head, application)?;
        Ok(Onward { head, form: self.form.clone(), grounds })
    }

    fn grounds(
        &self,
        head: &Parts,
        (snapshot, verifier): (&Arc<Snapshot>, &Verifier),
        (now, expiry): (u64, Expiry),
        given: &[Given],
    ) -> Result<Grounds, Refusal> {
        let mut grounds = Grounds::none(snapshot);
        let environment = self.surroundings.at(now);
        let identify = |head: &Parts, application: &Application, host: &Host<'_>| {
            let (token, carrier) = self.token.as_ref().ok_or_else(|| Refusal::of(Reason::NoToken))?;
            // What was verified must still be what is found, and in such a place.
            let found = credentials::find(head, &application.token, environment.trusted_peer).map_err(Refusal::of)?;
            if found.1 != *carrier {
                return Err(Refusal::of(Reason::NoToken));
            }
            if *carrier != Carrier::Authorization {
                let cors = application.cors.as_ref();
                origin::check_page(head, host, cors, environment, *carrier).map_err(Refusal::of)?;
            }
            if expiry == Expiry::Counts && !application.keeps_expired {
                verifier.check_time(token, now)?;
            }
            Ok(Some((Arc::clone(token), *carrier)))
        };
        let current = |token: &Verified| judge_again(snapshot, verifier.issuers(), token, now);
        let body = match &self.form {
            Some(form) => Body::Read(form),
            None if environment.has_body => Body::Unread,
            None => Body::None,
        };
        let judged = judge(snapshot, (identify, current), Some(environment), (head, body, given), &mut grounds);
        match shadow::watch(judged, &mut grounds)? {
            Outcome::Permitted if grounds.websocket || !self.websocket => Ok(grounds),
            Outcome::Permitted => Err(Refusal::about(Reason::MethodForbidden, "websocket")),
            // The gateway answers for this path itself by now.
            Outcome::Answered(_) => Err(Refusal::of(Reason::NoRoute)),
            // Its token was verified.
            Outcome::Unverified => Err(Refusal::of(Reason::Internal)),
            // The policy asks for an object by now that nobody has looked up.
            Outcome::ObjectNeeded(_) => shadow::watch(Err(objects::not_looked_up()), &mut grounds).map(|_| grounds),
            // The policy reads a body by now that went on unread.
            Outcome::FormNeeded => {
                shadow::watch(Err(Refusal::about(Reason::ScopeMissing, "form")), &mut grounds).map(|_| grounds)
            }
        }
    }
}
