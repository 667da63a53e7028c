//! Every flag from a file, and what is wrong with a file.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use clap::CommandFactory;

use super::*;
use crate::cli::Cli;

fn read_file(text: &str, arguments: &[&str], mode: u32) -> (tempfile::TempDir, Result<Layers, WrongArguments>) {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("coordinator.toml");
    fs::write(&file, text).expect("a file");
    fs::set_permissions(&file, Permissions::from_mode(mode)).expect("a mode");
    let mut argv: Vec<OsString> = ["coordinator"].iter().chain(arguments).map(OsString::from).collect();
    argv.extend(["--config".into(), file.into_os_string()]);
    let layers = read(&Cli::command(), &argv);
    (dir, layers)
}

/// The settings of a file that is well.
fn settings(text: &str, arguments: &[&str]) -> Vec<Effective> {
    let name = arguments.iter().find(|word| ["serve", "join"].contains(word)).expect("a command");
    match read_file(text, arguments, 0o600).1 {
        Ok(layers) => layers.effective(&Cli::command(), name),
        Err(WrongArguments::Usage(e)) => panic!("{text}: {e}"),
        Err(WrongArguments::File(wrong)) => panic!("{text}: {wrong:?}"),
    }
}

/// What is wrong with a file, without its folder.
fn problems(text: &str, arguments: &[&str], mode: u32) -> Vec<String> {
    let (dir, read) = read_file(text, arguments, mode);
    let Err(WrongArguments::File(wrong)) = read else { panic!("{text}: {read:?}") };
    let folder = dir.path().display().to_string();
    wrong.iter().map(|one| one.to_string().replace(&folder, "").replace("/coordinator.toml", "F")).collect()
}

/// A value that a flag takes, and that is not its default.
fn some_value(command: &Command, name: &str, arg: &Arg) -> String {
    let default = arg.get_default_values().first().map(|value| value.to_string_lossy().into_owned());
    let known = arg.get_possible_values();
    let known = known.iter().map(|value| value.get_name());
    let any = [
        "200",
        "9s",
        "debug",
        "127.0.0.1:9",
        "10.0.0.0/8",
        "https://other.example",
        "other.example",
        "mlx-lm",
        "a-file",
    ];
    let mut found = known.chain(any).filter(|value| Some(*value) != default.as_deref()).filter(|value| {
        let argument = arg.get_long().map_or((*value).to_owned(), |long| format!("--{long}={value}"));
        let tried = command.clone().try_get_matches_from(["coordinator", name, &argument]);
        tried.map_or_else(|error| error.kind() == ErrorKind::MissingRequiredArgument, |_| true)
    });
    found.next().unwrap_or_else(|| panic!("none of the values fits {arg}: add one that does")).to_owned()
}

/// A line of a file that sets a flag, and what it is then.
fn line_of(command: &Command, name: &str, arg: &Arg) -> (String, String) {
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        return (format!("{} = true\n", key(arg)), "true".to_owned());
    }
    let value = some_value(command, name, arg);
    let written = match (arg.get_action(), value.parse::<u32>()) {
        (_, Ok(_)) => value.clone(),
        (ArgAction::Append, _) => format!("[{value:?}]"),
        _ => format!("{value:?}"),
    };
    (format!("{} = {written}\n", key(arg)), value)
}

/// Reads a file that sets this flag, and before it those without which it may not stand: what a refusal names.
fn set_by_a_file(command: &Command, name: &str, arg: &Arg) -> (Effective, usize, String) {
    let (line, value) = line_of(command, name, arg);
    let mut needed: Vec<&Arg> = Vec::new();
    let flags = Flags::of(command, name);
    loop {
        let text: String = needed.iter().map(|other| line_of(command, name, other).0).chain([line.clone()]).collect();
        let Err(refused) = read_file(&text, &[name], 0o600).1 else {
            let all = settings(&text, &[name]);
            let one = all.into_iter().find(|one| one.key == key(arg)).expect("a setting");
            return (one, needed.len() + 1, value);
        };
        let why = match refused {
            WrongArguments::File(wrong) => wrong.first().map(ToString::to_string).unwrap_or_default(),
            WrongArguments::Usage(error) => error.to_string(),
        };
        let is_missing = |other: &&Arg| why.contains(&other.to_string()) && key(other) != key(arg);
        let missing = flags.args.iter().filter(is_missing).find(|other| !needed.iter().any(|n| key(n) == key(other)));
        needed.push(missing.unwrap_or_else(|| panic!("{text}: {why}")));
    }
}

