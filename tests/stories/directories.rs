//! Where the data is: who may use it, what a wrong place is told, and a database that goes away under the server.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::world::answer::honest;
use crate::world::coordinator::{Cli, Coordinator};
use crate::world::http::Request;
use crate::world::upstream::Seen;
use crate::world::{World, chat_body, cost, eventually, stream_body};

/// Nobody, on every system there is.
const NOBODY: u32 = 65_534;

#[test]
fn a_mistyped_directory_is_named_and_not_made() {
    let server = Coordinator::new();
    server.account("ada");
    let typo = server.beside("dtaa");
    let dir = typo.to_str().unwrap();
    let commands: [&[&str]; 12] = [
        &["audit"],
        &["account", "list"],
        &["account", "show", "ada"],
        &["key", "list", "ada"],
        &["key", "create", "ada"],
        &["credit", "ada", "5"],
        &["usage", "ada"],
        &["ledger", "ada"],
        &["price", "list"],
        &["provider", "list"],
        &["withdrawal", "list"],
        &["backup", "copy.db"],
    ];
    for command in commands {
        let said = server.cli_plain(&[command, &["--data-dir", dir]].concat());
        assert_eq!(said.code, 1, "{command:?}: {said:?}");
        assert!(said.stderr.contains(dir) && said.stderr.contains("--data-dir"), "{command:?}: {said:?}");
        assert!(!typo.exists(), "{command:?} made it");
    }
}

#[test]
fn a_command_that_fails_leaves_no_database_behind() {
    let server = Coordinator::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let deep = server.beside("new").join("deeper");
    let dir = deep.to_str().unwrap();
    for command in [&["serve", "--listen", &address][..], &["account", "create", " blank"]] {
        let said = server.cli_plain(&[command, &["--data-dir", dir]].concat());
        assert_eq!(said.code, 1, "{command:?}: {said:?}");
        assert!(!server.beside("new").exists(), "{command:?}: {said:?}");
    }
    // A folder that was there stays, and what is in it.
    fs::create_dir_all(&deep).unwrap();
    assert_eq!(server.cli_plain(&["account", "create", " blank", "--data-dir", dir]).code, 1);
    assert_eq!(fs::read_dir(&deep).unwrap().count(), 0);
    // What is somebody's stays, whatever fails later.
    server.account("ada");
    assert_eq!(server.cli(&["account", "create", " blank"]).code, 1);
    assert_eq!(server.number("select count(*) from accounts"), 1);
}

/// The binary where anybody may run it.
fn for_anybody(server: &Coordinator) -> PathBuf {
    fs::set_permissions(server.beside(""), Permissions::from_mode(0o755)).unwrap();
    let binary = server.beside("coordinator");
    fs::copy(env!("CARGO_BIN_EXE_coordinator"), &binary).unwrap();
    binary
}

