//! What README.md tells people to type works as it stands there.

#[path = "support/process.rs"]
mod process;

use std::fs;
use std::path::Path;

use process::{ROOT, Running, SOON, backend, edit, free_ports, shell};

fn readme() -> String {
    fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap()
}

/// The lines of the `sh` blocks below a heading.
fn commands(heading: &str) -> Vec<String> {
    let text = readme();
    let section = text.split("\n## ").find(|section| section.starts_with(heading)).expect(heading);
    let blocks = section.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.flat_map(str::lines).filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

/// Folders under examples/.
const EXAMPLES: [&str; 5] = ["ips-oms", "iom", "imsma", "imos", "all"];

#[test]
fn the_two_commands_come_first() {
    let text = readme();
    let first = text.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    assert_eq!(first, "cargo run -- demo\ncargo test\n");
}

#[test]
fn the_test_command_is_the_one_of_ci() {
    let ci = fs::read_to_string(Path::new(ROOT).join(".ci/run")).unwrap();
    assert!(ci.lines().last().unwrap().starts_with("cargo test "));
}

#[test]
fn the_five_minutes_work_as_written() {
    let folder = tempfile::tempdir().unwrap();
    let ports = free_ports(2);
    let (port, admin) = (ports.to_string(), (ports + 1).to_string());
    let upstream = backend().to_string();
    // The README's ports may be taken here; everything else is as written.
    let adapt = |line: &str| line.replace("3000", &upstream).replace("8080", &port);
    let mut running = None;
    let mut answers = Vec::new();
    for line in commands("Your own application in five minutes") {
        let line = adapt(&line);
        if line.starts_with("cargo ") || line.starts_with("export PATH") {
            continue;
        }
        if let Some(arguments) = line.strip_prefix("portcullis serve") {
            let arguments: Vec<_> = ["serve"].into_iter().chain(arguments.split_whitespace()).collect();
            let mut serving = Running::start(folder.path(), &arguments);
            serving.wait_for("admin listener on", SOON);
            running = Some(serving);
            continue;
        }
        let done = shell(folder.path(), &line);
        assert_eq!(done.code, 0, "{line}\n{done:?}");
        if line.starts_with("portcullis init") {
            let file = folder.path().join("gate/gateway.yaml");
            edit(&file, "127.0.0.1:8080", &format!("127.0.0.1:{port}"));
            edit(&file, "127.0.0.1:9901", &format!("127.0.0.1:{admin}"));
        }
        if line.starts_with("curl") {
            answers.push(done.out);
        }
    }
    assert!(running.is_some());
    assert_eq!(answers.len(), 2);
    assert!(answers[0].contains(" 200 ") && answers[0].contains("from the backend"), "{}", answers[0]);
    assert!(answers[1].contains(" 403 ") && answers[1].contains("right_missing:app.pages"), "{}", answers[1]);
}

#[test]
fn the_pages_of_the_examples_say_what_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let examples = folder.path().join("examples");
    copy(&Path::new(ROOT).join("examples"), &examples);
    let upstream = backend();
    for example in EXAMPLES {
        for name in ["gateway.yaml", "routes.yaml"].map(|name| examples.join(example).join(name)) {
            let Ok(mut text) = fs::read_to_string(&name) else { continue };
            for port in 9001..=9005 {
                text = text.replace(&format!("http://127.0.0.1:{port}"), &format!("http://127.0.0.1:{upstream}"));
            }
            fs::write(&name, text.replace("127.0.0.1:8080", "127.0.0.1:0").replace("127.0.0.1:9901", "127.0.0.1:0"))
                .unwrap();
        }
    }
    for example in EXAMPLES {
        let text = fs::read_to_string(examples.join(example).join("README.md")).unwrap();
        let blocks: Vec<&str> = text.split("```\n").skip(1).step_by(2).collect();
        let [serve, calls] = blocks[..] else { panic!("{example} has {} blocks", blocks.len()) };
        let serve = serve.trim().strip_prefix("cargo run -- ").unwrap();
        let mut serving = Running::start(folder.path(), &serve.split_whitespace().collect::<Vec<_>>());
        let lines = serving.wait_for("admin listener on", SOON);
        let address = lines.iter().find_map(|line| line.strip_prefix("portcullis: serving on http://")).unwrap();
        let adapt = |text: &str| text.replace("cargo run --quiet --", "portcullis").replace("127.0.0.1:8080", address);
        let (functions, calls): (Vec<&str>, Vec<&str>) = calls.lines().partition(|line| line.contains("() {"));
        assert!(calls.len() >= 3, "{example}");
        for call in calls {
            let (_, said) = call.split_once('#').unwrap();
            let said = said.trim().split(':').next().unwrap();
            let done = shell(folder.path(), &adapt(&format!("{}\n{call}", functions.join("\n"))));
            let wanted = if said == "reaches the backend" { "from the backend" } else { said };
            assert!(done.out.contains(wanted), "{example}: {call}\n{done:?}");
        }
    }
}

#[test]
fn the_map_of_src_names_what_is_there() {
    let text = readme();
    let map = text.split("\n## ").find(|section| section.starts_with("The map of src")).unwrap();
    for entry in fs::read_dir(Path::new(ROOT).join("src")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let name = name.trim_end_matches(".rs");
        assert!(map.contains(&format!("`{name}")), "README.md does not mention src/{name}");
    }
}

#[test]
fn every_file_that_is_linked_exists() {
    let pages = EXAMPLES.map(|example| format!("examples/{example}/README.md"));
    let pages = pages.iter().map(String::as_str).chain(["README.md", "examples/README.md", "docs/operations.md"]);
    for page in pages {
        let path = Path::new(ROOT).join(page);
        let text = fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap();
            if !file.is_empty() && !link.contains("://") {
                assert!(path.parent().unwrap().join(file).exists(), "{page} links to {link}");
            }
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)
        } else {
            fs::write(target, fs::read(entry.path()).unwrap()).unwrap()
        }
    }
}
