//! `/revoked`: what is revoked, and revoking. Every method needs the admin token, reading too: the list names people.

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::request::Parts;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body;
use serde_json::{Value, json};

use super::{Admin, Answer, json as answer, problem, saying, with};
use crate::reload::revoked::{Change, Found, Published, Refused, Source, moment_text, target_text};
use crate::token::Revocation;
use crate::token::revoked::{PrincipalName, Target};

/// Largest body in bytes: about ten thousand entries.
const BODY: usize = 1024 * 1024;
/// Most entries of one source that the list shows.
const SHOWN: usize = 1_000;

impl Admin {
    /// `GET /revoked`, `POST /revoked`, `DELETE /revoked`. What the latter takes back,
    /// [`Change::Remove`] says. The body of the latter two is read only once the call may
    /// go on.
    pub(super) async fn revoked<B>(&self, head: &Parts, body: B) -> Answer
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let change = match head.method {
            Method::POST => Some(Change::Add),
            Method::DELETE => Some(Change::Remove),
            _ => None,
        };
        let Some(change) = change else { return answer(StatusCode::OK, &self.list()) };
        let body = match Limited::new(body, BODY).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                let text = "the body is larger than 1 MiB: send the entries in several calls";
                return problem(StatusCode::PAYLOAD_TOO_LARGE, "too_large", text);
            }
            Err(_broken) => return problem(StatusCode::BAD_REQUEST, "bad_body", "the body broke off"),
        };
        match self.revoked.change(change, body).await {
            Some(Ok(published)) => saying(word(change), answer(StatusCode::OK, &done(change, &published))),
            Some(Err(refused)) => no(&refused),
            None => {
                let text = "too many calls are waiting already, or the process is ending";
                with(problem(StatusCode::SERVICE_UNAVAILABLE, "busy", text), RETRY_AFTER, "1")
            }
        }
    }

    /// `GET /revoked`: `{"generation": 3, "entries": 2, "sources": [...], "revoked": [...], "left_off": 0}`; an entry of
    /// `revoked` has the words of the file, and `source`. Of each source a thousand are shown; `left_off` counts the others.
    fn list(&self) -> Value {
        let sources = self.revoked.sources();
        let shown: Vec<Value> = sources
            .iter()
            .flat_map(|source| source.contents.entries.iter().take(SHOWN).map(|known| entry(source, known)))
            .collect();
        let mut body = summary(self);
        let entries: usize = sources.iter().map(|source| source.contents.list.entries()).sum();
        if let Value::Object(members) = &mut body {
            members.insert("left_off".to_owned(), json!(entries.saturating_sub(shown.len())));
            members.insert("revoked".to_owned(), Value::Array(shown));
        }
        body
    }
}

/// `revoked` of `GET /status`: `{"generation": 3, "entries": 2, "sources": [{"file": "revoked.yaml", "store": false,
/// "entries": 2, "read_at": 1, "failed": {"at": 2, "errors": 1}}]}`; `failed` is null unless the file differs from what is
/// in force because it cannot be used.
pub(super) fn summary(admin: &Admin) -> Value {
    let revoked = &admin.live.load().revoked;
    let source = |source: &Source| {
        let failed = source.failed.map(|failed| json!({ "at": failed.at, "errors": failed.errors }));
        json!({
            "file": source.path.display().to_string(),
            "store": source.is_store,
            "entries": source.contents.list.entries(),
            "read_at": source.contents.read_at,
            "failed": failed,
        })
    };
    let sources: Vec<Value> = admin.revoked.sources().iter().map(source).collect();
    json!({ "generation": revoked.generation(), "entries": revoked.entries(), "sources": sources })
}

