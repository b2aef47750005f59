//! What answers say to browsers about web pages of other origins (the CORS protocol of the Fetch standard).

use std::sync::Arc;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, HeaderMap, HeaderName,
    HeaderValue, VARY,
};

use crate::pep::Grounds;
use crate::route::Application;

/// Which web page may read the answer to a request, if its application says anything about that.
#[derive(Clone, Debug, Default)]
pub(super) struct Readers(Option<(Arc<Application>, Option<HeaderValue>)>);

impl Readers {
    /// The readers of the answer to a judged request.
    pub(super) fn of(grounds: &Grounds) -> Self {
        let application = grounds.application.as_ref().filter(|application| application.cors.is_some());
        Self(application.map(|application| (Arc::clone(application), grounds.origin.clone())))
    }

    /// Writes them into an answer, in place of what a backend says about the matter.
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        let Some((application, origin)) = &self.0 else { return };
        let Some(cors) = &application.cors else { return };
        let said = headers.keys().filter(|name| name.as_str().starts_with("access-control-"));
        let said: Vec<HeaderName> = said.cloned().collect();
        for name in said {
            headers.remove(name);
        }
        vary(headers, "Origin");
        let Some(origin) = origin else { return };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if cors.credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        if let Some(expose) = &cors.expose {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
        }
    }

    /// Writes what a preflight asks for beside that.
    pub(super) fn tell_preflight(&self, headers: &mut HeaderMap) {
        self.tell(headers);
        headers.remove(ACCESS_CONTROL_EXPOSE_HEADERS);
        let Some(cors) = self.0.as_ref().and_then(|(application, _)| application.cors.as_ref()) else { return };
        vary(headers, "Access-Control-Request-Method");
        vary(headers, "Access-Control-Request-Headers");
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, cors.allow_methods.clone());
        if let Some(allowed) = &cors.allow_headers {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed.clone());
        }
        headers.insert(ACCESS_CONTROL_MAX_AGE, cors.max_age.clone());
    }
}

/// Adds a name to `Vary` (RFC 9110 section 12.5.5) unless it is covered.
fn vary(headers: &mut HeaderMap, name: &'static str) {
    let covers = |line: &HeaderValue| {
        line.as_bytes()
            .split(|byte| *byte == b',')
            .map(<[u8]>::trim_ascii)
            .any(|listed| listed == b"*" || listed.eq_ignore_ascii_case(name.as_bytes()))
    };
    if !headers.get_all(VARY).iter().any(covers) {
        headers.append(VARY, HeaderValue::from_static(name));
    }
}
