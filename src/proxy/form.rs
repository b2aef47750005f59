//! Reads the form that a decision waits for: whole, in bounded memory and time, and only after everything else about
//! its request has passed. hyper says `100 Continue` to a client that waits for it when the first piece is asked for.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use tokio::time::timeout;

use super::ledger::Ledger;
use super::{Worker, now_ms};
use crate::model::{Mode, Reason};
use crate::pep::{self, Environment, Grounds, Refusal, Standing, Verdict};

/// Reads the form of a request that waits for nothing else, and judges the whole by the snapshot of then. Who is
/// revoked in the meantime is not waited for.
pub(super) async fn judge(
    worker: &Rc<Worker>,
    (head, body): (Parts, &mut Incoming),
    grounds: Grounds,
    environment: Environment<'_>,
    ledger: &mut Ledger,
) -> Verdict {
    let enforced = grounds.token.as_ref().filter(|_| grounds.mode == Mode::Enforce);
    let place = enforced.map(|token| worker.running.enter(Standing::of_token(token)));
    let settings = &worker.gateway.settings;
    let read = read(body, settings.limits.form_bytes, settings.timeouts.client_body);
    let read = tokio::select! {
        biased;
        refusal = super::running::cut(place.as_ref()) => Err(refusal),
        read = read => read.map_err(Refusal::of),
    };
    drop(place);
    ledger.judges_again();
    let form = match read {
        Ok(form) => form,
        Err(refusal) => return Verdict::Refused { head, refusal, grounds },
    };
    let environment = Environment { now: now_ms() / 1000, ..environment };
    ledger.read_form(&form, environment.now);
    let verdict = pep::authorize_form(worker.reader.borrow_mut().load(), &worker.verifier, head, form, environment);
    ledger.judged_again();
    verdict
}

/// Whether a refusal is about a form that did not come to its end.
pub(super) const fn left_unread(refusal: &Refusal) -> bool {
    matches!(refusal.reason, Reason::FormTooLarge | Reason::BodyTimeout | Reason::BadBody | Reason::InvalidToken)
}

/// The whole body. A client that says beforehand that it is too long is not asked for it; one that says nothing is
/// stopped at the bound. `limit` is for all of it together, and so for each piece.
async fn read(body: &mut Incoming, most: usize, limit: Duration) -> Result<Bytes, Reason> {
    if body.size_hint().lower() > u64::try_from(most).unwrap_or(u64::MAX) {
        return Err(Reason::FormTooLarge);
    }
    timeout(limit, gather(body, most)).await.unwrap_or(Err(Reason::BodyTimeout))
}

async fn gather(body: &mut Incoming, most: usize) -> Result<Bytes, Reason> {
    // A copy: pieces lie in the connection's buffers, which are larger than a form.
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        // Trailers were not part of what is judged; they end here.
        let Ok(piece) = frame.map_err(|_| Reason::BadBody)?.into_data() else { continue };
        if whole.len() + piece.len() > most {
            return Err(Reason::FormTooLarge);
        }
        whole.extend_from_slice(&piece);
    }
    Ok(Bytes::from(whole))
}
