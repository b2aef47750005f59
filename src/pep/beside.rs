//! Judging a request once more by another policy, beside the judgement that counts: what comes out is an opinion, of
//! which no permission can be made.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Request};

use super::standing::Surroundings;
use super::{
    Answer, Effort, Environment, ExtendedConnect, Given, Grounds, Outcome, Refusal, Verdict, reach, websocket,
};
use crate::model::Reason;
use crate::route::Application;
use crate::snapshot::Snapshot;
use crate::token::{Verified, Verify};

/// A copy of a request as it was before it was judged.
pub struct Overheard {
    head: Parts,
    form: Option<Bytes>,
    objects: Vec<Given>,
    surroundings: Surroundings,
    now: u64,
}

/// What a request cannot be judged without, and nobody has got for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lacking {
    /// The form in its body.
    Form,
    /// An object that has to be looked up.
    Object,
}

/// Why not: the reason, and its code with the subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct No {
    /// The reason.
    pub reason: Reason,
    /// The code with its subject, as the log has it.
    pub code: Box<str>,
}

/// What one policy says of a request.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// The application, once found.
    pub application: Option<Arc<Application>>,
    /// The id of the route, once found.
    pub route: Option<Arc<str>>,
    /// The principal's id, once found.
    pub principal: Option<Arc<str>>,
    /// What the token says, once verified.
    pub token: Option<Arc<Verified>>,
    /// Whether the request goes on, or is answered by the gateway itself with what it asked for: what the client sees.
    pub passes: bool,
    /// Why the rules say no, also where the request passes because its route only watches.
    pub no: Option<No>,
}

impl Overheard {
    /// A copy of a head that was not judged yet; `None` if it has more than so many bytes.
    pub fn of(head: &Parts, environment: Environment<'_>, most: usize) -> Option<Self> {
        if bytes_of(head) > most {
            return None;
        }
        let mut copy = Request::new(()).into_parts().0;
        copy.method.clone_from(&head.method);
        copy.uri.clone_from(&head.uri);
        copy.version = head.version;
        copy.headers.clone_from(&head.headers);
        if websocket::is_extended_connect(head) {
            copy.extensions.insert(ExtendedConnect);
        }
        Some(Self {
            head: copy,
            form: None,
            objects: Vec::new(),
            surroundings: Surroundings::of(environment),
            now: environment.now,
        })
    }

    /// The same with the form that was read to judge it, and the moment of that. What was looked up before is too old by
    /// then.
    pub fn with_form(&mut self, form: &Bytes, now: u64) {
        self.form = Some(form.clone());
        self.objects.clear();
        self.now = now;
    }

    /// The same with all objects that were looked up to judge it, and the moment of that.
    pub fn with_objects(&mut self, objects: &[Given], now: u64) {
        self.objects = objects.to_vec();
        self.now = now;
    }

    /// How many bytes it has, roughly.
    pub fn bytes(&self) -> usize {
        bytes_of(&self.head) + self.form.as_ref().map_or(0, Bytes::len)
    }

    /// The head.
    pub const fn head(&self) -> &Parts {
        &self.head
    }

    /// The moment as of which it is judged, in seconds since the Unix epoch.
    pub const fn now(&self) -> u64 {
        self.now
    }

    /// Takes the steps of [`authorize`](super::authorize). Where its token was refused already, for `refused`, that is not
    /// tried again where it would be looked for in the same places: a policy that asks for a token says the same.
    ///
    /// # Errors
    /// What it cannot be judged without.
    pub fn judge(
        mut self,
        snapshot: &Arc<Snapshot>,
        verifier: &impl Verify,
        refused: Option<(&No, &Application)>,
    ) -> Result<Judgement, Lacking> {
        let mut grounds = Grounds::none(snapshot);
        let environment = self.surroundings.at(self.now);
        let effort = refused.map_or(Effort::Verify, |(no, live)| Effort::Refused(no, &live.token));
        let asked = (&mut self.head, self.form.as_deref(), &*self.objects);
        match reach(snapshot, (verifier, effort), asked, environment, &mut grounds) {
            Ok(Outcome::Permitted | Outcome::Answered(_)) => Ok(Judgement::on(&grounds, None)),
            Ok(Outcome::FormNeeded) => Err(Lacking::Form),
            Ok(Outcome::ObjectNeeded(_)) => Err(Lacking::Object),
            Ok(Outcome::Unverified) => Ok(Judgement::on(&grounds, Some(&Refusal::of(Reason::Internal)))),
            Err(refusal) => Ok(Judgement::on(&grounds, Some(&refusal))),
        }
    }
}

/// How many bytes of a head came from the client, roughly.
fn bytes_of(head: &Parts) -> usize {
    let fields =
        |headers: &HeaderMap| headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
    head.uri.path().len() + head.uri.query().map_or(0, str::len) + fields(&head.headers)
}

impl fmt::Debug for Overheard {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The head has the token itself.
        out.debug_struct("Overheard").field("now", &self.now).finish_non_exhaustive()
    }
}

impl No {
    fn of(refusal: &Refusal) -> Self {
        Self { reason: refusal.reason, code: refusal.full_code().into() }
    }

    /// The refusal once more.
    pub(super) fn again(&self) -> Refusal {
        Refusal::repeated(self.reason, &self.code)
    }
}

impl Judgement {
    /// What the policy in force says of a request; `None` where nothing was judged.
    pub fn of(verdict: &Verdict) -> Option<Self> {
        match verdict {
            Verdict::Permitted(permitted) => Some(Self::on(permitted.grounds(), None)),
            Verdict::Answered { answer: Answer::Redirect(_), .. }
            | Verdict::FormNeeded { .. }
            | Verdict::ObjectNeeded { .. } => None,
            Verdict::Answered { grounds, .. } => Some(Self::on(grounds, None)),
            Verdict::Refused { refusal, grounds, .. } => Some(Self::on(grounds, Some(refusal))),
        }
    }

    fn on(grounds: &Grounds, refusal: Option<&Refusal>) -> Self {
        let watched = grounds.watched.as_ref().map(|watched| &*watched.refusal);
        Self {
            application: grounds.application.clone(),
            route: grounds.route.clone(),
            principal: grounds.principal.clone(),
            token: grounds.token.clone(),
            passes: refusal.is_none(),
            no: refusal.or(watched).map(No::of),
        }
    }

    /// Why the token itself was refused, before anything was known of it, and the application that looked for it.
    pub fn token_refused(&self) -> Option<(&No, &Application)> {
        let of_token = |no: &&No| matches!(no.reason, Reason::InvalidToken | Reason::KeysUnavailable);
        let no = self.no.as_ref().filter(|_| self.token.is_none()).filter(of_token)?;
        Some((no, self.application.as_deref()?))
    }
}

impl Verdict {
    /// The snapshot that judged.
    pub const fn snapshot(&self) -> &Arc<Snapshot> {
        let grounds = match self {
            Self::Permitted(permitted) => permitted.grounds(),
            Self::FormNeeded { grounds, .. }
            | Self::ObjectNeeded { grounds, .. }
            | Self::Answered { grounds, .. }
            | Self::Refused { grounds, .. } => grounds,
        };
        &grounds.snapshot
    }
}
