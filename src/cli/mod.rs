//! The command line: arguments, subcommands, wiring, exit codes. The only reader of the environment.
//!
//! Nearly every command but `serve` opens the database file itself, does one thing in one transaction and
//! ends; it works the same whether a server runs on that file or not. What only a running server knows or can reach,
//! commands ask of it (`local`).
//!
//! A file a command; the flags of `serve` stand in `serve`, `reach` and `backups`. `layers` and `settings_file` make each flag of
//! `serve` and `join` a key of `--config`; `doctor_settings` and `finding` are of `doctor`; `output`, `logging` and `json_line` print.
//! `allocator` and `descriptors` set what the process gets of the system.

mod accounts;
mod admins;
mod allocator;
mod backups;
mod config;
mod debit;
mod demo;
mod descriptors;
mod doctor;
mod doctor_settings;
mod finding;
mod invite;
mod join;
mod keys;
mod layers;
mod local;
mod json_line;
mod logging;
mod money;
mod output;
mod prices;
mod probe;
mod restore;
mod providers;
mod reach;
mod serve;
mod settings_file;
mod status;
mod version;
mod withdrawals;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::domain::money::MicroUsd;
use crate::domain::time::Timestamp;
use crate::store::{Store, StoreError};
use layers::WrongArguments;
use output::Output;
use settings_file::SettingError;

/// A self-hosted, prepaid coordinator for OpenAI-compatible inference servers.
#[derive(Debug, Parser)]
#[command(name = "coordinator", version, about, propagate_version = true, subcommand_required = true)]
struct Cli {
    /// Where the database is [default: ./data, with --demo ./demo-data]
    #[arg(long, global = true, env = "COORDINATOR_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Print one JSON document instead of text
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve(Box<serve::Args>),
    /// Serve for a coordinator from a machine that it cannot reach: behind a NAT or a firewall
    Join(Box<join::Args>),
    /// What goes on in the running server: requests, holds, queue, providers; exits 1 if none runs
    Status,
    /// Admins: who may add credit
    #[command(subcommand)]
    Admin(admins::Command),
    /// Accounts: who owns money
    #[command(subcommand)]
    Account(accounts::Command),
    /// API keys of accounts
    #[command(subcommand)]
    Key(keys::Command),
    /// Add credit to an account
    Credit(money::CreditArgs),
    /// Take credit back that was added by mistake
    Debit(debit::DebitArgs),
    /// Prices of models
    #[command(subcommand)]
    Price(prices::Command),
    /// Providers: who serves and earns
    #[command(subcommand)]
    Provider(providers::Command),
    /// What an account used
    Usage(money::UsageArgs),
    /// Every other movement of an account's money
    Ledger(money::LedgerArgs),
    /// Earnings that accounts asked to be paid out
    #[command(subcommand)]
    Withdrawal(withdrawals::Command),
    /// Derive every balance again from the rows; exits 1 if anything differs
    Audit,
    /// Copy the database while the server runs, and verify the copy
    Backup {
        /// The file to write; it must not exist
        file: PathBuf,
    },
    /// Put a backup in the place of the database, which is kept; refuses while a server runs
    Restore {
        /// What `backup` wrote
        file: PathBuf,
    },
    /// Files of settings, as `serve --config` and `join --config` read them
    #[command(subcommand)]
    Config(config::Command),
    /// Which release this is, and of which commit
    Version,
    /// What is wrong with this installation, and how to mend it; exits 1 if anything is
    Doctor(doctor::Args),
}

impl Cli {
    /// Where the database is.
    fn data_dir(&self) -> PathBuf {
        let is_demo = matches!(&self.command, Command::Serve(args) if args.demo);
        self.data_dir.clone().unwrap_or_else(|| PathBuf::from(if is_demo { "demo-data" } else { "data" }))
    }
}

impl Command {
    /// It has a use where there is no database yet. All others look for something in one.
    const fn makes_a_database(&self) -> bool {
        matches!(
            self,
            Self::Serve(_)
                | Self::Admin(admins::Command::Create { .. })
                | Self::Account(accounts::Command::Create { .. })
                | Self::Price(prices::Command::Set { .. })
        )
    }
}

