//! Questions to a running gateway about what is live, for verbs that otherwise read the files: `explain` and `report`
//! with `--admin`.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cli::client::{Answer, Where};
use crate::cli::{Exit, Failure};
use crate::review::print::Format;
use crate::route::query::encoded;

/// How long one answer may take: the gateway itself gives up after a minute.
const PATIENCE: Duration = Duration::from_secs(70);
/// How long a gateway that has too much to do is asked again.
const AGAIN: Duration = Duration::from_secs(10);
/// From one attempt to the next.
const PAUSE: Duration = Duration::from_millis(500);

/// A page with the parameters of a question.
pub(super) struct Page {
    target: String,
    format: Format,
}

impl Page {
    /// A page that answers in a format.
    pub(super) fn of(path: &str, format: Format) -> Self {
        Self { target: path.to_owned(), format }.with("format", format.word())
    }

    /// With a parameter.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        let mark = if self.target.contains('?') { '&' } else { '?' };
        self.target.push_str(&format!("{mark}{name}={}", encoded(value)));
        self
    }

    /// With a parameter for each value.
    pub(super) fn with_all<'v>(self, name: &str, values: impl IntoIterator<Item = &'v String>) -> Self {
        values.into_iter().fold(self, |page, value| page.with(name, value))
    }

    /// Asks for it, and returns the answer as it is.
    ///
    /// # Errors
    /// Whatever else the gateway says: that the question makes no sense (exit code 2), or why it is not answered (1); or that
    /// nobody answers (5).
    pub(super) fn ask(&self, whom: &Where) -> Result<String, Failure> {
        let gateway = whom.gateway()?;
        let token = gateway.token()?;
        let began = Instant::now();
        loop {
            let Answer { status, kind, body } = gateway.ask("GET", &self.target, token.as_deref(), PATIENCE)?;
            let told: Value = serde_json::from_str(&body).unwrap_or_default();
            let text = |name: &str| told.get(name).and_then(Value::as_str).unwrap_or_default();
            let later = status == 429 || (status == 503 && text("error") == "busy");
            if later && began.elapsed() < AGAIN {
                sleep(PAUSE);
                continue;
            }
            return match status {
                200 if self.format.media_type().split(';').next() == Some(&*kind) => Ok(body),
                200 => {
                    let message =
                        format!("{} answers something else: is it the admin listener of a gateway?", gateway.name());
                    Err(Failure::new(Exit::Findings, message))
                }
                400 if !text("message").is_empty() => Err(Failure::new(Exit::Usage, text("message"))),
                401 | 403 => {
                    let why = match text("message") {
                        "" => "is this the configuration that it runs with?",
                        message => message,
                    };
                    let message = format!("the gateway does not accept the admin token: {why}");
                    Err(Failure::new(Exit::Findings, message))
                }
                404 => {
                    let message = format!("{} has no such page: is it a gateway of this version?", gateway.name());
                    Err(Failure::new(Exit::Findings, message))
                }
                _ => {
                    let why = match text("message") {
                        "" => "",
                        message => &format!(": {message}"),
                    };
                    Err(Failure::new(Exit::Findings, format_args!("no answer: the gateway said {status}{why}")))
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_encoded_and_come_in_their_order() {
        let page = Page::of("/explain", Format::Text)
            .with("path", "/a b?c=d&e")
            .with_all("form", &["x=1".to_owned(), "y=ü".to_owned()]);
        assert_eq!(page.target, "/explain?format=text&path=%2Fa+b%3Fc%3Dd%26e&form=x%3D1&form=y%3D%C3%BC");
        assert_eq!(Page::of("/report", Format::Csv).target, "/report?format=csv");
    }
}
