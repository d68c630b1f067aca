//! The `ledgerflow` command.

use clap::Parser;
use std::process::ExitCode;

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
fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_writer(std::io::stderr).init();
    let cli = Cli::parse();
    if let Command::Bench(Bench::Pipeline(options)) = &cli.command {
        let dir = cli.dir.clone().unwrap_or_else(|| "bench-data".into());
        let measured = ledgerflow::bench::pipeline(options, &dir)?;
        println!("{}", serde_json::to_string(&measured)?);
    }
    if let Command::Demo(options) = &cli.command {
        let dir = cli.dir.clone().unwrap_or_else(ledgerflow::demo::default_dir);
        ledgerflow::demo::run(options, &dir, cli.output)?;
    }
    Ok(())
}
