//! The `ledgerflow` command.

use clap::Parser;
use ledgerflow::cli::args::Cli;
use ledgerflow::cli::commands;
use std::process::ExitCode;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(wrong) if wrong.use_stderr() => return misused(&wrong),
        // Help and version.
        Err(asked) => asked.exit(),
    };
    let armed = stream::faults::arm_from_environment();
    let done = armed.map_err(anyhow::Error::from).and_then(|_| commands::run(cli));
    match done {
        Ok(code) => code,
        Err(error) => {
            commands::complain(format_args!("{error:#}"));
            ExitCode::from(commands::code_of(&error))
        }
    }
}

/// What is wrong with the command line, under the same name as every other error.
fn misused(wrong: &clap::Error) -> ExitCode {
    let text = wrong.render().to_string();
    match text.strip_prefix("error: ") {
        Some(what) => commands::complain(what.trim_end()),
        // Help that was not asked for, where a command is missing.
        None => eprint!("{text}"),
    }
    ExitCode::from(commands::WRONG_USE)
}
