//! `portcullis revoke`: tells a running gateway not to believe the tokens of a principal, or one token, any more.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::client::Where;
use crate::cli::{Exit, Failure, Output, complain, data, now, say};
use crate::telemetry::moment;
use crate::token::revoked::is_ahead;

/// Writing the store takes a moment; a file of a million revocations that is being read, a few seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// `revoke`.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    gateway: Where,
    #[command(flatten)]
    what: What,
    /// Only tokens issued before this moment: `now`, RFC 3339 or Unix seconds. The principal can sign in again.
    #[arg(long, value_name = "TIME", conflicts_with = "uti")]
    issued_before: Option<String>,
    /// The tenant or issuer that the token must come from.
    #[arg(long, value_name = "TENANT", requires = "uti", conflicts_with_all = ["principal", "subject"])]
    tenant: Option<String>,
    /// Take back what was revoked by calls: of a principal without `--issued-before` every entry, of a token without
    /// `--tenant` every entry.
    #[arg(long)]
    undo: bool,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
}

/// What is revoked: exactly one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct What {
    /// A principal of an Entra tenant, by its object id.
    #[arg(long, value_name = "TENANT/OID", value_parser = two_parts)]
    principal: Option<(String, String)>,
    /// A principal of another issuer, by its subject.
    #[arg(long, value_name = "ISSUER/SUBJECT", value_parser = two_parts)]
    subject: Option<(String, String)>,
    /// One token, by its `uti` (`jti` at issuers other than Entra ID).
    #[arg(long, value_name = "UTI", alias = "jti")]
    uti: Option<String>,
}

fn two_parts(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((tenant, name)) if !tenant.is_empty() && !name.is_empty() => Ok((tenant.to_owned(), name.to_owned())),
        Some(_) | None => Err("write the name of the tenant or issuer, a slash, and the principal".to_owned()),
    }
}

/// Asks for the change and says what came of it: exit code 0 once it is in force, 1 if the gateway refuses it.
pub(super) fn run(options: &Options) -> Result<Exit, Failure> {
    let method = if options.undo { "DELETE" } else { "POST" };
    let now = now();
    possible(options, now)?;
    let body = entry(options, now).to_string();
    let gateway = options.gateway.gateway()?;
    let token = gateway.token()?;
    let answer = gateway.send((method, "/revoked", &body), token.as_deref(), PATIENCE)?;
    let exit = if answer.status == 200 { Exit::Ok } else { Exit::Findings };
    if options.output == Output::Json {
        data(answer.body.trim_end());
        return Ok(exit);
    }
    let result: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let text = |name: &str| result.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| result.get(name).and_then(Value::as_u64).unwrap_or_default();
    match exit {
        Exit::Ok if number("removed") > 1 => say(format_args!("taken back: {} entries", number("removed"))),
        Exit::Ok if options.undo => say("taken back"),
        Exit::Ok if number("added") == 0 => say("revoked before"),
        Exit::Ok => say("revoked"),
        _ => {
            let found = result.get("found").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            for fault in found {
                complain(told(options, fault));
            }
            if found.is_empty() && !text("report").is_empty() {
                complain(text("report").trim_end());
            }
            let why = if text("message").is_empty() { "the answer is no answer of a gateway" } else { text("message") };
            complain(format_args!("nothing was changed ({}): {why}", answer.status));
        }
    }
    Ok(exit)
}

/// Refuses moments that no entry can have.
///
/// # Errors
/// What to write instead (exit code 2).
fn possible(options: &Options, now: u64) -> Result<(), Failure> {
    let Some(written) = options.issued_before.as_deref() else { return Ok(()) };
    let why = match (written, moment(written)) {
        ("now", _) if options.undo => {
            "`now` is another moment than the one that was revoked with: write that one, or leave `--issued-before` out \
             to take back every entry of the principal"
        }
        ("now", _) => return Ok(()),
        (_, None) => "write `now`, a time such as `2026-09-21T14:13:20Z`, or Unix seconds",
        (_, Some(moment)) if !options.undo && is_ahead(moment, now) => {
            "this moment has not come: new tokens would be refused until then, too; write `now`, or leave \
             `--issued-before` out to revoke every token for good"
        }
        (_, Some(_)) => return Ok(()),
    };
    Err(Failure::new(Exit::Usage, format!("error: `--issued-before {written}`: {why}")))
}