fn entry(source: &Source, known: &Revocation) -> Value {
    let mut body = match &known.target {
        Target::Principal { tenant, name: PrincipalName::Oid(id), .. } => {
            json!({ "principal": { "tenant": &**tenant, "oid": id.to_string() } })
        }
        Target::Principal { tenant, name: PrincipalName::Subject(subject), .. } => {
            json!({ "principal": { "tenant": &**tenant, "subject": &**subject } })
        }
        Target::Token { id, tenant: Some((tenant, _)) } => json!({ "uti": &**id, "tenant": &**tenant }),
        Target::Token { id, tenant: None } => json!({ "uti": &**id }),
    };
    if let Value::Object(members) = &mut body {
        if let Target::Principal { issued_before: Some(moment), .. } = known.target {
            members.insert("issued_before".to_owned(), moment_text(moment).into());
        }
        if let Some(moment) = known.added_at {
            members.insert("added_at".to_owned(), moment_text(moment).into());
        }
        members.insert("source".to_owned(), source.path.display().to_string().into());
    }
    body
}

/// `{"outcome": word(change), "generation": 4, "added": 1, "known": 0, "spent": 0}` or
/// `{"outcome": word(change), "generation": 5, "removed": 1, "spent": 0}`; `spent` counts entries that were dropped because
/// no live token can fall under them.
fn done(change: Change, published: &Published) -> Value {
    let (generation, changed) = (published.generation, published.changed);
    match change {
        Change::Add => json!({
            "outcome": word(change),
            "generation": generation,
            "added": changed.added,
            "known": changed.known,
            "spent": changed.spent,
        }),
        Change::Remove => json!({
            "outcome": word(change),
            "generation": generation,
            "removed": changed.removed,
            "spent": changed.spent,
        }),
    }
}

const fn word(change: Change) -> &'static str {
    match change {
        Change::Add => "revoked",
        Change::Remove => "taken_back",
    }
}

fn fault(found: &Found) -> Value {
    json!({ "code": found.code, "message": found.message, "help": found.help })
}

fn not_in_store(missing: usize, near: &[Target]) -> String {
    let are = if missing == 1 { "is" } else { "are" };
    let what = format!("{missing} of these {are} not in the store");
    if near.is_empty() {
        return format!("{what}; entries of files are taken back in the files");
    }
    let near: Vec<String> = near.iter().map(|target| format!("`{}`", target_text(target))).collect();
    format!(
        "{what}, but it has {}: name an entry as it stands there, or leave `issued_before` or `tenant` out to take back all \
         of that principal or token",
        near.join(", ")
    )
}

/// A call that changed nothing.
fn no(refused: &Refused) -> Answer {
    match refused {
        Refused::NoStore => problem(
            StatusCode::CONFLICT,
            "no_store",
            "entries would be forgotten at the next start: set `revoked.store` in gateway.yaml and restart",
        ),
        Refused::NotJson(why) => problem(StatusCode::BAD_REQUEST, "not_json", &format!("the body is not JSON: {why}")),
        Refused::Faulty { errors, report, found } => saying(
            "rejected",
            answer(
                StatusCode::UNPROCESSABLE_ENTITY,
                &json!({
                    "error": "rejected",
                    "message": "the entries have faults; nothing was changed",
                    "errors": errors,
                    "report": report,
                    "found": found.iter().map(fault).collect::<Vec<_>>(),
                }),
            ),
        ),
        Refused::NotInStore { missing, near } => {
            problem(StatusCode::NOT_FOUND, "not_in_store", &not_in_store(*missing, near))
        }
        Refused::Full => problem(StatusCode::INSUFFICIENT_STORAGE, "store_full", "the store holds as much as it may"),
        Refused::Unreadable(report) => saying(
            "store_unreadable",
            answer(
                StatusCode::INTERNAL_SERVER_ERROR,
                &json!({
                    "error": "store_unreadable",
                    "message": "the store was changed by hand and has faults: repair it; nothing was changed",
                    "report": report,
                }),
            ),
        ),
        Refused::Unwritable(why) => {
            let text = format!("the store cannot be written, so nothing was changed: {why}");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "store_unwritable", &text)
        }
        Refused::Broken => {
            problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "changing the store broke; see the process log")
        }
    }
}
