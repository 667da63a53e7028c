//! Where a setting comes from: the command line beats the environment, the environment beats the file of `--config`, the
//! file beats the default.
//!
//! What the file says is put among the arguments, right behind the command, where neither the command line nor the
//! environment say it: so each value is read by its flag's own rule, and flags that need or exclude others do.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command};
use serde::Serialize;

use super::settings_file::{SettingEntry, SettingError, SettingValue, SettingsFile};
use crate::domain::near_miss::slips;

/// The flag that names the file, of each command that has one.
#[derive(Debug, Args)]
pub struct ConfigArg {
    /// Read settings from this file: TOML, its keys are the long names of the flags; -FILE: if there is one
    #[arg(long, env = "COORDINATOR_CONFIG", value_name = "FILE", id = CONFIG)]
    config: Option<PathBuf>,
}

const CONFIG: &str = "config";

/// Why there are no settings.
#[derive(Debug)]
pub enum WrongArguments {
    /// The command line is wrong; also a question for help.
    Usage(clap::Error),
    /// The file is.
    File(Vec<SettingError>),
}

impl From<clap::Error> for WrongArguments {
    fn from(e: clap::Error) -> Self {
        Self::Usage(e)
    }
}

/// All settings of a command.
#[derive(Debug)]
pub struct Layers {
    /// What the program reads.
    pub matches: ArgMatches,
    /// The file, if one was read.
    pub file: Option<SettingsFile>,
    /// The keys that the file decides.
    decided: Vec<String>,
}

/// One setting, for whoever asks.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Effective {
    /// The flag's long name.
    pub key: String,
    /// What it is; none if it is not set. A secret is not shown.
    pub value: Option<String>,
    /// `default`, `environment`, `command line` or `file`.
    pub from: &'static str,
    /// Of the file.
    pub line: Option<usize>,
}

/// Reads the arguments, with the file that they or the environment name.
///
/// # Errors
/// As [`WrongArguments`].
pub fn read(command: &Command, argv: &[OsString]) -> Result<Layers, WrongArguments> {
    // What is wrong with the arguments by themselves may be mended by the file: a flag that another one needs.
    let given = command.clone().ignore_errors(true).try_get_matches_from(argv)?;
    if let Some((name, given)) = given.subcommand()
        && let Some(file) = given.try_get_raw(CONFIG).ok().flatten().and_then(|mut names| names.next())
        && let Some(file) = SettingsFile::read(Path::new(file)).map_err(WrongArguments::File)?
    {
        return with_file(&Flags::of(command, name), argv, given, file);
    }
    Ok(Layers { matches: strict(command, argv)?, file: None, decided: Vec::new() })
}

fn strict(command: &Command, argv: &[OsString]) -> Result<ArgMatches, clap::Error> {
    command.clone().try_get_matches_from(argv)
}

fn with_file(
    flags: &Flags<'_>,
    argv: &[OsString],
    given: &ArgMatches,
    file: SettingsFile,
) -> Result<Layers, WrongArguments> {
    let (mut wrong, mut said) = (Vec::new(), Vec::new());
    for entry in &file.entries {
        match flags.arguments(&file, entry) {
            Ok((arg, arguments)) => said.push((entry, arg, arguments)),
            Err(error) => wrong.push(error),
        }
    }
    wrong.extend(flags.secret_that_others_see(&file));
    if !wrong.is_empty() {
        return Err(WrongArguments::File(wrong));
    }
    said.retain(|(_, arg, _)| !is_said(given, arg));
    let (head, tail) = argv.split_at(flags.begin_in(argv));
    let parse_without = |left_out: Option<&SettingEntry>| {
        let of_file = said.iter().filter(|(entry, ..)| left_out.is_none_or(|out| out != *entry));
        let of_file = of_file.flat_map(|(.., arguments)| arguments);
        let all: Vec<_> = head.iter().chain(of_file).chain(tail).cloned().collect();
        strict(flags.command, &all)
    };
    let matches = parse_without(None).map_err(|error| {
        // Which of its settings is it that does not go with the others?
        match said.iter().find(|(entry, ..)| parse_without(Some(entry)).is_ok()) {
            Some((entry, ..)) => {
                WrongArguments::File(vec![file.error(entry.line, &entry.key, first_paragraph(&error))])
            }
            None => WrongArguments::Usage(error),
        }
    })?;
    let decided = said.iter().map(|(entry, ..)| entry.key.clone()).collect();
    Ok(Layers { matches, file: Some(file), decided })
}

