//! The binary: reads the command line, prints an error's whole chain, exits non-zero on one.

use std::process::ExitCode;

use clap::Parser;
use homespun_runtime::cli::{Cli, Stopped};
use rustix::process::{Resource, Rlimit, setrlimit};

fn main() -> ExitCode {
    no_core_dumps();
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("homespun: {}", chain(&*error));
            let stopped = error.downcast_ref::<Stopped>();
            stopped.map_or(ExitCode::FAILURE, |stopped| ExitCode::from(stopped.status))
        }
    }
}

/// A crash leaves no image of the memory, which holds the key and what the person said. Where it cannot
/// be had, the program runs all the same.
fn no_core_dumps() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).ok();
}

/// The error and its causes on one line; a cause that its parent already quotes is left out.
fn chain(error: &dyn core::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
