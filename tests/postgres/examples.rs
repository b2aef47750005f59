//! The examples whose principals stand in databases decide as those that have them in files.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::server;

#[test]
fn principals_of_a_database_pass_the_cases_of_those_in_files() {
    let Some(server) = server() else { return };
    for (example, least) in [("postgres-iom", 36), ("postgres-ips-oms", 45)] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(example);
        let mut database = server.database();
        database.run(&fs::read_to_string(folder.join("database.sql")).unwrap());
        for verb in [["check"].as_slice(), &["test", "--output", "json"]] {
            let done = Command::new(env!("CARGO_BIN_EXE_portcullis"))
                .args(verb)
                .arg("--config")
                .arg(folder.join("gateway-postgres.yaml"))
                .env("PORTCULLIS_DATABASE_URL", database.url())
                .output()
                .unwrap();
            let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
            assert!(done.status.success(), "{example}: {verb:?}\n{out}{err}");
            assert!(verb[0] == "check" || out.matches("\"id\"").count() >= least, "{example}: {out}");
            assert!(!err.contains("row_refused"), "{example}: {err}");
        }
    }
}
