//! The dashboard and the alert rules of examples/observability ask for what a running gateway shows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::backend::{Backend, reply, until};
use crate::gateway::{Door, Setup, routes, token};
use crate::wire::get;

/// The words of PromQL that they use.
const WORDS: [&str; 9] = ["sum", "min", "max", "by", "rate", "increase", "time", "topk", "histogram_quantile"];
/// What Prometheus adds to each series.
const ADDED: [&str; 2] = ["instance", "job"];

/// The values of each label of each metric.
type Series = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

fn example(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/observability").join(name)).unwrap()
}

fn operations() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md")).unwrap()
}

/// Takes `name="value"` pairs apart; no value of a test has a quote or a comma in it.
fn labels(text: &str) -> Vec<(String, String)> {
    let pairs = text.split(',').filter(|pair| !pair.trim().is_empty());
    let pair = |pair: &str| {
        let (name, value) = pair.split_once(['=', '!']).unwrap_or_else(|| panic!("`{pair}` is no label with a value"));
        (name.trim().to_owned(), value.trim_start_matches(['=', '~']).trim().trim_matches('"').to_owned())
    };
    pairs.map(pair).collect()
}

/// What a page of metrics shows.
fn series(page: &str) -> Series {
    let mut all = Series::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, inside) = series.trim_end_matches('}').split_once('{').unwrap_or((series, ""));
        let metric = all.entry(name.to_owned()).or_default();
        for (label, value) in labels(inside) {
            metric.entry(label).or_default().insert(value);
        }
    }
    all
}

/// What a gateway shows that has had every kind of traffic that the questions are about.
fn shown() -> Series {
    let backend = Backend::start(|seen, stream| match seen.target() {
        "/things/broken" => reply(stream, "500 Internal Server Error", b""),
        _ => reply(stream, "200 OK", b""),
    });
    let gateway = Setup { routes: routes(&[backend.url()]), decisions: true, ..Setup::before(&backend) }.spawn();
    let status = |target: &str, token: &str| gateway.ask(get(target, token)).status;
    let (olga, nils) = (token("olga"), token("nils"));
    assert_eq!(["/things/1", "/things/1", "/things/broken"].map(|target| status(target, &olga)), [200, 200, 500]);
    assert_eq!((status("/things/1", &nils), status("/things/1", "no.token.atall")), (403, 401));
    until(|| page(&gateway).contains("portcullis_requests_total{"), "what threads count is summed up");
    let mut series = series(&page(&gateway));
    // Shown with a database only; tests/postgres/loss.rs reads it from a gateway that has one.
    series.entry("portcullis_grants_age_seconds".to_owned()).or_default().entry("domain".to_owned()).or_default();
    // So is this; tests/postgres/objects.rs reads it.
    series.entry("portcullis_object_lookups_total".to_owned()).or_default().entry("outcome".to_owned()).or_default();
    series
}

fn page(gateway: &Door) -> String {
    gateway.admin("GET", "/metrics", "").text()
}

/// A question in PromQL, taken apart as far as names go.
#[derive(Debug, Default)]
struct Question {
    metrics: Vec<String>,
    /// Matchers, each with its metric.
    matchers: Vec<(String, String, String)>,
    /// Labels of `by (...)`.
    by: Vec<String>,
    faults: Vec<String>,
}

impl Question {
    fn read(text: &str) -> Self {
        let mut question = Self::default();
        let (mut rest, mut opened, mut last) = (text, 0_i32, String::new());
        while let Some(first) = rest.chars().next() {
            let word = rest.find(|byte: char| !byte.is_ascii_alphanumeric() && byte != '_').unwrap_or(rest.len());
            if first.is_ascii_alphabetic() {
                let (name, behind) = rest.split_at(word);
                question.word(name, &last, behind);
                name.clone_into(&mut last);
                rest = behind;
                if name == "by" {
                    let Some((inside, behind)) = rest.trim_start().strip_prefix('(').and_then(|it| it.split_once(')'))
                    else {
                        question.faults.push("`by` without labels".to_owned());
                        break;
                    };
                    question.by.extend(inside.split(',').map(|label| label.trim().to_owned()));
                    rest = behind;
                }
                continue;
            }
            match first {
                '(' => opened += 1,
                ')' => opened -= 1,
                '{' | '[' => {
                    let Some((inside, behind)) = rest[1..].split_once(if first == '{' { '}' } else { ']' }) else {
                        question.faults.push(format!("`{first}` is not closed"));
                        break;
                    };
                    if first == '{' {
                        let found = labels(inside).into_iter().map(|(label, value)| (last.clone(), label, value));
                        question.matchers.extend(found);
                    }
                    rest = behind;
                    continue;
                }
                _ => {}
            }
            if opened < 0 {
                break;
            }
            // A number with its decimals is no word.
            rest = rest.get(word.max(1)..).unwrap_or_default();
        }
        if opened != 0 {
            question.faults.push("parentheses are not balanced".to_owned());
        }
        question
    }