/// Do the command line or the environment say it?
fn is_said(given: &ArgMatches, arg: &Arg) -> bool {
    matches!(given.value_source(arg.get_id().as_str()), Some(ValueSource::CommandLine | ValueSource::EnvVariable))
}

/// The error in one line, without what it says of usage.
pub fn first_paragraph(error: &clap::Error) -> String {
    let text = error.to_string();
    let text = text.split("\n\n").next().unwrap_or(&text);
    let words = text.strip_prefix("error: ").unwrap_or(text).split_whitespace();
    words.collect::<Vec<_>>().join(" ")
}

/// The flags of a command that can be set.
struct Flags<'a> {
    command: &'a Command,
    name: &'a str,
    args: Vec<Arg>,
}

/// What a file calls it: the flag's long name, or that of an argument without one.
fn key(arg: &Arg) -> &str {
    arg.get_long().unwrap_or_else(|| arg.get_id().as_str())
}

impl<'a> Flags<'a> {
    fn of(command: &'a Command, name: &'a str) -> Self {
        let mut built = command.clone();
        built.build();
        let all = built.find_subcommand(name).into_iter().flat_map(Command::get_arguments);
        // Of what every command has: what has a variable too is a setting, `--json` is how this once is printed.
        let is_setting = |arg: &&Arg| !arg.is_global_set() || arg.get_env().is_some();
        let takes = |arg: &&Arg| matches!(arg.get_action(), ArgAction::Set | ArgAction::Append | ArgAction::SetTrue);
        let args = all.filter(is_setting).filter(takes).filter(|arg| *arg.get_id() != CONFIG).cloned().collect();
        Self { command, name, args }
    }

    /// The arguments that say what an entry says.
    fn arguments(&self, file: &SettingsFile, entry: &SettingEntry) -> Result<(&Arg, Vec<OsString>), SettingError> {
        let error = |line: usize, problem: String| file.error(line, &entry.key, problem);
        let Some(arg) = self.args.iter().find(|arg| key(arg) == entry.key) else {
            return Err(error(entry.line, self.unknown(&entry.key)));
        };
        let one = |line: usize, text: &str| {
            let argument = match arg.get_long() {
                Some(long) => format!("--{long}={text}"),
                None => text.to_owned(),
            };
            self.try_alone(arg, &argument, text).map_err(|problem| error(line, problem))?;
            Ok(OsString::from(argument))
        };
        let arguments = match (arg.get_action(), &entry.value) {
            (ArgAction::SetTrue, SettingValue::Flag(false)) => Vec::new(),
            (ArgAction::SetTrue, SettingValue::Flag(true)) => vec![OsString::from(format!("--{}", key(arg)))],
            (ArgAction::SetTrue, _) => return Err(error(entry.line, "is true or false".to_owned())),
            (_, SettingValue::One(text)) => vec![one(entry.line, text)?],
            (ArgAction::Append, SettingValue::Many(texts)) => {
                texts.iter().map(|(line, text)| one(*line, text)).collect::<Result<_, _>>()?
            }
            (_, SettingValue::Many(_)) => return Err(error(entry.line, "is one value, not a list".to_owned())),
            (ArgAction::Append, _) => return Err(error(entry.line, "is a text, or a list of texts".to_owned())),
            (_, SettingValue::Flag(_)) => {
                return Err(error(entry.line, "is a text or a whole number, not true or false".to_owned()));
            }
            (_, SettingValue::Other(what)) => {
                return Err(error(entry.line, format!("is a text or a whole number, not {what}")));
            }
        };
        Ok((arg, arguments))
    }

