//! `portcullis explain`: why a request is allowed or denied, term by term and grant by grant, and what would change it; by
//! the files, or by what a running gateway has live.

use clap::Args;

use crate::cli::client::Where;
use crate::cli::policy::Loaded;
use crate::cli::question::Page;
use crate::cli::{Exit, Failure, Output, data, say};
use crate::diag::{Place, Report};
use crate::document::Located;
use crate::review::{self, Asker, Claims, Request, print};
use crate::token::Class;

/// `explain`.
#[derive(Debug, Args)]
#[command(
    after_help = "The files are read, unless `--admin` names a running gateway to ask.\n\nExit codes: 0 whatever the decision is, 1 the \
gateway does not say, 2 usage, 3 configuration invalid, 5 no answer."
)]
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
    gateway: Where,
}

/// Prints the explanation.
pub(super) fn run(options: &Options) -> Result<Exit, Failure> {
    let usage = |bad: review::BadRequest| Failure::new(Exit::Usage, bad);
    let asker = options.principal.as_ref().map_or(Asker::Nobody, |id| Asker::Bearer(id.clone(), options.claims()));
    let request = Request::parse(&options.request, options.headers.clone(), asker).map_err(usage)?;
    let request = request.with_form(options.form.clone()).with_objects(&options.objects).map_err(usage)?;
    if options.gateway.is_asked()? {
        let answer = options.page(&request).ask(&options.gateway)?;
        match options.output {
            Output::Text => say(answer.trim_end()),
            Output::Json => data(answer.trim_end()),
        }
        return Ok(Exit::Ok);
    }
    let mut loaded = Loaded::read(options.gateway.config())?;
    if !options.settings.is_empty() {
        // Settings of the command line stand nowhere; they are looked up by name only.
        let source = Report::new().add_source("--setting", "");
        let place = Place { source, start: 0, end: 0 };
        let named = |(name, value): &(String, String)| (Located::new(place, name.clone()), review::literal(value));
        let settings: Vec<_> = options.settings.iter().map(named).collect();
        loaded.policy = loaded.policy.with_settings(&settings, None).map_err(usage)?;
    }
    let explained = loaded.policy.explain(&request).map_err(usage)?;
    match options.output {
        Output::Text => say(print::explanation(&loaded.report, &request, &explained).trim_end()),
        Output::Json => data(format_args!("{:#}", review::json::explanation(&loaded.report, &request, &explained))),
    }
    Ok(Exit::Ok)
}

impl Options {
    /// The same question, to a running gateway.
    fn page(&self, request: &Request) -> Page {
        let format = match self.output {
            Output::Text => print::Format::Text,
            Output::Json => print::Format::Json,
        };
        let pairs = |pairs: &[(String, String)], mark: &str| -> Vec<String> {
            pairs.iter().map(|(name, value)| format!("{name}{mark}{value}")).collect()
        };
        let page = Page::of("/explain", format).with("method", &request.method);
        let page = page.with("host", &request.host).with("path", &request.target);
        let page = page.with_all("principal", &self.principal).with_all("tenant", &self.tenant);
        let page = page.with_all("client", &self.client);
        let page = page.with_all("class", self.class.map(|class| class.word().to_owned()).as_ref());
        let page = page.with_all("header", &pairs(&self.headers, ": ")).with_all("form", &pairs(&self.form, "="));
        let page = page.with_all("setting", &pairs(&self.settings, "=")).with_all("object", &self.objects);
        let page = page.with_all("audience", &self.audiences).with_all("app_role", &self.roles);
        page.with_all("token_group", &self.groups)
    }

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
