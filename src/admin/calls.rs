//! Calls that need the admin token: how many are taken, who made them, and what came of them.
//!
//! A try without the token is counted before anybody looks at it, by where it comes from: who guesses can soon guess no
//! more, and locks nobody out who calls from elsewhere. Calls with the token are counted all together.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{AUTHORIZATION, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use hyper::body::Body;

use super::pages::Guarded;
use super::{Admin, Answer, Said, problem, token, with};
use crate::model::ClientCertificate;
use crate::proxy::{ClientNetwork, Limiter, Rate};
use crate::reload::now;

/// Calls with the token, all together; and tries without it, by where they come from.
const EACH_SECOND: u32 = 5;
const AT_ONCE: u32 = 20;
/// Sets of eight accounts of those who try without the token.
const SETS: usize = 64;

/// Who makes a call.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// The address that it comes from.
    pub(super) address: SocketAddr,
    /// The certificate that was shown, of an authority of the listener's `client_ca`.
    pub(super) certificate: Option<Arc<ClientCertificate>>,
}

impl fmt::Display for Caller {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(out)?;
        match &self.certificate {
            Some(certificate) => write!(out, " ({})", certificate.name().escape_debug()),
            None => Ok(()),
        }
    }
}

/// Who makes the call with this head.
pub(super) fn caller(head: &Parts) -> Option<&Caller> {
    head.extensions.get()
}

/// How many calls are taken.
#[derive(Debug)]
pub struct Calls {
    good: Limiter<()>,
    bad: Limiter<ClientNetwork>,
    /// Whether it was said that there are too many, so that a flood of calls is none of lines.
    told: AtomicBool,
}

impl Default for Calls {
    fn default() -> Self {
        let positive = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let rate = Rate { requests: positive(EACH_SECOND), per: Duration::from_secs(1), burst: positive(AT_ONCE) };
        Self { good: Limiter::new(rate, 1), bad: Limiter::new(rate, SETS), told: AtomicBool::new(false) }
    }
}

impl Admin {
    /// Answers a call that needs the token, if it is carried, and says so in the log. All pages that need it are answered
    /// through here.
    pub(super) async fn call<B>(&self, (path, page): (&str, Guarded), head: &Parts, body: B) -> Answer
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (by, method) = (Name(caller(head)), &head.method);
        let answer = match self.refused(head).await {
            Ok(()) => self.guarded(page, head, body).await,
            Err(Refused::TooMany(seconds)) => {
                if !self.calls.told.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%by, %method, path, "too many calls of operators, those above the bound are refused");
                }
                return too_many(seconds);
            }
            Err(Refused::Token(fault)) => no_token(fault),
            Err(Refused::Certificate) => {
                let text = "the certificate is none of `admin.operators`, or has ended, and there is no token";
                problem(StatusCode::FORBIDDEN, "not_an_operator", text)
            }
            Err(Refused::Broken) => {
                problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the token could not be checked")
            }
        };
        self.calls.told.store(false, Ordering::Relaxed);
        let (status, outcome) = (answer.status(), answer.extensions().get().map_or("done", |Said(word)| word));
        // What only reads is worth a line, too: these pages tell who has what.
        if status.is_success() {
            tracing::info!(%by, %method, path, status = status.as_u16(), outcome, "call of an operator");
        } else {
            tracing::warn!(%by, %method, path, status = status.as_u16(), outcome, "call of an operator");
        }
        answer
    }

    /// Whether a call may go on.
    async fn refused(&self, head: &Parts) -> Result<(), Refused> {
        let address = caller(head).map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |caller| caller.address.ip());
        let from = ClientNetwork::from(address);
        let shown = caller(head).and_then(|caller| caller.certificate.as_deref());
        if shown.is_some_and(|certificate| self.is_operator(certificate)) {
            return self.calls.good.count(&()).map_err(Refused::TooMany);
        }
        self.calls.bad.count(&from).map_err(Refused::TooMany)?;
        let file = self.token_file.clone();
        let authorization = head.headers.get_all(AUTHORIZATION).iter().cloned().collect();
        // Reading the file may block, and it is read each time so that the token can be changed.
        let checked = tokio::task::spawn_blocking(move || token::check(file.as_deref(), authorization)).await;
        checked.map_err(|_panicked_or_cancelled| Refused::Broken)?.map_err(|fault| match (fault, shown) {
            (token::Fault::NotConfigured | token::Fault::Absent, Some(_)) => Refused::Certificate,
            (fault, _) => Refused::Token(fault),
        })?;
        self.calls.bad.take_back(&from);
        self.calls.good.count(&()).map_err(Refused::TooMany)
    }

    /// Whether a certificate counts like the token. A session that is resumed may bring one along that has ended.
    fn is_operator(&self, certificate: &ClientCertificate) -> bool {
        let named = self.operators.is_empty() || self.operators.iter().any(|name| certificate.names.contains(name));
        named && certificate.is_valid_at(now())
    }
}

/// Why a call goes no further.
enum Refused {
    /// After how many seconds the next may come.
    TooMany(u64),
    Token(token::Fault),
    /// There is a certificate instead, and it is no operator's.
    Certificate,
    Broken,
}

fn too_many(seconds: u64) -> Answer {
    let text = "more calls than the gateway takes of operators; wait as long as `Retry-After` says";
    let mut answer = problem(StatusCode::TOO_MANY_REQUESTS, "rate_limited", text);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    answer
}

fn no_token(fault: token::Fault) -> Answer {
    match fault {
        token::Fault::NotConfigured | token::Fault::Unusable => {
            problem(StatusCode::FORBIDDEN, fault.code(), fault.text())
        }
        token::Fault::Absent | token::Fault::Wrong => {
            let answer = problem(StatusCode::UNAUTHORIZED, fault.code(), fault.text());
            with(answer, WWW_AUTHENTICATE, "Bearer realm=\"portcullis admin\"")
        }
    }
}

/// Whoever calls, as the log has it.
struct Name<'c>(Option<&'c Caller>);

impl fmt::Display for Name<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(caller) => caller.fmt(out),
            None => out.write_str("-"),
        }
    }
}