    fn unknown(&self, key_there: &str) -> String {
        let meant = key_there.replace('_', "-");
        let near = self.args.iter().map(key).filter_map(|key| Some((slips(&meant, key)?, key))).min();
        match near {
            Some((_, key)) => format!("there is no such setting of {}; is {key} meant?", self.name),
            None => format!("there is no such setting of {}: the keys are the long names of its flags", self.name),
        }
    }

    /// Whether the flag takes it, whatever the other flags are.
    fn try_alone(&self, arg: &Arg, argument: &str, text: &str) -> Result<(), String> {
        let bin = self.command.get_name();
        let Err(error) = self.command.clone().try_get_matches_from([bin, self.name, argument]) else { return Ok(()) };
        let of_this = ContextValue::String(arg.to_string());
        let of_a_value = [ErrorKind::ValueValidation, ErrorKind::InvalidValue, ErrorKind::UnknownArgument];
        if !of_a_value.contains(&error.kind()) || error.get(ContextKind::InvalidArg) != Some(&of_this) {
            return Ok(());
        }
        let why = match (std::error::Error::source(&error), error.get(ContextKind::ValidValue)) {
            (Some(source), _) => source.to_string(),
            (None, Some(ContextValue::Strings(values))) => format!("it is one of {}", values.join(", ")),
            _ => "it cannot be that".to_owned(),
        };
        if arg.is_hide_env_values_set() { Err(why) } else { Err(format!("{text:?}: {why}")) }
    }

    /// A secret in a file that anybody may look into.
    fn secret_that_others_see(&self, file: &SettingsFile) -> Option<SettingError> {
        let mode = file.open_to_others()?;
        let is_secret =
            |key_there: &str| self.args.iter().any(|arg| key(arg) == key_there && arg.is_hide_env_values_set());
        let entry = file.entries.iter().find(|entry| is_secret(&entry.key))?;
        let path = file.path.display();
        let problem = format!("is a secret, and everybody may open the file (mode {mode:04o}): chmod o= {path}");
        Some(file.error(entry.line, &entry.key, problem))
    }

    /// Where the command's own arguments begin, behind its name.
    fn begin_in(&self, argv: &[OsString]) -> usize {
        let takes_a_value = |word: &OsString| {
            let long = word.to_str().and_then(|word| word.strip_prefix("--"));
            self.command.get_arguments().any(|arg| arg.get_long() == long && arg.get_action().takes_values())
        };
        let mut at = 1;
        while let Some(word) = argv.get(at).filter(|word| *word != self.name) {
            at += 1 + usize::from(takes_a_value(word));
        }
        (at + 1).min(argv.len())
    }
}

impl Layers {
    /// Every setting of the command `name`, as it is.
    pub fn effective(&self, command: &Command, name: &str) -> Vec<Effective> {
        let Some(matches) = self.matches.subcommand_matches(name) else { return Vec::new() };
        let flags = Flags::of(command, name);
        flags.args.iter().map(|arg| self.effective_of(matches, arg)).collect()
    }

    fn effective_of(&self, matches: &ArgMatches, arg: &Arg) -> Effective {
        let id = arg.get_id().as_str();
        let values: Vec<String> =
            matches.get_raw(id).into_iter().flatten().map(|value| value.to_string_lossy().into_owned()).collect();
        let is_set = matches.contains_id(id);
        let line = self.file.iter().flat_map(|file| &file.entries).find(|entry| entry.key == key(arg));
        let line = line.map(|entry| entry.line).filter(|_| self.decided.iter().any(|decided| decided == key(arg)));
        let from = match matches.value_source(id) {
            _ if line.is_some() => "file",
            Some(ValueSource::CommandLine) => "command line",
            Some(ValueSource::EnvVariable) => "environment",
            _ => "default",
        };
        let shown = if arg.is_hide_env_values_set() { "(a secret)".to_owned() } else { values.join(", ") };
        Effective { key: key(arg).to_owned(), value: is_set.then_some(shown), from, line }
    }
}

#[cfg(test)]
mod tests;
