//! `portcullis explain`: why a request is allowed or denied, term by term and grant by grant, and what would change it.

pub(super) mod text;

use clap::Args;

use crate::cli::policy::Loaded;
use crate::cli::{ConfigFile, Exit, Failure, Output, say};
use crate::diag::{Place, Report};
use crate::document::Located;
use crate::review::{self, Asker, Claims, Request};
use crate::token::Class;

/// `explain`.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 whatever the decision is, 2 usage, 3 configuration invalid.")]
pub(super) struct Options {
    /// The request: a method and a URL, such as `GET https://app.example.org/orders/7`.
    #[arg(value_name = "REQUEST")]
    request: String,
    /// Who asks: the id of a principal, or TENANT/OBJECT-ID or TENANT/SUBJECT for a stranger [default: no token].
    #[arg(long = "as", value_name = "PRINCIPAL")]
    principal: Option<String>,
    /// A header of the request, as `NAME: VALUE`; may be given several times.
    #[arg(short = 'H', long = "header", value_name = "HEADER", value_parser = header)]
    headers: Vec<(String, String)>,
    /// A field of the form in the request's body, as `NAME=VALUE`; may be given several times.
    #[arg(long = "form", value_name = "NAME=VALUE", value_parser = field)]
    form: Vec<(String, String)>,
    /// What a database would say of an object that is looked up, as `KIND:KEY NAME=VALUE`; once for each attribute that
    /// has a value. `KIND:KEY` alone is one without any [default: nothing, and the explanation says what it depends on].
    #[arg(long = "object", value_name = "OBJECT")]
    objects: Vec<String>,
    /// A setting with another value than the route map's, as `NAME=VALUE`; may be given several times.
    #[arg(long = "setting", value_name = "NAME=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// The tenant of the token [default: the principal's].
    #[arg(long, value_name = "NAME", requires = "principal")]
    tenant: Option<String>,
    /// An audience of the token; may be given several times [default: the first that the application admits].
    #[arg(long = "audience", value_name = "AUDIENCE", requires = "principal")]
    audiences: Vec<String>,
    /// A role of the token; may be given several times, and an empty one means none [default: all that the application
    /// asks for].
    #[arg(long = "app-role", visible_alias = "token-role", value_name = "ROLE", requires = "principal")]
    roles: Vec<String>,
    /// The client of the token [default: the first that the application admits].
    #[arg(long, value_name = "ID", requires = "principal")]
    client: Option<String>,
    /// Whether the token speaks for a user or an app [default: what the application admits, or a user].
    #[arg(long, value_name = "user|app", value_parser = class, requires = "principal")]
    class: Option<Class>,
    /// A group of the token; may be given several times. `unknown` alone stands for more than a token can list
    /// [default: none].
    #[arg(long = "token-group", value_name = "GROUP", requires = "principal")]
    groups: Vec<String>,
    /// How the explanation is printed.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
    #[command(flatten)]
    config: ConfigFile,
}

/// Prints the explanation.
pub(super) fn run(options: &Options) -> Result<Exit, Failure> {
    let mut loaded = Loaded::read(&options.config.path)?;
    let usage = |bad: review::BadRequest| Failure::new(Exit::Usage, bad);
    if !options.settings.is_empty() {
        // Settings of the command line stand nowhere; they are looked up by name only.
        let source = Report::new().add_source("--setting", "");
        let place = Place { source, start: 0, end: 0 };
        let named = |(name, value): &(String, String)| (Located::new(place, name.clone()), review::literal(value));
        let settings: Vec<_> = options.settings.iter().map(named).collect();
        loaded.policy = loaded.policy.with_settings(&settings, None).map_err(usage)?;
    }
    let asker = options.principal.as_ref().map_or(Asker::Nobody, |id| Asker::Bearer(id.clone(), options.claims()));
    let request = Request::parse(&options.request, options.headers.clone(), asker).map_err(usage)?;
    let request = request.with_form(options.form.clone()).with_objects(&options.objects).map_err(usage)?;
    let explained = loaded.policy.explain(&request).map_err(usage)?;
    match options.output {
        Output::Text => say(text::explanation(&loaded, &request, &explained).trim_end()),
        Output::Json => say(format_args!("{:#}", review::json::explanation(&loaded.report, &request, &explained))),
    }
    Ok(Exit::Ok)
}

impl Options {
    fn claims(&self) -> Claims {
        let single = (self.tenant.clone(), self.client.clone(), self.class);
        Claims::asked(single, (&self.audiences, &self.roles, &self.groups))
    }
}

fn class(text: &str) -> Result<Class, String> {
    let found = [Class::User, Class::App].into_iter().find(|class| class.word() == text);
    found.ok_or_else(|| format!("`{text}` is no class; write `user` or `app`"))
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or_else(|| format!("`{text}` is no header; write `NAME: VALUE`"))?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn field(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is no field; write `NAME=VALUE`"))?;
    Ok((name.to_owned(), value.to_owned()))
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("`{text}` sets nothing; write `NAME=VALUE`"))?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}
