//! Sends HTTP/1.1 requests at a constant rate and counts the time of each answer from the moment its request was due, not
//! from the moment it could be sent. A server that stalls therefore shows the stall in every request that fell due
//! meanwhile ("coordinated omission" is not left out).
//!
//! `pace ADDRESS REQUESTS-FILE --rate PER-SECOND --connections N --seconds N [--warm N] [--window MILLISECONDS] [--status N] [--sources N]`
//!
//! The file holds requests without bodies, one after the other as they go over the wire; they are sent in turn. The result
//! is one JSON object on standard output; times are in microseconds.

#![forbid(unsafe_code)]

mod histogram;
mod options;
mod run;

use std::process::ExitCode;

fn main() -> ExitCode {
    let outcome = options::Options::parse(std::env::args().skip(1)).and_then(|options| run::run(&options));
    match outcome {
        Ok(result) => {
            println!("{}", result.json());
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("pace: {message}");
            ExitCode::FAILURE
        }
    }
}
