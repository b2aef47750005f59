//! The process log on standard error: what the gateway itself does. Requests have their own log on standard output.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Sets the process log up at `level` (`error`, `warn`, `info` or `debug`) for this crate; libraries are heard from
/// `warn` on. A second call changes nothing.
///
/// # Errors
/// The level has another name.
pub fn init(level: &str) -> Result<(), String> {
    if !matches!(level, "error" | "warn" | "info" | "debug") {
        return Err(format!("`{level}` is no log level: write `error`, `warn`, `info` or `debug`"));
    }
    let others = if level == "error" { "error" } else { "warn" };
    let filter = EnvFilter::new(format!("{others},portcullis={level}"));
    let set = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .try_init();
    // Only a second call fails; the first one's choice stands.
    drop(set);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_four_levels_and_no_other() {
        assert!(init("trace").unwrap_err().contains("`trace`"));
        assert!(init("portcullis=debug").is_err());
        assert!(init("info").is_ok());
        assert!(init("debug").is_ok());
    }
}