fn run_as_nobody(binary: &Path, dir: &Path, args: &[&str]) -> Cli {
    let output = Command::new(binary).args(args).arg("--data-dir").arg(dir).env_clear().uid(NOBODY).output().unwrap();
    Cli {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn who_may_not_use_a_directory_is_told_who_runs_and_who_owns_it() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not run: only root can be somebody else");
        return;
    }
    let server = Coordinator::new();
    server.account("ada");
    let binary = for_anybody(&server);
    let dir = server.data_dir();
    let names_both = |said: &Cli, path: &Path| {
        assert_eq!(said.code, 1, "{said:?}");
        for part in [path.to_str().unwrap(), "(65534)", "root (0)", "mode 0"] {
            assert!(said.stderr.contains(part), "{part}: {said:?}");
        }
        assert_eq!(said.stderr.trim().lines().count(), 1, "{said:?}");
    };
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    // The directory is closed.
    names_both(&run_as_nobody(&binary, &dir, &["audit"]), &dir);
    names_both(&run_as_nobody(&binary, &dir, &serve), &dir);
    // It is open, and the database may only be read: refused before anything is delivered.
    fs::set_permissions(&dir, Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(server.database(), Permissions::from_mode(0o644)).unwrap();
    names_both(&run_as_nobody(&binary, &dir, &serve), &server.database());
    names_both(&run_as_nobody(&binary, &dir, &["credit", "ada", "5"]), &server.database());
    // A directory that cannot be made.
    let under = Path::new("/proc/data");
    let said = run_as_nobody(&binary, under, &["account", "create", "ada"]);
    assert!(said.code == 1 && said.stderr.contains("cannot make /proc/data"), "{said:?}");
    fs::set_permissions(&dir, Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn what_root_makes_in_somebodys_directory_is_theirs() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let server = Coordinator::new();
    let binary = for_anybody(&server);
    fs::create_dir(server.data_dir()).unwrap();
    std::os::unix::fs::chown(server.data_dir(), Some(NOBODY), Some(NOBODY)).unwrap();
    server.account("ada");
    let said = run_as_nobody(&binary, &server.data_dir(), &["credit", "ada", "5"]);
    assert_eq!(said.code, 0, "{said:?}");
}

#[test]
fn a_database_that_is_replaced_under_the_server_stops_new_work_before_a_provider_is_asked() {
    let world = World::new(honest(100, 20));
    world.chat(&chat_body()).expect(200);
    let (database, away) = (world.server.database(), world.server.beside("away.db"));
    for replace in [true, false] {
        fs::rename(&database, &away).unwrap();
        if replace {
            fs::copy(&away, &database).unwrap();
        }
        let asked = world.upstream.requests().len();
        eventually("new work to be refused", || world.chat(&chat_body()).status == 503);
        let refused = world.chat(&chat_body());
        assert_eq!((refused.status, refused.header("retry-after").is_some()), (503, true), "{}", refused.text());
        assert!(refused.text().contains("database cannot be written"), "{}", refused.text());
        assert_eq!(world.chat(&stream_body(true)).status, 503);
        let ready = world.server.http().send(&Request::get("/readyz"));
        assert_eq!(ready.status, 503, "{}", ready.text());
        // What was asked within the moment before it was seen is all.
        assert!(world.upstream.requests().len() <= asked + 1, "{} and {asked}", world.upstream.requests().len());
        fs::rename(&away, &database).unwrap();
        eventually("work to be taken again", || world.chat(&chat_body()).status == 200);
        assert_eq!(world.server.http().send(&Request::get("/readyz")).status, 200);
    }
    assert!(world.server.log().contains("moved, replaced or deleted"));
    let rows = i64::try_from(world.rows().len()).unwrap();
    assert_eq!(world.balance(), 5_000_000 - rows * cost(100, 20), "what is charged is what is recorded");
}

#[test]
fn an_answer_that_cannot_be_charged_is_not_given_whole() {
    // The database goes while the provider works.
    let (going, gone) = (std::sync::mpsc::channel::<()>(), std::sync::mpsc::channel::<()>());
    let (going_in, gone_out) = (std::sync::Mutex::new(going.0), std::sync::Mutex::new(gone.1));
    let answer = honest(100, 20);
    let world = World::new(move |seen: &Seen| {
        let _ = going_in.lock().unwrap().send(());
        let _ = gone_out.lock().unwrap().recv();
        answer(seen)
    });
    let (database, away) = (world.server.database(), world.server.beside("away.db"));
    for body in [chat_body(), stream_body(false)] {
        let conn = world.open(&body);
        going.1.recv().unwrap();
        fs::rename(&database, &away).unwrap();
        gone.0.send(()).unwrap();
        let reply = conn.finish();
        let is_stream = body["stream"] == true;
        assert_eq!(reply.status, if is_stream { 200 } else { 503 }, "{}", reply.text());
        assert!(!reply.text().contains("[DONE]"), "{}", reply.text());
        assert!(reply.text().contains("error"), "{}", reply.text());
        fs::rename(&away, &database).unwrap();
        world.wait_released();
        eventually("work to be taken again", || world.server.http().send(&Request::get("/readyz")).status == 200);
    }
    assert_eq!(world.balance(), 5_000_000);
}
