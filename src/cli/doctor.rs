//! `coordinator doctor`: what is wrong with an installation, and how to mend it. It
//! changes nothing in the database; whether a server runs it learns by taking its lock for a moment.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args as ClapArgs;

use super::Failed;
use super::doctor_settings::{self, Surroundings, Told};
use super::finding::{Finding, well, wrong};
use super::output::Output;
use super::serve::resolve_key;
use crate::domain::time::Timestamp;
use crate::store::examine::{self, Inside};
use crate::store::{Lock, Read, StoreError, accounts, backups, endpoints, providers};

#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Look at what `serve --config` would run with: this file says where data, certificate and backups are; -FILE: if there is one
    #[arg(long = "config", env = "COORDINATOR_CONFIG", value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Where the server's backups go, to look at them too
    #[arg(long, env = "COORDINATOR_BACKUP_DIR", value_name = "DIR")]
    backup_dir: Option<PathBuf>,
}

/// Looks at one thing that is outside of the database, in the data directory or around it.
type Look = fn(&Path) -> Vec<Finding>;

/// In the order in which one thing rests on another.
const OUTSIDE: &[Look] = &[directory, disk, clock];

/// Prints what was found. `data_dir` is what the flag or the environment say; else the file does.
///
/// # Errors
/// Something is wrong: exit 1.
pub fn run(data_dir: Option<PathBuf>, args: Args, out: Output) -> Result<(), Failed> {
    let told = Told { data_dir, backup_dir: args.backup_dir, file: args.settings };
    let Surroundings { data_dir, backups, mut found } = doctor_settings::look(told);
    if let Some(dir) = data_dir {
        found.extend(data(&dir));
    }
    if let Some((folder, every)) = backups {
        found.push(backup(&folder, every));
    }
    let all_well = found.iter().all(|one| one.ok);
    out.print(&found, |found| found.iter().map(text).collect::<Vec<_>>().join("\n"))?;
    if all_well { Ok(()) } else { Err(Failed::Said) }
}

fn data(dir: &Path) -> Vec<Finding> {
    let mut found: Vec<Finding> = OUTSIDE.iter().flat_map(|look| look(dir)).collect();
    found.push(server(dir));
    match examine::inside(dir) {
        Ok((inside, conn)) => {
            found.extend(database(&inside));
            if inside.audit.is_some() {
                found.extend(rows(&conn).unwrap_or_else(|e| vec![wrong("database", e.to_string(), RESTORE)]));
            }
        }
        // Where there is none the directory is the mistake: a restore would make one there.
        Err(_) if !examine::has_database(dir) => {}
        Err(e) => found.push(wrong("database", unreadable(dir, &e), RESTORE)),
    }
    found
}

fn text(one: &Finding) -> String {
    let mark = if one.ok { "ok   " } else { "WRONG" };
    let mend = one.mend.as_ref().map(|mend| format!("\n       mend: {mend}")).unwrap_or_default();
    format!("{mark}  {:<10} {}{mend}", one.what, one.found)
}

/// What helps when the database itself is lost.
const RESTORE: &str = "stop the server, then: coordinator restore BACKUP";

fn unreadable(dir: &Path, e: &StoreError) -> String {
    examine::unwritable(dir).unwrap_or_else(|| e.to_string())
}

fn directory(dir: &Path) -> Vec<Finding> {
    let files = examine::files(dir);
    let at = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    if !examine::has_database(dir) {
        let text = format!("there is no database in {}", at.display());
        return vec![wrong("directory", text, "say --data-dir, or --config; coordinator serve makes a new one")];
    }
    let mut found = Vec::new();
    for file in &files {
        let path = file.path.display();
        if file.mode & 0o077 != 0 {
            let text = format!("{path} is open to others (mode {:04o}): it holds password hashes and keys", file.mode);
            found.push(wrong("directory", text, format!("chmod go= {path}")));
        }
        if file.is_foreign && examine::who() != 0 {
            let text = format!("{path} is owned by {}, and this runs as {}", file.owner, examine::who_by_name());
            found.push(wrong("directory", text, format!("run as its owner, or: chown {} {path}", examine::who())));
        }
    }
    if let (Some(first), 0) = (files.first(), examine::who())
        && let Some(other) = files.iter().find(|file| file.owner != first.owner)
    {
        let text = format!("{} is owned by {}, its folder by {}", other.path.display(), other.owner, first.owner);
        found.push(wrong("directory", text, format!("chown {} {}", first.owner_id, other.path.display())));
    }
    if let Some(text) = examine::unwritable(dir) {
        found.push(wrong("directory", text, "run as the owner, or mount it writable"));
    }
    if let Some(log) = files.iter().find(|file| file.path.to_string_lossy().ends_with("-wal") && file.bytes > LONG_LOG)
    {
        let text = format!("the write-ahead log is {} MiB long", log.bytes >> 20);
        found.push(wrong("log", text, "something reads for long: end it; a restart of the server cuts the log"));
    }
    if found.is_empty() {
        let owner = files.first().map(|file| file.owner.clone()).unwrap_or_default();
        found.push(well("directory", format!("{}, owned by {owner}, closed to others", at.display())));
    }
    found
}

