//! Permission as a type: the only key to the forwarder, and only this layer can make one.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Uri};

use super::{Carrier, Given, Watched};
use crate::route::{Application, Mode, Trailers};
use crate::snapshot::Snapshot;
use crate::token::Verified;

/// The permission to forward one request. The head that was judged lives inside it, and the body if that was judged, so
/// what is forwarded is what was judged. It cannot be made outside this layer:
///
/// ```compile_fail,E0451
/// # fn forge(head: http::request::Parts, grounds: portcullis::pep::Grounds) -> portcullis::pep::Permitted {
/// portcullis::pep::Permitted { head, form: None, grounds }
/// # }
/// ```
///
/// nor copied once it was used:
///
/// ```compile_fail,E0382
/// # fn twice(permitted: portcullis::pep::Permitted) {
/// let first = permitted.into_parts();
/// let second = permitted.into_parts();
/// # }
/// ```
#[derive(Debug)]
pub struct Permitted {
    head: Parts,
    form: Option<Bytes>,
    grounds: Grounds,
}

impl Permitted {
    /// For [`super::authorize`] alone.
    pub(super) const fn new(head: Parts, form: Option<Bytes>, grounds: Grounds) -> Self {
        Self { head, form, grounds }
    }

    /// What it was given on.
    pub const fn grounds(&self) -> &Grounds {
        &self.grounds
    }

    /// Uses the permission up: the judged head, the body if it was read to be judged, which is then to be sent and
    /// nothing else, and what is known of the request. The head has exactly one `Host`, the one that was judged.
    pub fn into_parts(self) -> (Parts, Option<Bytes>, Grounds) {
        (self.head, self.form, self.grounds)
    }
}

/// What is known of a request once it was judged: for the log, and for what the backend is told.
#[derive(Clone, Debug)]
pub struct Grounds {
    /// The snapshot that judged.
    pub snapshot: Arc<Snapshot>,
    /// The application, once found.
    pub application: Option<Arc<Application>>,
    /// The id of the route, once found.
    pub route: Option<Arc<str>>,
    /// Whether what is decided is done: by the route, or by the application where no route was found.
    pub mode: Mode,
    /// Set where the request goes on only because nothing is enforced.
    pub watched: Option<Watched>,
    /// What may come behind the bodies of the exchange: what that route says, and nothing before it is found.
    pub trailers: Trailers,
    /// The target as it was judged, where its upstream wants another one.
    pub(super) target: Option<Uri>,
    /// Whether the head came with the `Host` that was judged in its canonical form.
    pub(super) settled: bool,
    /// Whether it asks for a WebSocket, in whatever form. Of a permitted request.
    pub asks_for_websocket: bool,
    /// Whether it is the handshake of a WebSocket that the route lets pass.
    pub websocket: bool,
    /// What the token says, once verified.
    pub token: Option<Arc<Verified>>,
    /// Where that token stood.
    pub carrier: Option<Carrier>,
    /// The origin of the web page that asks, where `cors` of the application admits it.
    pub origin: Option<HeaderValue>,
    /// What was looked up to judge it.
    pub(super) objects: Vec<Given>,
    /// The principal's id, once found.
    pub principal: Option<Arc<str>>,
    /// The names of the principal's groups, sorted. Of a permitted request whose application asks for them, and of one
    /// that is watched.
    pub groups: Option<Arc<[Arc<str>]>>,
    /// The scope nodes in which the right that the route asks for is held, as [`crate::policy::held_scopes`] finds
    /// them. Of a permitted request whose application asks for them; `None` also where no list would be exact.
    pub scopes: Option<Box<[Arc<str>]>>,
}

impl Grounds {
    /// What is known before anything was looked at.
    pub(super) fn none(snapshot: &Arc<Snapshot>) -> Self {
        Self {
            snapshot: Arc::clone(snapshot),
            application: None,
            route: None,
            mode: Mode::Enforce,
            watched: None,
            trailers: Trailers::default(),
            settled: false,
            asks_for_websocket: false,
            websocket: false,
            target: None,
            token: None,
            carrier: None,
            origin: None,
            objects: Vec::new(),
            principal: None,
            groups: None,
            scopes: None,
        }
    }
}
