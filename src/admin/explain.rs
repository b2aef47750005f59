//! `GET /explain`: why what is live allows or denies a request.

use http::StatusCode;
use http::request::Parts;
use serde_json::Value;
use tokio::sync::mpsc;

use super::query::Query;
use super::unanswered::unanswered;
use super::{Admin, Answer, json, problem, text};
use crate::diag::{Place, Report};
use crate::document::Located;
use crate::pep::{Given, Wanted};
use crate::policy::Missed;
use crate::proxy::objects::Objects;
use crate::reload::ask::{About, Known, Unanswered};
use crate::review::print::{self, Format};
use crate::review::{self, Asker, BadRequest, Claims, Request, Said};
use crate::token::Class;

const ONCE: [&str; 8] = ["format", "method", "host", "path", "principal", "tenant", "client", "class"];
const OFTEN: [&str; 7] = ["header", "form", "object", "setting", "audience", "app_role", "token_group"];

/// The most objects that one question is about: its path may be read in several ways.
const MOST_OBJECTS: usize = 4;

/// What is asked.
struct Question {
    request: Request,
    settings: Vec<(String, String)>,
    /// Whether people are to read it.
    in_words: bool,
}

/// What came of it.
enum Explained {
    Said(Box<Value>),
    Told(String),
    /// The request cannot be tried.
    Bad(BadRequest),
    /// What is live judges it so, and the documents another way.
    Otherwise(String),
}

impl Admin {
    /// What `portcullis explain` says, of what is live.
    pub(super) async fn explain(&self, head: &Parts) -> Answer {
        let question = match Question::read(head.uri.query().unwrap_or_default()) {
            Ok(question) => question,
            Err(message) => return problem(StatusCode::BAD_REQUEST, "bad_query", &message),
        };
        let about = match &question.request.asker {
            Asker::Nobody => About::Named(Vec::new()),
            Asker::Bearer(id, _) => About::Named(vec![id.clone()]),
        };
        let (ask, asked) = mpsc::channel(1);
        let answer = move |known| question.explained(known, &LookUp(ask));
        let answered = self.reload.question(self.live.load(), about, answer);
        let explained = tokio::select! {
            biased;
            explained = answered => explained,
            () = look_up(&*self.objects, asked) => Err(Unanswered::Broken),
        };
        match explained {
            Err(why) => unanswered(why),
            Ok(Explained::Said(said)) => json(StatusCode::OK, &said),
            Ok(Explained::Told(told)) => text(Format::Text.media_type(), told),
            Ok(Explained::Bad(bad)) => problem(StatusCode::BAD_REQUEST, "bad_request", &bad.to_string()),
            Ok(Explained::Otherwise(verdict)) => {
                let text = format!(
                    "by now, what is live says `{verdict}`, and its documents with the rows of a moment ago something else: ask again"
                );
                problem(StatusCode::CONFLICT, "judged_otherwise", &text)
            }
        }
    }
}

/// An object to be looked up, and whoever waits for it.
type Job = (Wanted, std::sync::mpsc::SyncSender<Given>);

/// Has objects looked up for a thread that can wait.
struct LookUp(mpsc::Sender<Job>);

impl LookUp {
    fn one(&self, wanted: &Wanted) -> Said {
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        // Whoever asked may have gone away.
        let sent = self.0.blocking_send((wanted.clone(), tell)).ok();
        sent.and_then(|()| told.recv().ok()).map_or(Err(Missed::Unavailable("late")), |given| given.found)
    }
}

/// Looks up one after the other, for as long as it is asked to. Comes to no end: whoever asks has one.
async fn look_up(objects: &dyn Objects, mut asked: mpsc::Receiver<Job>) {
    while let Some((wanted, tell)) = asked.recv().await {
        let given = match objects.recall(&wanted) {
            Some(known) => known,
            None => objects.look_up(wanted).await,
        };
        // There is room for the only one.
        let _ = tell.try_send(given);
    }
    std::future::pending().await
}

impl Question {
    fn read(query: &str) -> Result<Self, String> {
        let query = Query::read(query, &ONCE, &OFTEN)?;
        let [method, host, path] = ["method", "host", "path"].map(|name| query.needed(name));
        let (method, host, path) = (method?, host?, path?);
        if host.is_empty() || host.contains(['/', '?', ' ']) || method.contains(' ') || !path.starts_with('/') {
            return Err("write `method=GET&host=app.example.org&path=/orders/7`".to_owned());
        }
        let class = match query.value("class") {
            None => None,
            Some(word) => {
                let found = [Class::User, Class::App].into_iter().find(|class| class.word() == word);
                Some(found.ok_or("`class` is `user` or `app`")?)
            }
        };
        let single = (query.value("tenant"), query.value("client"), class);
        let [audiences, roles, groups] = ["audience", "app_role", "token_group"].map(|name| query.values(name));
        let claims = Claims::asked(single, (&audiences, &roles, &groups));
        let asker = match query.value("principal") {
            Some(id) => Asker::Bearer(id, claims),
            None if claims == Claims::default() => Asker::Nobody,
            None => return Err("what a token says needs a `principal` who has it".to_owned()),
        };
        let headers = query.trimmed_pairs("header", ':')?;
        let request = Request::parse(&format!("{method} https://{host}{path}"), headers, asker);
        let request = request.map_err(|bad| bad.to_string())?.with_form(query.pairs("form", '=')?);
        let request = request.with_objects(&query.values("object")).map_err(|bad| bad.to_string())?;
        let in_words = match query.value("format").as_deref() {
            None | Some("json") => false,
            Some("text") => true,
            Some(_) => return Err("`format` is `json` or `text`".to_owned()),
        };
        Ok(Self { request, settings: query.trimmed_pairs("setting", '=')?, in_words })
    }

    fn explained(self, known: Known, look_up: &LookUp) -> Explained {
        self.of(known, look_up).unwrap_or_else(Explained::Bad)
    }

    fn of(mut self, known: Known, look_up: &LookUp) -> Result<Explained, BadRequest> {
        let Known { mut policy, tables, texts } = known;
        if !self.settings.is_empty() {
            // Settings of a question stand nowhere; they are looked up by name only.
            let place = Place { source: Report::new().add_source("setting", ""), start: 0, end: 0 };
            let named = |(name, value): &(String, String)| (Located::new(place, name.clone()), review::literal(value));
            let settings: Vec<_> = self.settings.iter().map(named).collect();
            policy = policy.with_settings(&settings, None)?;
        }
        // What somebody says of objects is all that is known of them.
        let most = if self.request.objects.is_empty() { MOST_OBJECTS } else { 0 };
        for _ in 0..most {
            let explained = policy.take_apart(&self.request)?;
            let Some(wanted) = explained.wanted() else { break };
            let said = look_up.one(&wanted);
            drop(explained);
            self.request.objects.push((format!("{}:{}", wanted.kind, wanted.key), said));
        }
        let request = &self.request;
        let explained = policy.explain(request)?;
        let said = if self.in_words {
            Explained::Told(print::explanation(&texts, request, &explained))
        } else {
            Explained::Said(Box::new(review::json::explanation(&texts, request, &explained)))
        };
        let judged = (explained.tried.code().map(str::to_owned), explained.tried.grounds.mode);
        if self.settings.is_empty() {
            // The tables that requests are judged by have the last word.
            let tried = request.try_on(&policy.judged_by(tables))?;
            if (tried.code(), tried.grounds.mode) != (judged.0.as_deref(), judged.1) {
                return Ok(Explained::Otherwise(tried.code().unwrap_or("allowed").to_owned()));
            }
        }
        Ok(said)
    }
}