#[test]
fn every_flag_of_serve_and_of_join_can_be_set_by_a_file() {
    let command = Cli::command();
    for (name, least) in [("serve", 38), ("join", 13)] {
        let settable = Flags::of(&command, name).args;
        for arg in &settable {
            let (one, line, value) = set_by_a_file(&command, name, arg);
            assert_eq!((one.from, one.line), ("file", Some(line)), "{arg}");
            let is_secret = one.value.as_deref() == Some("(a secret)");
            assert!(is_secret || one.value.as_ref() == Some(&value), "{one:?}");
        }
        let mut built = command.clone();
        built.build();
        let flags = built.find_subcommand(name).expect("a command").get_arguments();
        // Those that are no settings: the file itself, how the command prints, help and the version.
        let flags = flags.filter(|arg| !["config", "json", "help", "version"].contains(&arg.get_id().as_str())).count();
        assert_eq!(settable.len(), flags, "{name}");
        assert!(flags >= least, "{name}: {flags}");
    }
}

#[test]
fn the_command_line_beats_the_file_and_the_file_the_default() {
    let text = "workers = 3\nlisten = \"127.0.0.1:1\"\ndomain = [\"a.example\", \"b.example\"]\ndata-dir = \"there\"\n";
    let all = settings(text, &["--data-dir", "serve", "serve", "--workers", "9"]);
    let one = |key: &str| all.iter().find(|one| one.key == key).map(|one| (one.value.as_deref(), one.from, one.line));
    assert_eq!(one("workers"), Some((Some("9"), "command line", None)));
    assert_eq!(one("data-dir"), Some((Some("serve"), "command line", None)));
    assert_eq!(one("listen"), Some((Some("127.0.0.1:1"), "file", Some(2))));
    assert_eq!(one("domain"), Some((Some("a.example, b.example"), "file", Some(3))));
    assert_eq!(one("log"), Some((Some("info"), "default", None)));
    assert_eq!(one("public-url"), Some((None, "default", None)));
    // What depends on another flag depends on it here too.
    let all = settings("domain = \"a.example\"\n", &["serve"]);
    assert!(all.iter().any(|one| one.key == "listen" && one.value.as_deref() == Some("[::]:443")), "{all:?}");
    let all = settings("domain = \"a.example\"\n", &["serve", "--acme-email", "a@b.example"]);
    assert!(all.iter().any(|one| one.key == "acme-email" && one.from == "command line"), "{all:?}");
    let off = settings("demo = false\n", &["serve"]);
    assert!(off.iter().any(|one| one.key == "demo" && one.value.as_deref() == Some("false")), "{off:?}");
}

