//! `docs/cli.md`: every command and option with its help, made of the declarations in `args`.

use super::args::Cli;
use clap::{Arg, Command, CommandFactory};
use std::fmt::Write;

/// The command line as Markdown.
#[must_use]
pub fn reference() -> String {
    let mut root = Cli::command();
    root.build();
    let mut text = String::from("# Command line\n");
    write_command(&mut text, &root, "");
    text
}

/// Writes one command and those below it. `above` = the names of those it stands in, with a blank after each.
fn write_command(text: &mut String, command: &Command, above: &str) {
    let path = format!("{above}{}", command.get_name());
    if !above.is_empty() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\n## `{path}`");
    }
    let about = command.get_long_about().or_else(|| command.get_about());
    let about = about.map(ToString::to_string).unwrap_or_default();
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim().trim_start_matches("Usage:").trim();
    let _ = writeln!(text, "\n{}\n\n```\n{usage}\n```", about.trim());
    let shown = |arg: &&Arg| {
        let inherited = arg.is_global_set() && !above.is_empty();
        !inherited && !arg.is_hide_set() && !matches!(arg.get_id().as_str(), "help" | "version")
    };
    let arguments: Vec<&Arg> = command.get_arguments().filter(shown).collect();
    if !arguments.is_empty() {
        let _ = writeln!(text, "\n| option | default | environment | meaning |\n|---|---|---|---|");
    }
    for arg in arguments {
        write_argument(text, arg);
    }
    let below = command.get_subcommands().filter(|command| command.get_name() != "help");
    let commands: Vec<&Command> = below.filter(|command| !command.is_hide_set()).collect();
    if above.is_empty() {
        let _ = writeln!(text, "\nThese options may stand before or after every command.");
    }
    for command in commands {
        write_command(text, command, &format!("{path} "));
    }
}

fn write_argument(text: &mut String, arg: &Arg) {
    let values = arg.get_action().takes_values();
    let names: Vec<String> =
        arg.get_value_names().unwrap_or_default().iter().map(|n| format!("<{n}>")).collect();
    let value = if values { names.join(" ") } else { String::new() };
    let short = arg.get_short().map(|short| format!("-{short}"));
    let long = arg.get_long().map(|long| format!("--{long}"));
    let mut name = [short, long].into_iter().flatten().collect::<Vec<_>>().join(", ");
    if !value.is_empty() {
        let _ = write!(name, "{}{value}", if name.is_empty() { "" } else { " " });
    }
    let defaults = arg.get_default_values().iter().map(|value| code(&value.to_string_lossy()));
    let default = if values { defaults.collect::<Vec<_>>().join(", ") } else { String::new() };
    let variable = arg.get_env().map(|name| code(&name.to_string_lossy())).unwrap_or_default();
    let mut meaning =
        arg.get_long_help().or_else(|| arg.get_help()).map(ToString::to_string).unwrap_or_default();
    if values {
        for possible in arg.get_possible_values() {
            let help = possible.get_help().map(|help| format!(" ({help})")).unwrap_or_default();
            let _ = write!(meaning, "; {}{help}", code(possible.get_name()));
        }
    }
    let _ = writeln!(text, "| {} | {default} | {variable} | {} |", code(&name), cell(&meaning));
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

/// A table's cell is one line and ends at a bar.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
