//! Autobahn's cases of the WebSocket protocol, run by kosoku against an echo server, once directly and once through the
//! gateway: the gateway must change the verdict of none of them.

#[path = "support/backend.rs"]
mod backend;
#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/wire.rs"]
mod wire;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use gateway::Setup;
use serde_json::Value;

/// All that judge, and a few of those that measure (many and large messages, with and without compression).
const CASES: [&str; 14] =
    ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*", "9.1.1", "9.1.3", "9.2.1", "9.3.1", "12.1.1", "13.1.1"];

/// A Python that has what `tests/autobahn/requirements.txt` names, where `.ci/run` puts it or on the path.
fn python() -> Option<PathBuf> {
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/autobahn/bin/python");
    [made, "python3".into()].into_iter().find(|python| {
        let mut imports = Command::new(python);
        imports.args(["-c", "import kosoku, websockets"]).stdout(Stdio::null()).stderr(Stdio::null());
        imports.status().is_ok_and(|status| status.success())
    })
}

struct Echo {
    process: Child,
    port: u16,
}

impl Echo {
    fn start(python: &Path) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/autobahn/echo.py");
        let mut process = Command::new(python).arg(script).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { process, port: line.trim().parse().unwrap() }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The verdict of each case: on its messages and on how the connection was closed.
fn verdicts(python: &Path, port: u16) -> BTreeMap<String, (Value, Value)> {
    let reports = tempfile::tempdir().unwrap();
    let mut run = Command::new(python);
    run.args(["-c", "from kosoku._cli import main; main()", "-p", "4"]);
    run.args(CASES.iter().flat_map(|cases| ["-i", cases]));
    run.arg("-o").arg(reports.path()).arg(format!("localhost:{port}"));
    let output = run.stdout(Stdio::null()).output().unwrap();
    let index = std::fs::read_to_string(reports.path().join("index.json"));
    let index = index.unwrap_or_else(|_| panic!("no reports: {}", String::from_utf8_lossy(&output.stderr)));
    let index: Value = serde_json::from_str(&index).unwrap();
    let servers = index.as_object().unwrap();
    assert_eq!(servers.len(), 1, "{:?}", servers.keys());
    let cases = servers.values().next().unwrap().as_object().unwrap();
    let verdict = |case: &Value| (case["behavior"].clone(), case["behaviorClose"].clone());
    cases.iter().map(|(name, case)| (name.clone(), verdict(case))).collect()
}

#[test]
fn the_gateway_changes_the_verdict_of_no_case() {
    let Some(python) = python() else {
        assert!(std::env::var_os("CI").is_none(), "kosoku is not installed, and CI is set");
        return eprintln!("skipped: kosoku and websockets are not installed, see tests/autobahn/requirements.txt");
    };
    let echo = Echo::start(&python);
    let mut setup = Setup::to(&[format!("http://127.0.0.1:{}", echo.port)]);
    setup.routes = setup.routes.replace("hosts: [app.test]", "hosts: [localhost]").replace("path: /health", "path: /");
    let gateway = setup.start();
    let (directly, through) = (verdicts(&python, echo.port), verdicts(&python, gateway.plain.port()));
    assert!(through.len() > 245, "only {} cases ran", through.len());
    let passed = through.values().filter(|(behavior, _)| behavior == "OK").count();
    assert!(passed > 230, "only {passed} of {} cases passed", through.len());
    // Where a peer ends the connection while an answer is on its way, the suite says one time that it was strict, another
    // time that it was not: both conform.
    let conforms = |(behavior, close): &(Value, Value)| {
        [behavior, close].map(|word| ["OK", "NON-STRICT", "INFORMATIONAL"].contains(&word.as_str().unwrap_or_default()))
    };
    let different: Vec<_> =
        through.iter().filter(|(name, verdict)| directly.get(*name).map(conforms) != Some(conforms(verdict))).collect();
    assert!(different.is_empty() && directly.len() == through.len(), "{different:#?}");
    eprintln!("{passed} of {} cases passed, directly and through the gateway", through.len());
}
