//! `GET /report`: who can do what, where, by what is live.

use std::io::{self, Write};

use http::StatusCode;
use http::request::Parts;

use super::query::Query;
use super::unanswered::unanswered;
use super::{Admin, Answer, problem, text};
use crate::model::Level;
use crate::reload::ask::{About, Known};
use crate::reload::now;
use crate::review::print::{self, Format};
use crate::review::report::{Asker, Filter, Glob, Report, UnknownName};

/// The largest report in bytes.
const LARGEST: usize = 4 << 20;

/// What is reported.
#[derive(Clone, Copy)]
enum Kind {
    Modules,
    Scopes,
    Objects,
    Principal,
    Right,
}

/// Each with its name, the parameters that belong to it, and the one that it needs.
const KINDS: [(&str, Kind, &[&str], Option<&str>); 5] = [
    ("modules", Kind::Modules, &["at", "right", "principal", "group", "level", "only_held"], None),
    ("scopes", Kind::Scopes, &["right", "scope", "principal", "group", "level", "only_held"], None),
    ("objects", Kind::Objects, &["right", "kind", "object", "principal", "group", "level", "only_held"], None),
    ("principal", Kind::Principal, &["principal"], Some("principal")),
    ("right", Kind::Right, &["right", "principal", "group", "level", "only_held"], Some("right")),
];
/// Those of all of them.
const COMMON: [&str; 3] = ["report", "domain", "format"];

/// What is asked.
struct Question {
    kind: Kind,
    query: Query,
    level: Option<Level>,
    only_held: bool,
    format: Format,
}

/// What came of it.
enum Made {
    Report(Vec<u8>),
    Unknown(UnknownName),
    TooLarge,
}

impl Admin {
    /// What `portcullis report KIND` says, of what is live.
    pub(super) async fn report(&self, head: &Parts) -> Answer {
        let question = match Question::read(head.uri.query().unwrap_or_default()) {
            Ok(question) => question,
            Err(message) => return problem(StatusCode::BAD_REQUEST, "bad_query", &message),
        };
        let (about, media_type) = (question.about(), question.format.media_type());
        let made = self.reload.question(self.live.load(), about, move |known| question.made(&known)).await;
        match made {
            Err(why) => unanswered(why),
            Ok(Made::Report(report)) => text(media_type, report),
            Ok(Made::Unknown(UnknownName { message, help })) => {
                let help = help.map(|help| format!("; {help}")).unwrap_or_default();
                problem(StatusCode::BAD_REQUEST, "bad_request", &format!("{message}{help}"))
            }
            Ok(Made::TooLarge) => {
                let text =
                    "the report is larger than 4 MiB: choose less of it, or ask `portcullis report` with the files";
                problem(StatusCode::UNPROCESSABLE_ENTITY, "too_large", text)
            }
        }
    }
}

impl Question {
    fn read(query: &str) -> Result<Self, String> {
        let all: Vec<&str> = KINDS.iter().flat_map(|(.., names, _)| *names).copied().chain(COMMON).collect();
        let query = Query::read(query, &all, &[])?;
        let word = query.needed("report")?;
        let Some((name, kind, names, needed)) = KINDS.iter().find(|(name, ..)| *name == word) else {
            return Err(format!("`report` is one of {}", KINDS.map(|(name, ..)| name).join(", ")));
        };
        let belongs = |name: &&&str| names.contains(*name) || COMMON.contains(*name);
        if let Some(other) = all.iter().filter(|name| !belongs(name)).find(|name| query.value(name).is_some()) {
            return Err(format!("`{other}` does not belong to `report={name}`, which has {}", names.join(", ")));
        }
        needed.map(|name| query.needed(name)).transpose()?;
        let level = match query.value("level") {
            None => None,
            Some(word) => Some(Level::parse(&word).ok_or("`level` is `read`, `write` or `delete`")?),
        };
        let only_held = match query.value("only_held").as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err("`only_held` is `true` or `false`".to_owned()),
        };
        let format = match query.value("format") {
            None => Format::default(),
            Some(word) => Format::parse(&word).ok_or("`format` is `json`, `text`, `csv` or `html`")?,
        };
        Ok(Self { kind: *kind, query, level, only_held, format })
    }

    fn about(&self) -> About {
        // An id is a pattern that it fits itself.
        About::Domain(self.query.value("domain"), self.query.value("principal").map(Glob::new))
    }

    fn made(&self, known: &Known) -> Made {
        let report =
            Asker::new(&known.policy, self.query.value("domain").as_deref()).and_then(|asker| self.ask(&asker));
        let report = match report {
            Ok(report) => report,
            Err(unknown) => return Made::Unknown(unknown),
        };
        let mut written = Bounded(Vec::new());
        match print::report(&report, &known.texts, (self.format, now()), &mut written) {
            Ok(()) => Made::Report(written.0),
            Err(_full) => Made::TooLarge,
        }
    }

    fn ask<'p>(&self, asker: &Asker<'p>) -> Result<Report<'p>, UnknownName> {
        let value = |name: &str| self.query.value(name);
        let glob = |name: &str| value(name).map(Glob::new);
        let filter = || Filter {
            principal: glob("principal"),
            group: value("group"),
            level: self.level,
            only_held: self.only_held,
        };
        let needed = |name: &str| value(name).unwrap_or_default();
        match self.kind {
            Kind::Modules => asker.modules(value("at").as_deref(), glob("right").as_ref(), filter()),
            Kind::Scopes => asker.scopes(value("right").as_deref(), glob("scope").as_ref(), filter()),
            Kind::Objects => {
                let (right, kind) = (value("right"), value("kind"));
                asker.objects(right.as_deref(), kind.as_deref(), glob("object").as_ref(), filter())
            }
            Kind::Principal => asker.principal(&needed("principal")),
            Kind::Right => asker.holders(&needed("right"), filter()),
        }
    }
}

/// Takes so many bytes and no more.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > LARGEST {
            return Err(io::Error::other("the report is too large"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
