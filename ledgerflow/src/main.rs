//! The `ledgerflow` command.

use clap::Parser;
use std::process::ExitCode;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = ledgerflow::cli::args::Cli::parse();
    let armed = stream::faults::arm_from_environment();
    let done = armed.map_err(anyhow::Error::from).and_then(|_| ledgerflow::cli::commands::run(cli));
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ledgerflow: {error:#}");
            ExitCode::FAILURE
        }
    }
}