    fn word(&mut self, name: &str, before: &str, behind: &str) {
        if name.starts_with("portcullis_") || name == "up" {
            let counts = ["_total", "_bucket", "_sum", "_count"].iter().any(|end| name.ends_with(end));
            if counts != ["rate", "increase"].contains(&before) {
                self.faults.push(format!("`{name}` and `{before}` do not go together"));
            }
            if counts && !behind.trim_start_matches(|byte| byte != '[' && byte != ')').starts_with('[') {
                self.faults.push(format!("`{name}` without a range"));
            }
            self.metrics.push(name.to_owned());
        } else if !WORDS.contains(&name) {
            self.faults.push(format!("what is `{name}`?"));
        }
    }

    /// What is wrong with it, with labels that its text or legend takes from the answer.
    fn faults(mut self, used: &[String], shown: &Series) -> Vec<String> {
        let own = |metric: &str| match metric {
            "up" => Some(BTreeMap::new()),
            other => shown.get(other).cloned(),
        };
        if self.metrics.is_empty() {
            self.faults.push("asks for nothing of the gateway".to_owned());
        }
        let mut known: BTreeSet<String> = ADDED.iter().map(|label| (*label).to_owned()).collect();
        for metric in &self.metrics {
            match own(metric) {
                Some(labels) => known.extend(labels.into_keys()),
                None => self.faults.push(format!("no metric `{metric}`")),
            }
        }
        let reasons = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reasons.md")).unwrap();
        for (metric, label, value) in &self.matchers {
            let labels = own(metric).unwrap_or_default();
            let is_added = ADDED.contains(&label.as_str());
            if !is_added && !labels.contains_key(label) {
                self.faults.push(format!("`{metric}` has no label `{label}`"));
            } else if label == "reason" {
                let unknown = value.split('|').filter(|reason| !reasons.contains(&format!("| `{reason}` |")));
                self.faults.extend(unknown.map(|reason| format!("no reason `{reason}`")));
            } else if !is_added && !labels[label].contains(value) {
                self.faults.push(format!("`{label}` of `{metric}` is never `{value}`"));
            }
        }
        let unknown = self.by.iter().filter(|label| !known.contains(*label));
        self.faults.extend(unknown.map(|label| format!("nothing has a label `{label}`")));
        let left: BTreeSet<&String> =
            if self.by.is_empty() { known.iter().collect() } else { self.by.iter().collect() };
        let unknown = used.iter().filter(|label| !left.contains(label));
        self.faults.extend(unknown.map(|label| format!("the answer has no label `{label}`")));
        self.faults
    }
}

/// The names between `{{` and `}}`, without `before`.
fn taken(text: &str, before: &str) -> Vec<String> {
    let inside = text.split("{{").skip(1).map(|part| part.split("}}").next().unwrap().trim());
    inside.map(|name| name.strip_prefix(before).unwrap_or_else(|| panic!("`{name}` in `{text}`")).to_owned()).collect()
}