#[test]
fn what_is_wrong_is_said_with_file_line_and_key() {
    for (text, said) in [
        ("workers = 1\nlissten = 5\n", &["F:2: lissten: ", "is listen meant?"][..]),
        ("body_limit_mib = 5\n", &["F:1: body_limit_mib: ", "is body-limit-mib meant?"]),
        ("config = \"other\"\n", &["F:1: config: there is no such setting of serve"]),
        ("json = true\n", &["F:1: json: there is no such setting of serve"]),
        ("\nworkers = \"many\"\n", &["F:2: workers: \"many\": "]),
        ("workers = 513\n", &["F:1: workers: \"513\": 513 is not in 1..=512"]),
        ("workers = true\n", &["F:1: workers: is a text or a whole number, not true or false"]),
        ("workers = 1.5\n", &["F:1: workers: is a text or a whole number, not a number with a dot"]),
        ("workers = [1, 2]\n", &["F:1: workers: is one value, not a list"]),
        ("demo = 1\n", &["F:1: demo: is true or false"]),
        ("[serve]\nworkers = 1\n", &["F:1: serve: there is no such setting"]),
        ("listen.port = 1\n", &["F:1: listen: is a text or a whole number, not a table"]),
        ("log-format = \"xml\"\n", &["F:1: log-format: \"xml\": it is one of auto, human, json"]),
        ("cors-origin = [\n\"https://a.example\",\n\"b\",\n]\n", &["F:3: cors-origin: \"b\": "]),
        ("cors-origin = [true]\n", &["F:1: cors-origin: is a text, or a list of texts"]),
        ("log = \"info\"\nlog = \"debug\"\n", &["F:2: log: duplicate key"]),
        ("workers = \n", &["F:1: workers: "]),
        ("\nacme-email = \"a@b.example\"\n", &["F:2: acme-email: ", "--domain"]),
        (
            "domain = \"a.example\"\ntls-cert = \"c\"\ntls-key = \"k\"\n",
            &["F:1: domain: the argument", "cannot be used with"],
        ),
    ] {
        let wrong = problems(text, &["serve"], 0o600);
        assert_eq!(wrong.len(), 1, "{text}: {wrong:?}");
        assert!(said.iter().all(|part| wrong[0].contains(part)), "{text}: {wrong:?}");
        assert!(!wrong[0].contains('\n'), "{wrong:?}");
    }
    assert_eq!(problems("workerz = 1\nworkers = \"x\"\nlog = 1.5\n", &["serve"], 0o600).len(), 3);
}

#[test]
fn a_secret_is_neither_shown_nor_left_open_to_others() {
    let text = "url = \"https://ai.example\"\nkey = \"sk-db-very-secret\"\n";
    let shown = format!("{:?}", settings(text, &["join"]));
    assert!(shown.contains("(a secret)") && !shown.contains("very-secret"), "{shown}");
    for (mode, refused) in [(0o600, false), (0o640, false), (0o644, true), (0o602, true)] {
        let (_dir, read) = read_file(text, &["join"], mode);
        assert_eq!(read.is_err(), refused, "{mode:o}");
    }
    let wrong = problems(text, &["join"], 0o644);
    assert!(wrong[0].starts_with("F:2: key: is a secret, and everybody may open the file (mode 0644): chmod o= F"));
    // Nothing in it is secret: anybody may.
    assert!(read_file("workers = 2\n", &["serve"], 0o644).1.is_ok());
}

#[test]
fn a_file_that_is_not_there_is_an_error_unless_it_may_be_missing() {
    let ask = |name: &str| {
        let argv = ["coordinator".into(), "serve".into(), OsString::from(format!("--config={name}"))];
        read(&Cli::command(), &argv)
    };
    let Err(WrongArguments::File(wrong)) = ask("no/such/file.toml") else { panic!("it is not there") };
    assert!(wrong[0].to_string().starts_with("no/such/file.toml: cannot be read: "), "{wrong:?}");
    assert!(ask("-no/such/file.toml").is_ok());
    assert!(matches!(SettingsFile::read(Path::new("/")), Err(wrong) if wrong[0].problem.starts_with("cannot be read")));
}

#[test]
fn what_is_wrong_with_the_arguments_is_said_as_it_would_be_without_a_file() {
    for arguments in
        [&["serve", "--nonsense"][..], &["serve", "--workers", "many"], &["nonsense"], &["serve", "--help"]]
    {
        let (_dir, read) = read_file("workers = 1\nlog = \"info\"\n", arguments, 0o600);
        let Err(WrongArguments::Usage(with)) = read else { panic!("{arguments:?}: {read:?}") };
        let alone: Vec<_> = ["coordinator"].iter().chain(arguments).collect();
        let without = Cli::command().try_get_matches_from(alone).expect_err("wrong");
        assert_eq!(with.kind(), without.kind(), "{arguments:?}");
        let first = |e: &clap::Error| e.to_string().lines().next().map(str::to_owned);
        assert_eq!(first(&with), first(&without), "{arguments:?}");
    }
}
