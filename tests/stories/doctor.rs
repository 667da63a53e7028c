//! `doctor` with the settings of `serve`: the same file, the same rules, the same words.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::alerts_watch::certificate;
use super::backups::{copies, wrongs};
use super::config::file;
use crate::world::World;
use crate::world::answer::honest;
use crate::world::coordinator::{Cli, Coordinator};
use crate::world::eventually;

/// Runs `doctor --json` with nothing in its environment but that: where the data lies it must find out.
fn doctor(args: &[&str], environment: &[(&str, &str)]) -> Cli {
    let mut command = Coordinator::command();
    command.args(["doctor", "--json"]).args(args).envs(environment.iter().copied());
    Cli::of(command.current_dir("/").output().unwrap())
}

/// What was found of one thing, well or not.
fn found(said: &Cli, what: &str) -> Vec<String> {
    let all: Vec<Value> = serde_json::from_str(&said.stdout).unwrap_or_else(|e| panic!("{e}: {said:?}"));
    all.iter().filter(|one| one["what"] == what).map(|one| one["found"].as_str().unwrap().to_owned()).collect()
}

/// All that was found, but what the clock says.
fn but_the_time(said: &Cli) -> Vec<Value> {
    let mut all: Vec<Value> = serde_json::from_str(&said.stdout).unwrap_or_else(|e| panic!("{e}: {said:?}"));
    all.retain(|one| one["what"] != "clock");
    all
}

fn only_wrong(said: &Cli) -> (String, String) {
    let all = wrongs(said);
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].clone()
}

/// A world with a certificate of ten years, and the lines of a file that says where all of it is.
fn installed() -> (World, String, PathBuf, PathBuf) {
    let world = World::unstarted("5.00", honest(100, 20));
    let (tls, backups) = (world.server.beside("tls"), world.server.beside("copies"));
    fs::create_dir(&tls).unwrap();
    renew(&tls, 1, 3_650);
    let lines = [
        ("data-dir", world.server.data_dir()),
        ("backup-dir", backups.clone()),
        ("tls-cert", tls.join("chain.pem")),
        ("tls-key", tls.join("key.pem")),
    ];
    let lines = lines.map(|(key, path)| format!("{key} = {:?}\n", path.to_str().unwrap())).concat();
    (world, lines + "public-url = \"https://ai.example.org\"\nbackup-every = \"7d\"\n", tls, backups)
}

