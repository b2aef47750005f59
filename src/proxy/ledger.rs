//! The account of one request, kept while it runs and handed to telemetry exactly once: at its end, or wherever it is
//! dropped before that (the client went away, a panic).

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use http::header::{HOST, HeaderMap};
use http::{Method, StatusCode, Uri};
use tokio::time::Instant;

use super::body::Held;
use super::upload::{Upload, UploadFault};
use super::{Caller, Worker};
use crate::model::Reason;
use crate::pep::{Answer, Grounds, Refusal};
use crate::telemetry::RequestRecord;
use crate::token::Fault;

/// What nginx's logs call a client that went away before its answer began; no client ever sees it.
const CLIENT_GONE: u16 = 499;
/// The most bytes of a host or path that are kept; the log cuts at about the same length.
const KEPT_BYTES: usize = 1100;

/// The account of one request.
#[derive(Debug)]
pub(super) struct Ledger {
    worker: Rc<Worker>,
    record: Option<Box<RequestRecord>>,
    started: Instant,
    judged: Instant,
    upload: Option<Rc<Upload>>,
}

impl Ledger {
    /// Opens the account of a request that came in at `at` (milliseconds since the Unix epoch).
    pub(super) fn open(
        worker: &Rc<Worker>,
        (method, target, headers): (&Method, &Uri, &HeaderMap),
        caller: &Caller,
        at: u64,
    ) -> Self {
        let (host, path) = match worker.gateway.telemetry.logs_decisions() {
            true => (host(target, headers), bounded(target.path())),
            false => Default::default(),
        };
        let record = Box::new(RequestRecord {
            at,
            request_id: caller.id.clone(),
            method: method.clone(),
            host,
            path,
            client_certificate: caller.connection.certificate.as_ref().map(|shown| shown.name()),
            client: caller.client,
            ..RequestRecord::default()
        });
        Self {
            worker: Rc::clone(worker),
            record: Some(record),
            started: caller.started,
            judged: caller.started,
            upload: None,
        }
    }

    /// The request was judged, by whatever verdict.
    pub(super) fn judged(&mut self) {
        self.judged = Instant::now();
        let took = micros(self.started, self.judged);
        self.note(|record| record.decide_us = took);
    }

    /// Judging it goes on after its form was waited for; the wait is no part of it.
    pub(super) fn judges_again(&mut self) {
        self.judged = Instant::now();
    }

    /// It was judged for the second time.
    pub(super) fn judged_again(&mut self) {
        let began = std::mem::replace(&mut self.judged, Instant::now());
        let took = micros(began, self.judged);
        self.note(|record| record.decide_us += took);
    }

    /// So many bytes of its body were read to judge it.
    pub(super) fn read_form(&mut self, bytes: usize) {
        self.note(|record| record.bytes_in = bytes as u64);
    }

    /// It was judged on these grounds.
    pub(super) fn grounds(&mut self, grounds: &Grounds, allowed: bool) {
        self.note(|record| {
            record.serial = grounds.snapshot.serial;
            record.application = grounds.application.as_ref().map(|application| Arc::clone(&application.name));
            record.route.clone_from(&grounds.route);
            record.tenant = grounds.token.as_ref().map(|token| Arc::clone(&token.tenant));
            record.principal.clone_from(&grounds.principal);
            if let Some(token) = &grounds.token {
                record.caller = Some(token.class.word());
                record.client_id.clone_from(&token.client);
                record.token_id.clone_from(&token.token_id);
            }
            record.allowed = allowed;
        });
    }

    /// Its body goes to the upstream.
    pub(super) fn uploads(&mut self, upload: Option<Rc<Upload>>) {
        self.upload = upload;
    }

    /// How its body ended early, if it did.
    pub(super) fn upload_fault(&self) -> Option<UploadFault> {
        self.upload.as_ref().and_then(|upload| upload.fault())
    }

    /// Since when the upstream could have answered; `None` while the client is to send more.
    pub(super) fn upstream_waits_since(&self, sent: Instant) -> Option<Instant> {
        match &self.upload {
            None => Some(sent),
            Some(upload) => upload.upstream_waits_since().map(|since| since.max(sent)),
        }
    }