/// A log is cut at 64 MiB unless somebody reads.
const LONG_LOG: u64 = 256 << 20;

/// The server's ballast, and room for the log to be cut.
const LITTLE_ROOM: u64 = 256 << 20;

fn disk(dir: &Path) -> Vec<Finding> {
    vec![match examine::free_bytes(dir) {
        None => return Vec::new(),
        Some(free) if free < LITTLE_ROOM => {
            let text = format!("{} MiB are left on its disk", free >> 20);
            wrong("disk", text, "make room: with none, new work is refused with 503")
        }
        Some(free) => well("disk", format!("{} GiB are left", free >> 30)),
    }]
}

/// 2025-01-01: this program is younger.
const NOT_BEFORE: Timestamp = Timestamp::from_millis(1_735_689_600_000);

fn clock(_: &Path) -> Vec<Finding> {
    let now = Timestamp::now();
    if now < NOT_BEFORE {
        return vec![wrong("clock", format!("it says {now}"), "set it: timedatectl set-ntp true")];
    }
    vec![well("clock", format!("{now}"))]
}

fn server(dir: &Path) -> Finding {
    if !examine::has_database(dir) {
        return well("server", "none runs here");
    }
    match Lock::of(dir) {
        Ok(_) => well("server", "none runs here"),
        Err(StoreError::Conflict(_)) => well("server", "one runs here; what it does: coordinator status"),
        Err(e) => wrong("server", e.to_string(), "run as the owner of the data directory"),
    }
}

/// How far ahead a row may be of this clock: the two may be read a moment apart.
const AHEAD_SECONDS: i64 = 60;

fn database(inside: &Inside) -> Vec<Finding> {
    let mut found = Vec::new();
    let (version, current) = inside.version;
    if let Some(damage) = &inside.damage {
        found.push(wrong("database", format!("it is damaged: {damage}"), RESTORE));
    }
    if version > current {
        let text = format!("it is of version {version}, this program knows up to {current}");
        found.push(wrong("database", text, "use the newer coordinator"));
    } else if version < current {
        found.push(well("database", format!("of version {version}; the next start upgrades it to {current}")));
    }
    let now = Timestamp::now();
    if let Some(newest) = inside.newest.filter(|newest| *newest > now.plus_seconds(AHEAD_SECONDS)) {
        let text = format!("the newest row is of {newest}, and the clock says {now}");
        found.push(wrong("clock", text, "set the clock: timedatectl set-ntp true"));
    }
    match &inside.audit {
        Some(report) if report.ok => {
            found.push(well("books", format!("{} usage rows agree with every balance", report.usage_rows)));
        }
        Some(report) => found.push(wrong("books", report.problems.join("; "), RESTORE)),
        None => {}
    }
    found
}

fn rows(conn: &Read) -> Result<Vec<Finding>, StoreError> {
    let mut found = twins(conn)?;
    let all = providers::list(conn)?;
    let mut served = 0;
    for row in all.iter().filter(|row| row.disabled_at.is_none()) {
        served += 1;
        if row.api_key.as_ref().is_some_and(|key| resolve_key(key).is_none()) {
            let text = format!("{}: its key is read from a variable that is not set here", row.name);
            found.push(wrong("providers", text, "set the variable where the server runs"));
        }
        let failed = endpoints::last_probe(conn, row.id)?.filter(|probe| !probe.reached);
        if let Some(probe) = failed {
            let why = probe.error.unwrap_or_default();
            let text = format!("{} was not reached at {}: {why}", row.name, probe.at);
            found.push(wrong("providers", text, format!("coordinator provider probe {}", row.name)));
        }
    }
    if served == 0 {
        found.push(wrong(
            "providers",
            "no provider is enabled: every request is refused",
            "coordinator provider add …",
        ));
    } else if found.iter().all(|one| one.what != "providers") {
        found.push(well("providers", format!("{served} enabled")));
    }
    Ok(found)
}

/// Accounts that have one address in two spellings, from before that was looked at.
fn twins(conn: &Read) -> Result<Vec<Finding>, StoreError> {
    let groups = accounts::twins(conn)?;
    let text = |group: &Vec<accounts::Account>| {
        let each = group.iter().map(|one| format!("{} ({})", one.email.as_deref().unwrap_or(&one.name), one.id));
        let text = format!("one address, {} accounts: {}", group.len(), each.collect::<Vec<_>>().join(", "));
        wrong("accounts", text, "give all but one another address; credit meant for one by address may be another's")
    };
    Ok(groups.iter().map(text).collect())
}

/// A day and a half: whoever takes one a day is not late.
const OLD: Duration = Duration::from_secs(36 * 3_600);

fn backup(folder: &Path, every: Duration) -> Finding {
    let old = i64::try_from(OLD.max(every * 2).as_secs()).unwrap_or(i64::MAX);
    let take = "see the server's log for why; by hand: coordinator backup FILE";
    match backups::good(folder).pop() {
        None => wrong("backups", format!("there is none in {}", folder.display()), take),
        Some((made, _)) if made < Timestamp::now().plus_seconds(-old) => {
            wrong("backups", format!("the newest is of {made}"), take)
        }
        Some((made, file)) => well("backups", format!("{} of {made}", file.display())),
    }
}
