//! `portcullis test`: the `tests:` of the route maps and of further files, run against the policy as it is written.

mod junit;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::cli::policy::Loaded;
use crate::cli::{ConfigFile, Exit, Failure, complain, data, say};
use crate::document;
use crate::document::routes::TestDocument;
use crate::review::{self, Outcome, Policy, Request, print};
use crate::source::file;

/// The most failures for which changes are tried that would mend them: each takes as long as many tests.
const MOST_REMEDIED: usize = 5;

/// `test`.
#[derive(Debug, Args)]
#[command(
    after_help = "A test names who asks (`as`), a request (`METHOD URL`), and what must come of it (`expect: allow` or \
`deny`, with the beginning of the `reason`). It may bring `headers`, a `form`, other claims of the token (`token: {tenant, aud, \
roles}`) and other `settings`. Exit codes: 0 all passed, 2 usage, 3 configuration invalid, 4 a test failed, or there was none."
)]
pub(super) struct Options {
    /// Further files with `version: 1` and `tests:`; directories stand for the YAML files in them.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Run only the tests whose id contains this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Name the tests that pass, too.
    #[arg(short, long)]
    verbose: bool,
    /// How the results are printed.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    config: ConfigFile,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
    /// For build servers: JUnit's XML.
    Junit,
}

/// One test that was run, as it is printed.
struct Row {
    id: String,
    file: String,
    place: String,
    by: String,
    request: String,
    expected: String,
    found: String,
    passed: bool,
    /// For a failure: why the decision is what it is.
    why: Option<String>,
}

/// Runs all tests and prints what came of them.
pub(super) fn run(options: &Options) -> Result<Exit, Failure> {
    let mut loaded = Loaded::read(&options.config.path)?;
    let further = further(&mut loaded, &options.files)?;
    let own = loaded.policy.routes.iter().flat_map(|file| &file.tests);
    let wanted = |test: &&TestDocument| options.only.as_ref().is_none_or(|only| test.id.value.contains(only));
    let tests: Vec<&TestDocument> = own.chain(&further).filter(wanted).collect();
    if let (Some(only), true) = (&options.only, tests.is_empty()) {
        return Err(Failure::new(Exit::Usage, format!("no test has an id with `{only}` in it")));
    }
    let mut results = Vec::with_capacity(tests.len());
    let mut explained = 0;
    review::run(&loaded.policy, tests, |outcome, policy| {
        explained += usize::from(!outcome.passed);
        results.push(result(&loaded, outcome, policy, explained <= MOST_REMEDIED));
    });
    let failed = results.iter().filter(|result| !result.passed).count();
    match options.output {
        Format::Text => print(&results, failed, options.verbose),
        Format::Json => data(format_args!("{:#}", as_json(&results, failed))),
        Format::Junit => data(junit::document(&results).trim_end()),
    }
    // A pipeline that lost its tests must not stay green.
    Ok(if failed == 0 && !results.is_empty() { Exit::Ok } else { Exit::TestsFailed })
}

/// The tests of further files.
fn further(loaded: &mut Loaded, files: &[PathBuf]) -> Result<Vec<TestDocument>, Failure> {
    let mut tests = Vec::new();
    let report = &mut loaded.report;
    for path in files {
        match file::documents(path) {
            Err(error) => {
                report.error("unreadable_file", None, format!("cannot read `{}`: {error}", path.display()));
            }
            Ok(documents) => {
                let sources = documents.iter().filter_map(|document| file::read_document(document, report));
                let sources: Vec<_> = sources.collect();
                tests.extend(sources.into_iter().filter_map(|source| document::read_tests(source, report)).flatten());
            }
        }
    }
    if report.has_errors() { Err(Failure::new(Exit::Configuration, report.render())) } else { Ok(tests) }
}

fn result(loaded: &Loaded, outcome: &Outcome<'_>, policy: &Policy, remedies: bool) -> Row {
    let test = outcome.test;
    let place = loaded.place(test.place);
    Row {
        id: test.id.value.clone(),
        file: loaded.report.locate(test.place).file.to_string(),
        place,
        by: test.principal.as_ref().map_or_else(|| "nobody".to_owned(), |id| id.value.clone()),
        request: test.request.value.clone(),
        expected: outcome.expected(),
        found: outcome.in_words(),
        passed: outcome.passed,
        why: if outcome.passed || outcome.found.is_err() { None } else { why(loaded, test, policy, remedies) },
    }
}

/// Which terms and grants made the decision.
fn why(loaded: &Loaded, test: &TestDocument, policy: &Policy, remedies: bool) -> Option<String> {
    let request = Request::of_test(test).ok()?;
    let explained = if remedies { policy.explain(&request) } else { policy.take_apart(&request) }.ok()?;
    Some(print::explanation(&loaded.report, &request, &explained))
}

fn print(results: &[Row], failed: usize, verbose: bool) {
    for result in results {
        let Row { id, by, request, expected, found, place, .. } = result;
        match (result.passed, verbose) {
            (true, false) => {}
            (true, true) => say(format_args!("ok    {id}  {by}  {request}  {found}")),
            (false, _) => {
                say(format_args!("FAIL  {id}  {place}\n  expected  {expected}\n  found     {found}"));
                for line in result.why.iter().flat_map(|why| why.lines()) {
                    say(format_args!("  | {line}").to_string().trim_end());
                }
            }
        }
    }
    let (all, passed) = (results.len(), results.len() - failed);
    say(format_args!("{all} test{}: {passed} passed, {failed} failed", if all == 1 { "" } else { "s" }));
    if all == 0 {
        complain("there are no tests; add `tests:` to a route map, or name a file that has some");
    }
}

fn as_json(results: &[Row], failed: usize) -> Value {
    let tests: Vec<Value> = results
        .iter()
        .map(|result| {
            json!({
                "id": result.id, "place": result.place, "as": result.by, "request": result.request,
                "expected": result.expected, "found": result.found, "passed": result.passed, "why": result.why,
            })
        })
        .collect();
    json!({"passed": results.len() - failed, "failed": failed, "tests": tests})
}
