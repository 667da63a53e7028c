//! `coordinator config check`: what a file of settings sets, before a server is started with it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{CommandFactory, FromArgMatches, Subcommand};
use serde::Serialize;

use super::layers::{Effective, Layers, WrongArguments};
use super::output::{Output, columns, or_dash};
use super::settings_file::SettingError;
use super::{Cli, Command as Any, Failed, layers};

/// Where the Debian package's service looks.
const USUAL: &str = "/etc/coordinator.toml";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say what is wrong with a file of settings, or what every setting is with it and where that is said
    Check {
        /// The file [default: /etc/coordinator.toml]
        #[arg(env = "COORDINATOR_CONFIG", value_name = "FILE")]
        file: Option<PathBuf>,
        /// It is for `coordinator join --config`
        #[arg(long)]
        join: bool,
    },
}

/// What was found.
#[derive(Debug, Serialize)]
struct Checked {
    ok: bool,
    file: PathBuf,
    problems: Vec<SettingError>,
    settings: Vec<Effective>,
}

/// Checks a file.
///
/// # Errors
/// Something is wrong with it: exit 1.
pub fn run(command: Command, out: Output) -> Result<(), Failed> {
    let Command::Check { file, join } = command;
    let file = file.unwrap_or_else(|| USUAL.into());
    let (settings, problems) = match check(&file, if join { "join" } else { "serve" }) {
        Ok(settings) => (settings, Vec::new()),
        Err(problems) => (Vec::new(), problems),
    };
    let checked = Checked { ok: problems.is_empty(), file, problems, settings };
    out.print(&checked, text)?;
    if checked.ok { Ok(()) } else { Err(Failed::Said) }
}

fn text(checked: &Checked) -> String {
    if !checked.ok {
        return checked.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    }
    let rows = checked.settings.iter().map(|setting| {
        let from = setting.line.map_or(setting.from.to_owned(), |line| format!("line {line}"));
        [setting.key.clone(), or_dash(setting.value.as_ref()), from]
    });
    columns(["SETTING", "VALUE", "FROM"], rows.collect())
}

fn check(file: &Path, name: &str) -> Result<Vec<Effective>, Vec<SettingError>> {
    let mut config = OsString::from("--config=");
    config.push(file);
    let (layers, cli) = read(file, &["coordinator".into(), name.into(), config])?;
    if let Any::Serve(args) = cli.command {
        args.check().map_err(|e| vec![of_the_whole(file, e.to_string())])?;
    }
    Ok(layers.effective(&Cli::command(), name))
}

/// What the program would read of these arguments, with the file that they name.
///
/// # Errors
/// All that is wrong with the file, or with what is said beside it.
pub fn read(file: &Path, arguments: &[OsString]) -> Result<(Layers, Cli), Vec<SettingError>> {
    let whole = |error: &clap::Error| vec![of_the_whole(file, layers::first_paragraph(error))];
    let read = layers::read(&Cli::command(), arguments);
    let layers = read.map_err(|refused| match refused {
        WrongArguments::File(problems) => problems,
        WrongArguments::Usage(error) => whole(&error),
    })?;
    let cli = Cli::from_arg_matches(&layers.matches).map_err(|e| whole(&e))?;
    Ok((layers, cli))
}

/// A problem that no line of the file has by itself.
pub fn of_the_whole(file: &Path, problem: String) -> SettingError {
    SettingError { file: file.to_owned(), line: None, key: None, problem }
}