#[test]
fn every_panel_of_the_dashboard_asks_for_what_is_shown() {
    let shown = shown();
    let dashboard: Value = serde_json::from_str(&example("dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() > 15);
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    let place = |panel: &Value| (panel["gridPos"]["x"].as_u64().unwrap(), panel["gridPos"]["y"].as_u64().unwrap());
    assert_eq!(panels.iter().map(place).collect::<BTreeSet<_>>().len(), panels.len(), "each has a place of its own");
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    assert_eq!(
        variables.iter().map(|one| one["name"].as_str().unwrap()).collect::<Vec<_>>(),
        ["datasource", "instance"]
    );
    let instances = variables[1]["query"]["query"].as_str().unwrap();
    let metric = instances.strip_prefix("label_values(").unwrap().split(',').next().unwrap();
    assert!(shown.contains_key(metric), "{metric}");
    let mut faults = Vec::new();
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(!panel["description"].as_str().unwrap().is_empty(), "{title}");
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title}");
        let questions = panel["targets"].as_array().unwrap();
        assert!(!questions.is_empty(), "{title}");
        for question in questions {
            let text = question["expr"].as_str().unwrap();
            let used = taken(question["legendFormat"].as_str().unwrap(), "");
            assert!(text.contains("instance=~\"$instance\""), "{title} shows one instance if asked to");
            faults.extend(
                Question::read(text).faults(&used, &shown).into_iter().map(|fault| format!("{title}: {fault}")),
            );
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn every_alert_rests_on_what_is_shown_and_names_its_runbook() {
    let shown = shown();
    let rules: Value = serde_yaml::from_str(&example("alerts.yaml")).unwrap();
    let rules: Vec<&Value> =
        rules["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    assert!(rules.len() > 12);
    let names: BTreeSet<&str> = rules.iter().map(|rule| rule["alert"].as_str().unwrap()).collect();
    assert_eq!(names.len(), rules.len());
    let page = operations();
    let mut faults = Vec::new();
    for rule in rules {
        let name = rule["alert"].as_str().unwrap();
        let keys: Vec<&str> = rule.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["alert", "annotations", "expr", "for", "labels"], "{name}");
        assert!(["critical", "warning"].contains(&rule["labels"]["severity"].as_str().unwrap()), "{name}");
        let wait = rule["for"].as_str().unwrap();
        assert!(wait.ends_with(['m', 'h']) && wait[..wait.len() - 1].parse::<u32>().is_ok(), "{name}: {wait}");
        let said = |what: &str| rule["annotations"][what].as_str().unwrap_or_else(|| panic!("{name} has no {what}"));
        assert!(!said("description").is_empty());
        let used = taken(said("summary"), "$labels.");
        let read = Question::read(rule["expr"].as_str().unwrap());
        let metrics = read.metrics.clone();
        faults.extend(read.faults(&used, &shown).into_iter().map(|fault| format!("{name}: {fault}")));
        let (anchor, row) =
            said("runbook").strip_prefix("docs/operations.md#").unwrap().split_once(", row ").map_or_else(
                || (said("runbook").trim_start_matches("docs/operations.md#"), None),
                |(anchor, row)| (anchor, Some(row)),
            );
        let heading = |line: &str| line.trim_start_matches(['#', ' ']).to_lowercase().replace(' ', "-");
        let section = page.split("\n#").find(|section| heading(section.lines().next().unwrap()) == anchor);
        let section = section.unwrap_or_else(|| panic!("{name}: no section `{anchor}`"));
        if let Some(row) = row {
            assert!(section.contains(&format!("\n| {row} |")), "{name}: no row {row} in `{anchor}`");
            let about = row.trim_start_matches('`').split(['{', '`']).next().unwrap();
            let is_about = metrics.iter().any(|metric| metric.contains(about.trim_end_matches("_total")));
            assert!(is_about || about == "requests_in_flight", "{name} is not about {row}");
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn questions_that_nothing_answers_are_found() {
    let shown = series(
        "# HELP x\nportcullis_requests_total{reason=\"\",status=\"2xx\"} 1\nportcullis_log_writable 1\n\
         portcullis_decide_duration_seconds_bucket{le=\"0.1\"} 4\n",
    );
    let none: [&str; 0] = [];
    for (text, legend, expected) in [
        (
            "sum by (status) (rate(portcullis_requests_total{instance=~\"$instance\"}[5m])) > 0.5",
            "{{status}}",
            &none[..],
        ),
        ("histogram_quantile(0.99, sum by (le) (rate(portcullis_decide_duration_seconds_bucket[5m])))", "p99", &none),
        ("portcullis_log_writable == 0", "{{instance}}", &none),
        ("portcullis_log_writeable == 0", "", &["no metric `portcullis_log_writeable`"]),
        ("rate(portcullis_log_writable[5m])", "", &["`portcullis_log_writable` and `rate` do not go together"]),
        ("rate(portcullis_requests_total)", "", &["`portcullis_requests_total` without a range"]),
        ("summ(portcullis_log_writable)", "", &["what is `summ`?"]),
        ("(portcullis_log_writable", "", &["parentheses are not balanced"]),
        (
            "rate(portcullis_requests_total{verdict=\"x\"}[5m])",
            "",
            &["`portcullis_requests_total` has no label `verdict`"],
        ),
        (
            "rate(portcullis_requests_total{status=\"200\"}[5m])",
            "",
            &["`status` of `portcullis_requests_total` is never `200`"],
        ),
        ("rate(portcullis_requests_total{reason=~\"internal|odd\"}[5m])", "", &["no reason `odd`"]),
        ("sum by (route) (portcullis_log_writable)", "", &["nothing has a label `route`"]),
        ("max by (instance) (portcullis_log_writable)", "{{job}}", &["the answer has no label `job`"]),
        ("1 == 1", "", &["asks for nothing of the gateway"]),
    ] {
        assert_eq!(Question::read(text).faults(&taken(legend, ""), &shown), expected, "{text}");
    }
}
