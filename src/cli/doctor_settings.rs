//! What `serve` would run with, for `doctor`: from the same flags, environment and file, and what is wrong with it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::finding::{Finding, well, wrong};
use super::settings_file::SettingError;
use super::{Cli, Command, config, reach, serve};
use crate::domain::time::Timestamp;
use crate::watch::ends_soon;

/// What `doctor` itself was told; it beats the file.
#[derive(Debug, Default)]
pub struct Told {
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
    /// `--backup-dir`
    pub backup_dir: Option<PathBuf>,
    /// `--config`
    pub file: Option<PathBuf>,
}

/// What the rest of the look rests on.
#[derive(Debug)]
pub struct Surroundings {
    /// Where the data lies; none if the settings cannot be read, and nobody said.
    pub data_dir: Option<PathBuf>,
    /// Where backups go, and how often.
    pub backups: Option<(PathBuf, Duration)>,
    /// What was found of the settings themselves.
    pub found: Vec<Finding>,
}

/// Reads the settings as `serve` would, and looks at them.
pub fn look(told: Told) -> Surroundings {
    let mut arguments: Vec<OsString> = vec!["coordinator".into(), "serve".into()];
    for (flag, path) in [("--data-dir", &told.data_dir), ("--backup-dir", &told.backup_dir), ("--config", &told.file)] {
        if let Some(path) = path {
            let mut argument = OsString::from(flag);
            argument.push("=");
            argument.push(path);
            arguments.push(argument);
        }
    }
    let named = told.file.as_deref().map(without_dash);
    let file = named.unwrap_or(Path::new("environment"));
    let (layers, cli) = match config::read(file, &arguments) {
        Ok(read) => read,
        // Only what was said here is known then.
        Err(problems) => {
            let found = problems.iter().map(|problem| not_well(problem, named)).collect();
            let backups = told.backup_dir.map(|dir| (dir, Duration::ZERO));
            return Surroundings { data_dir: told.data_dir, backups, found };
        }
    };
    let data_dir = cli.data_dir();
    let Cli { command: Command::Serve(args), .. } = cli else {
        return Surroundings { data_dir: Some(data_dir), backups: None, found: Vec::new() };
    };
    let mut found = Vec::new();
    match args.check() {
        Err(e) => found.push(not_well(&config::of_the_whole(file, e.to_string()), named)),
        Ok(()) => found.extend(named.map(|file| match &layers.file {
            Some(read) => well("settings", format!("{}: {} of its settings", file.display(), read.entries.len())),
            None => well("settings", format!("there is no {}, and it may be missing", file.display())),
        })),
    }
    if layers.file.is_some() {
        found.push(address(&args));
    }
    found.extend(certificate(&args.reach, &data_dir));
    let backups = args.backups.backup_dir.clone().map(|dir| (dir, args.backups.backup_every));
    Surroundings { data_dir: Some(data_dir), backups, found }
}

/// Before a file's name a `-` says that there may be none.
fn without_dash(file: &Path) -> &Path {
    file.to_str().and_then(|name| name.strip_prefix('-')).map_or(file, Path::new)
}

/// In the words of `config check`.
fn not_well(problem: &SettingError, file: Option<&Path>) -> Finding {
    let mend = match file {
        Some(file) => format!("mend it, then: coordinator config check {}", file.display()),
        None => "mend the variable".to_owned(),
    };
    wrong("settings", problem.to_string(), mend)
}

fn address(args: &serve::Args) -> Finding {
    let base = args.reach.base(args.listen);
    if args.reach.outside().trusted.iter().any(|network| network.is_everybody()) {
        let text = format!("{base}: everybody is a --trusted-proxy, and can say to be anybody");
        return wrong("address", text, "name the proxy alone: --trusted-proxy ADDRESS");
    }
    well("address", format!("{base}, listening on {}", args.listen))
}

fn certificate(reach: &reach::Args, data_dir: &Path) -> Vec<Finding> {
    let mut found = Vec::new();
    match reach.certificate(data_dir) {
        // Of files that cannot be used the settings say so.
        None => {}
        Some(Err(why)) => {
            let mend =
                "start the server, and see its log: does the domain lead to this machine, and its port 443 here?";
            found.push(wrong("certificate", why, mend));
        }
        Some(Ok(shown)) if ends_soon((shown.from, shown.until), Timestamp::now()) => {
            let mend = "renew it; it is read again when its files change, and one of --domain renewed by the server";
            found.push(wrong("certificate", format!("it ends at {}", shown.until), mend));
        }
        Some(Ok(shown)) => found.push(well("certificate", format!("valid until {}", shown.until))),
    }
    let mode = |key: &Path| fs::metadata(key).map_or(0, |meta| meta.mode() & 0o7777);
    if let Some((key, mode)) = reach.key_file().map(|key| (key, mode(key))).filter(|(_, mode)| mode & 0o007 != 0) {
        let text = format!("everybody may open its private key, {} (mode {mode:04o})", key.display());
        found.push(wrong("certificate", text, format!("chmod o= {}", key.display())));
    }
    found
}