fn renew(tls: &Path, over: i64, left: i64) {
    certificate(tls, over, left);
    fs::set_permissions(tls.join("key.pem"), Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn doctor_looks_where_the_file_of_settings_says_as_serve_does() {
    let (mut world, lines, _, backups) = installed();
    let path = file(&world.server, &lines);
    let config = ["--config", path.to_str().unwrap()];
    // Nothing was backed up yet: all else is well.
    let (what, text) = only_wrong(&doctor(&config, &[]));
    assert!(what == "backups" && text.contains(backups.to_str().unwrap()), "{text}");
    world.server.start(&config);
    eventually("a backup", || copies(&backups).iter().any(|name| name.ends_with(".db")));
    assert!(world.server.stop().success());
    let well = doctor(&config, &[]);
    assert_eq!(wrongs(&well), []);
    let data_dir = world.server.data_dir();
    assert!(found(&well, "directory")[0].contains(data_dir.to_str().unwrap()), "{well:?}");
    assert_eq!(found(&well, "settings"), [format!("{}: 6 of its settings", path.display())]);
    assert!(found(&well, "certificate")[0].starts_with("valid until 20"), "{well:?}");
    assert!(found(&well, "address")[0].starts_with("https://ai.example.org, listening on 127.0.0.1:"), "{well:?}");
    // The environment names the file as well, and a file that may be missing; it and the flags beat what stands there.
    assert_eq!(but_the_time(&doctor(&[], &[("COORDINATOR_CONFIG", config[1])])), but_the_time(&well));
    let dashed = format!("--config=-{}", path.display());
    assert_eq!(but_the_time(&doctor(&[&dashed], &[])), but_the_time(&well));
    let nowhere = world.server.beside("nowhere");
    let nowhere = nowhere.to_str().unwrap();
    for (args, environment) in [(&["--data-dir", nowhere][..], None), (&[], Some(("COORDINATOR_DATA_DIR", nowhere)))] {
        let said = doctor(&[&config, args].concat(), environment.as_slice());
        assert_eq!(only_wrong(&said), ("directory".into(), format!("there is no database in {nowhere}")));
    }
    let said = doctor(&[&config[..], &["--backup-dir", nowhere]].concat(), &[]);
    assert_eq!(only_wrong(&said), ("backups".into(), format!("there is none in {nowhere}")));
    // Backups every week are not old after two days, and are after fifteen.
    let day = std::time::Duration::from_secs(86_400);
    for (age, is_old) in [(2, false), (13, false), (15, true)] {
        let of = std::time::SystemTime::now() - day * age;
        for name in copies(&backups).iter().filter(|name| name.ends_with(".db")) {
            fs::File::options().append(true).open(backups.join(name)).unwrap().set_modified(of).unwrap();
        }
        assert_eq!(!wrongs(&doctor(&config, &[])).is_empty(), is_old, "{age}");
    }
    // A file that is not there.
    let none = doctor(&["--config=-nothing.toml", "--data-dir", data_dir.to_str().unwrap()], &[]);
    assert_eq!((wrongs(&none), found(&none, "settings")[0].contains("nothing.toml")), (vec![], true), "{none:?}");
}

#[test]
fn doctor_says_of_a_wrong_file_what_config_check_says() {
    let (world, lines, tls, _) = installed();
    let path = file(&world.server, &lines);
    let config = ["--config", path.to_str().unwrap()];
    let says_the_same = |args: &[&str]| {
        let checked = world.server.cli_plain(&["config", "check", config[1]]);
        let said = doctor(&[&config, args].concat(), &[]);
        let settings: Vec<_> = wrongs(&said).into_iter().filter(|(what, _)| what == "settings").collect();
        let texts: Vec<_> = settings.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!((checked.code, said.code), (1, 1), "{checked:?} {said:?}");
        assert_eq!(texts.join("\n"), checked.stdout.trim_end());
        said
    };
    // What no setting is: where the data lies is not known then, unless it is said.
    file(&world.server, &format!("{lines}lissten = 5\nworkers = \"many\"\n"));
    let said = says_the_same(&[]);
    assert_eq!((wrongs(&said).len(), found(&said, "directory")), (2, vec![]), "{said:?}");
    let said = says_the_same(&["--data-dir", world.server.data_dir().to_str().unwrap()]);
    assert_eq!(found(&said, "directory").len(), 1, "{said:?}");
    // What does not go together, and files that cannot be used: the rest is looked at.
    file(&world.server, &format!("{lines}imitate = \"mlx-lm\"\n"));
    says_the_same(&[]);
    file(&world.server, &format!("{lines}body-budget-mib = 8\n"));
    assert_eq!(found(&says_the_same(&[]), "directory").len(), 1);
    file(&world.server, &lines);
    renew(&tls, 20, -1);
    let said = says_the_same(&[]);
    assert!(said.stdout.contains("the certificate has expired"), "{said:?}");
    renew(&tls, 1, 3_650);
    fs::remove_file(&path).unwrap();
    assert!(says_the_same(&[]).stdout.contains("cannot be read"));
}

#[test]
fn doctor_sees_what_of_the_settings_is_dangerous_or_soon_over() {
    let (world, lines, tls, _) = installed();
    let but_backups = lines.lines().filter(|line| !line.starts_with("backup")).collect::<Vec<_>>().join("\n") + "\n";
    let path = file(&world.server, &but_backups);
    let look = || doctor(&["--config", path.to_str().unwrap()], &[]);
    assert_eq!(wrongs(&look()), []);
    let finds = |what: &str, part: &str| {
        let (of, text) = only_wrong(&look());
        assert!(of == what && text.contains(part), "{of}: {text}");
    };
    renew(&tls, 87, 3);
    finds("certificate", "it ends at ");
    renew(&tls, 1, 90);
    fs::set_permissions(tls.join("key.pem"), Permissions::from_mode(0o644)).unwrap();
    finds("certificate", "key.pem (mode 0644)");
    renew(&tls, 1, 90);
    for everybody in ["0.0.0.0/0", "::/0"] {
        file(&world.server, &format!("{but_backups}trusted-proxy = [\"10.0.0.1\", {everybody:?}]\n"));
        finds("address", "everybody is a --trusted-proxy");
    }
    let data_dir = format!("data-dir = {:?}\n", world.server.data_dir().to_str().unwrap());
    file(&world.server, &(data_dir + "domain = \"ai.example.org\"\n"));
    finds("certificate", "none that is good for ai.example.org");
}