/// What a command ends with if it does not do what was asked: one line, exit code 1.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Other(String),
    /// What there is to say was printed already.
    #[error("")]
    Said,
}

impl From<std::io::Error> for Failed {
    fn from(e: std::io::Error) -> Self {
        Self::Other(e.to_string())
    }
}

/// Who a command acts as, in the ledger and the events.
const ACTOR: &str = "cli";

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    // Exits 2 with what is wrong if the arguments do not fit.
    let read = layers::read(&Cli::command(), &std::env::args_os().collect::<Vec<_>>());
    let read = read.and_then(|layers| Ok(Cli::from_arg_matches(&layers.matches)?));
    let done = match read {
        Ok(cli) => run(cli),
        Err(WrongArguments::Usage(e)) => e.exit(),
        Err(WrongArguments::File(wrong)) => Err(Failed::Other(of_a_file(&wrong))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed::Said) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("coordinator: {}", e.to_string().replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

/// What is wrong with a file of settings, in a line.
fn of_a_file(wrong: &[SettingError]) -> String {
    let Some(first) = wrong.first() else { return String::new() };
    match wrong.len() {
        1 => first.to_string(),
        n => format!("{first}; and {} more: coordinator config check {}", n - 1, first.file.display()),
    }
}

fn run(cli: Cli) -> Result<(), Failed> {
    let out = Output { json: cli.json };
    let cli = match cli.command {
        // Without a database, or whatever state it is in.
        Command::Join(args) => return join::run(*args, out),
        Command::Config(command) => return config::run(command, out),
        Command::Doctor(args) => return doctor::run(cli.data_dir, args, out),
        command => Cli { command, ..cli },
    };
    let dir = cli.data_dir();
    // These say something of a directory in whatever state it is.
    match &cli.command {
        Command::Status => return status::run(&dir, out),
        Command::Version => return version::run(out),
        Command::Restore { file } => return restore::run(&dir, file, out),
        _ => {}
    }
    if !cli.command.makes_a_database() {
        return dispatch(cli.command, Store::open_existing(&dir)?, out);
    }
    let store = Store::open(&dir)?;
    let done = dispatch(cli.command, store.clone(), out);
    if done.is_err() {
        store.remove_if_untouched();
    }
    done
}

fn dispatch(command: Command, store: Store, out: Output) -> Result<(), Failed> {
    match command {
        Command::Serve(args) => serve::run(*args, store, out),
        Command::Join(args) => join::run(*args, out),
        Command::Config(command) => config::run(command, out),
        Command::Status => status::run(store.dir(), out),
        Command::Version => version::run(out),
        Command::Restore { file } => restore::run(store.dir(), &file, out),
        Command::Doctor(args) => doctor::run(Some(store.dir().to_owned()), args, out),
        Command::Admin(command) => admins::run(command, &store, out),
        Command::Account(command) => accounts::run(command, &store, out),
        Command::Key(command) => keys::run(command, &store, out),
        Command::Credit(args) => money::credit(args, &store, out),
        Command::Debit(args) => debit::debit(args, &store, out),
        Command::Price(command) => prices::run(command, &store, out),
        Command::Provider(command) => providers::run(command, &store, out),
        Command::Usage(args) => money::usage(args, &store, out),
        Command::Ledger(args) => money::ledger(args, &store, out),
        Command::Withdrawal(command) => withdrawals::run(command, &store, out),
        Command::Audit => money::audit(&store, out),
        Command::Backup { file } => money::backup(&file, &store, out),
    }
}

/// An exact amount of USD.
fn usd(text: &str) -> Result<MicroUsd, String> {
    MicroUsd::parse_usd(text).map_err(|e| e.to_string())
}

/// A time, or a day.
fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).ok_or_else(|| "a time is like 2026-04-30T14:22:01Z or 2026-04-30".to_owned())
}

#[cfg(test)]
mod tests;
