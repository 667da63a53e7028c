//! Settings from a file: `serve --config`, `join --config`, `config check`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::join::nobody_yet;
use crate::world::agent::Agent;
use crate::world::answer::honest;
use crate::world::coordinator::Coordinator;
use crate::world::{MODEL, World, chat_body, cost, eventually};

/// A file of settings beside the data directory.
pub fn file(server: &Coordinator, text: &str) -> PathBuf {
    let path = server.beside("coordinator.toml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    path
}

#[test]
fn a_flag_beats_the_environment_the_environment_the_file_and_the_file_the_default() {
    let mut world = World::unstarted("5.00", honest(150, 250));
    let path = file(&world.server, "# A tenth of each charge.\nfee-bps = 1000\nlog = \"debug\"\n");
    let config = ["--config", path.to_str().unwrap()];
    let variable = [("COORDINATOR_FEE_BPS", "2000")];
    let whole = cost(150, 250);
    // Its share of what a request costs is what a provider earns.
    let mut earns = |args: &[&str], environment: &[(&str, &str)]| {
        world.server.start_in(args, environment);
        let before = world.earned();
        world.chat(&chat_body()).expect(200);
        let earned = world.earned() - before;
        world.server.stop();
        earned
    };
    assert_eq!(whole % 10, 0, "no share is rounded");
    assert_eq!(earns(&[], &[]), whole);
    assert_eq!(earns(&config, &[]), whole * 9 / 10);
    assert_eq!(earns(&config, &variable), whole * 8 / 10);
    assert_eq!(earns(&[&config[..], &["--fee-bps", "5000"]].concat(), &variable), whole / 2);
    // The environment may name it as well.
    assert_eq!(earns(&[], &[("COORDINATOR_CONFIG", config[1])]), whole * 9 / 10);
}

#[test]
fn a_wrong_file_is_one_line_and_nothing_is_begun() {
    let server = Coordinator::new();
    let path = file(&server, "workers = 2\nlissten = \"127.0.0.1:0\"\n");
    let name = path.to_str().unwrap();
    let said = server.cli_plain(&["serve", "--config", name]);
    assert_eq!(said.code, 1, "{said:?}");
    let told = format!("coordinator: {name}:2: lissten: there is no such setting of serve; is listen meant?\n");
    assert_eq!((said.stderr.as_str(), said.stdout.as_str()), (told.as_str(), ""));
    assert!(!server.data_dir().exists());
    let missing = server.cli_plain(&["serve", "--config", "no-such-file.toml"]);
    assert_eq!(missing.code, 1, "{missing:?}");
    assert!(missing.stderr.starts_with("coordinator: no-such-file.toml: cannot be read: "), "{missing:?}");
}

#[test]
fn config_check_says_what_every_setting_is_or_what_is_wrong() {
    let server = Coordinator::new();
    let path =
        file(&server, "listen = \"127.0.0.1:9000\"\ncors-origin = [\"https://a.example\", \"https://b.example\"]\n");
    let name = path.to_str().unwrap();
    let checked = server.ok(&["config", "check", name]);
    assert_eq!((&checked["ok"], &checked["problems"]), (&json!(true), &json!([])));
    let one = |key: &str| checked["settings"].as_array().unwrap().iter().find(|one| one["key"] == key).cloned();
    let row = |key: &str, value: Value, from: &str, line: Option<u32>| {
        Some(json!({"key": key, "value": value, "from": from, "line": line}))
    };
    assert_eq!(one("listen"), row("listen", json!("127.0.0.1:9000"), "file", Some(1)));
    let origins = json!("https://a.example, https://b.example");
    assert_eq!(one("cors-origin"), row("cors-origin", origins, "file", Some(2)));
    assert_eq!(one("queue-timeout"), row("queue-timeout", json!("120"), "default", None));
    assert_eq!(one("data-dir").unwrap()["from"], "environment");
    let plain = server.cli_plain(&["config", "check", name]);
    assert!(plain.code == 0 && plain.stdout.contains("listen") && plain.stdout.contains("line 1"), "{plain:?}");
    // Wrong in itself, wrong with another, and wrong as only the server knows.
    for (text, said) in [
        ("listen = 5\nnonsense = 1\n", &[":1: listen: ", ":2: nonsense: "][..]),
        ("acme-email = \"a@b.example\"\n", &[":1: acme-email: "]),
        ("body-budget-mib = 8\n", &["--body-budget-mib must be at least"]),
        ("redirect-listen = \"127.0.0.1:0\"\n", &["--redirect-listen"]),
        ("tls-cert = \"no-cert.pem\"\ntls-key = \"no-key.pem\"\n", &["no-cert.pem"]),
        ("log = \"a=b=c\"\n", &["--log"]),
    ] {
        file(&server, text);
        let said_plain = server.cli_plain(&["config", "check", name]);
        assert_eq!(said_plain.code, 1, "{text}: {said_plain:?}");
        assert!(said.iter().all(|part| said_plain.stdout.contains(part)), "{text}: {said_plain:?}");
        let told: Value = serde_json::from_str(&server.cli(&["config", "check", name]).stdout).unwrap();
        assert_eq!((&told["ok"], told["problems"].as_array().map(Vec::len)), (&json!(false), Some(said.len())));
    }
    assert!(!server.data_dir().exists(), "to check makes nothing");
}

#[test]
fn a_machine_joins_with_nothing_but_a_file() {
    let (world, key) = nobody_yet(&[], honest(10, 5));
    let settings = format!(
        "url = \"http://{}\"\nkey = \"{}\"\nto = \"{}\"\nname = \"kitchen\"\nmodel = [\"{MODEL}\"]\n",
        world.server.http().0,
        key.key,
        world.upstream.url()
    );
    let path = file(&world.server, &settings);
    let agent = Agent::start_from(&path);
    assert_eq!(agent.wait_joined()["name"], "kitchen");
    eventually("its first answer", || world.chat(&chat_body()).status == 200);
    let shown = world.server.cli_plain(&["config", "check", path.to_str().unwrap(), "--join"]);
    assert!(shown.code == 0 && shown.stdout.contains("(a secret)") && !shown.stdout.contains(&key.key), "{shown:?}");
    // With a key in it others may not read it.
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    let refused = world.server.cli_plain(&["join", "--config", path.to_str().unwrap()]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains(":2: key: is a secret") && !refused.stderr.contains(&key.key), "{refused:?}");
}