    /// This server is tried.
    pub(super) fn tries(&mut self, server: &Arc<str>) {
        self.note(|record| record.upstream = Some(Arc::clone(server)));
    }

    /// The upstream's part is over so far: its head is there, or it failed.
    pub(super) fn answered(&mut self, status: Option<StatusCode>) {
        let took = micros(self.judged, Instant::now()).max(1);
        self.note(|record| {
            record.upstream_us = took;
            record.status = status.map_or(0, |status| status.as_u16());
        });
    }

    /// The gateway says no, with `bytes` of body.
    pub(super) fn refused(&mut self, refusal: &Refusal, bytes: usize) {
        self.note(|record| {
            record.status = refusal.reason.status();
            record.reason_code = Some(code(refusal));
            record.reason = Some(refusal.full_code().to_owned());
            record.token_fault = refusal.token_fault.map(Fault::word);
            record.right = refusal.right().map(str::to_owned);
            record.scope = refusal.scope().map(str::to_owned);
            record.bytes_out = bytes as u64;
        });
    }

    /// The gateway itself answered, with `bytes` of body.
    pub(super) fn answered_here(&mut self, answer: &Answer, status: StatusCode, bytes: usize) {
        self.note(|record| {
            record.status = status.as_u16();
            record.reason_code = Some(Cow::Borrowed(answer.word()));
            record.bytes_out = bytes as u64;
        });
    }

    /// The answer broke off after its head was sent.
    pub(super) fn broken(&mut self, reason: Reason) {
        self.note(|record| record.reason_code = Some(Cow::Borrowed(reason.code())));
    }

    /// The answer was ended for this, after its head was sent.
    pub(super) fn cut(&mut self, refusal: &Refusal) {
        self.note(|record| {
            record.reason_code = Some(code(refusal));
            record.reason = Some(refusal.full_code().to_owned());
        });
    }

    /// The worker looks after this answer from now on.
    pub(super) fn look_after(&self, held: &Rc<Held>) {
        self.worker.streams.add(held);
    }

    /// A tunnel ended so.
    pub(super) fn ended(&mut self, word: &'static str) {
        self.note(|record| record.reason_code = Some(Cow::Borrowed(word)));
    }

    /// A tunnel carried so many bytes from the client and to it.
    pub(super) fn carried(&mut self, from_client: u64, to_client: u64) {
        self.note(|record| (record.bytes_in, record.bytes_out) = (from_client, to_client));
    }

    /// So many more bytes of the answer are on their way.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.note(|record| record.bytes_out += bytes as u64);
    }

    /// Hands the record over. What is noted later is lost, so this comes last.
    pub(super) fn close(&mut self) {
        let Some(mut record) = self.record.take() else { return };
        if let Some(upload) = &self.upload {
            record.bytes_in = upload.bytes();
        }
        if record.status == 0 {
            if std::thread::panicking() {
                record.status = Reason::Internal.status();
                record.reason_code = Some(Cow::Borrowed(Reason::Internal.code()));
            } else {
                record.status = CLIENT_GONE;
            }
        }
        record.total_us = micros(self.started, Instant::now());
        self.worker.gateway.telemetry.emit(record);
    }

    fn note(&mut self, write: impl FnOnce(&mut RequestRecord)) {
        if let Some(record) = &mut self.record {
            write(record);
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.close();
    }
}

/// Only requirements name codes of their own; all others are written in the program.
fn code(refusal: &Refusal) -> Cow<'static, str> {
    match refusal.reason {
        Reason::Requirement => Cow::Owned(refusal.code().to_owned()),
        reason => Cow::Borrowed(reason.code()),
    }
}

fn micros(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_micros()).unwrap_or(u64::MAX)
}

fn host(target: &Uri, headers: &HeaderMap) -> Box<str> {
    let written = match target.authority() {
        Some(authority) => authority.as_str(),
        None => headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or_default(),
    };
    bounded(written)
}

fn bounded(text: &str) -> Box<str> {
    let mut end = text.len().min(KEPT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().into()
}