/// What the gateway found wrong with the entry, in the words of the command line: the entry's text was never seen.
fn told(options: &Options, fault: &Value) -> String {
    let text = |name: &str| fault.get(name).and_then(Value::as_str).unwrap_or_default();
    let help = match (text("code"), &options.what) {
        ("wrong_name", What { principal: Some((tenant, _)), .. }) => {
            format!("it is not a tenant of Entra ID: write `--subject {tenant}/SUBJECT`")
        }
        ("wrong_name", What { subject: Some((tenant, _)), .. }) => {
            format!("it is a tenant of Entra ID: write `--principal {tenant}/OID`")
        }
        _ => text("help").to_owned(),
    };
    let message = format!("error: {}", text("message"));
    if help.is_empty() { message } else { format!("{message}\n  help: {help}") }
}

/// The entry in the words of the file. `now` is in Unix seconds.
fn entry(options: &Options, now: u64) -> Value {
    let What { principal, subject, uti } = &options.what;
    let named = principal.as_ref().map(|named| ("oid", named)).or(subject.as_ref().map(|named| ("subject", named)));
    let mut entry = match (named, uti) {
        (Some((kind, (tenant, name))), _) => json!({ "principal": { "tenant": tenant, kind: name } }),
        (None, uti) => json!({ "uti": uti }),
    };
    // Tokens say the second in which they were issued, so those of the second that runs are among those before now.
    let moment = options.issued_before.as_deref().map(|text| match text {
        "now" => Value::from(now.saturating_add(1)),
        other => Value::from(other),
    });
    if let Value::Object(members) = &mut entry {
        members.extend(moment.map(|moment| ("issued_before".to_owned(), moment)));
        members.extend(options.tenant.as_deref().map(|tenant| ("tenant".to_owned(), Value::from(tenant))));
    }
    entry
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn written(arguments: &[&str]) -> Option<Value> {
        let line = Line::try_parse_from([&["revoke"], arguments].concat()).ok()?;
        Some(entry(&line.options, 99))
    }

    #[test]
    fn an_entry_has_the_words_of_the_file() {
        for (arguments, expected) in [
            (&["--principal", "uss/1"][..], json!({"principal": {"tenant": "uss", "oid": "1"}})),
            (&["--subject", "sso/a/b"], json!({"principal": {"tenant": "sso", "subject": "a/b"}})),
            (
                &["--principal", "uss/1", "--issued-before", "now"],
                json!({"principal": {"tenant": "uss", "oid": "1"}, "issued_before": 100}),
            ),
            (
                &["--principal", "uss/1", "--issued-before", "2026-11-22T10:00:00Z"],
                json!({"principal": {"tenant": "uss", "oid": "1"}, "issued_before": "2026-11-22T10:00:00Z"}),
            ),
            (&["--uti", "x"], json!({"uti": "x"})),
            (&["--jti", "x", "--tenant", "sso", "--undo"], json!({"uti": "x", "tenant": "sso"})),
        ] {
            assert_eq!(written(arguments), Some(expected), "{arguments:?}");
        }
    }

    #[test]
    fn a_moment_that_no_entry_can_have_is_refused_with_what_to_write_instead() {
        for (moment, undo, refused) in [
            ("now", false, None),
            ("now", true, Some("leave `--issued-before` out")),
            ("160", false, None),
            ("161", false, Some("has not come")),
            ("161", true, None),
            ("soon", false, Some("Unix seconds")),
            ("1970-01-01T02:00:40+02:00", true, None),
        ] {
            let mut line = vec!["revoke", "--principal", "uss/1", "--issued-before", moment];
            line.extend(undo.then_some("--undo"));
            let told = possible(&Line::try_parse_from(line).unwrap().options, 100).err();
            assert_eq!(told.is_some(), refused.is_some(), "{moment} {undo}");
            let Some((told, expected)) = told.zip(refused) else { continue };
            assert!(matches!(told.exit, Exit::Usage) && told.message.contains(expected), "{told:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for arguments in [
            &[][..],
            &["--undo"],
            &["--principal", "uss"],
            &["--principal", "/1"],
            &["--principal", "uss/"],
            &["--principal", "uss/1", "--uti", "x"],
            &["--principal", "uss/1", "--subject", "sso/1"],
            &["--principal", "uss/1", "--tenant", "uss"],
            &["--uti", "x", "--issued-before", "now"],
        ] {
            assert_eq!(written(arguments), None, "{arguments:?}");
        }
    }
}
