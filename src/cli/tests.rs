//! What the README says of the command line.

use std::collections::BTreeMap;

use clap::{Arg, CommandFactory};

use super::Cli;
use crate::http::local::Status;

fn readme() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).expect("the README")
}

/// A row's default, as the table of settings writes it.
fn default_of(arg: &Arg) -> Option<String> {
    let takes_a_value = arg.get_action().takes_values();
    takes_a_value.then(|| arg.get_default_values().iter().map(|value| format!("`{}`", value.display())).collect())
}

#[test]
fn the_readmes_table_of_settings_is_that_of_serve() {
    let readme = readme();
    let mut documented: BTreeMap<&str, &str> = BTreeMap::new();
    for line in readme.lines() {
        let cells: Vec<&str> = line.trim_matches(['|', ' ']).split('|').map(str::trim).collect();
        if let [flag, default, _] = cells.as_slice()
            && let Some(flag) = flag.strip_prefix("`--").and_then(|rest| rest.strip_suffix('`'))
        {
            assert!(documented.insert(flag, default).is_none(), "--{flag} stands there twice");
        }
    }
    let cli = Cli::command();
    let serve = cli.find_subcommand("serve").expect("a command");
    let args: Vec<&Arg> =
        serve.get_arguments().filter(|arg| arg.get_long().is_some_and(|long| long != "help")).collect();
    let flags: Vec<&str> = args.iter().filter_map(|arg| arg.get_long()).collect();
    for flag in documented.keys() {
        assert!(flags.contains(flag), "there is no --{flag}");
    }
    for (flag, arg) in flags.iter().zip(&args) {
        let Some(said) = documented.get(flag) else { panic!("--{flag} is not in the README's table") };
        match default_of(arg) {
            Some(default) if !default.is_empty() => assert_eq!(*said, default, "--{flag}"),
            // What stands for "none" there is words.
            _ => assert!(!said.contains('`') && !said.is_empty(), "--{flag}"),
        }
        let variable = format!("COORDINATOR_{}", flag.to_uppercase().replace('-', "_"));
        assert_eq!(arg.get_env().and_then(|name| name.to_str()), Some(variable.as_str()), "--{flag}");
    }
}

#[test]
fn the_readme_names_no_command_and_no_flag_that_is_not_there() {
    let readme = readme();
    let cli = Cli::command();
    let mut flags = Vec::new();
    let mut commands = vec![&cli];
    while let Some(command) = commands.pop() {
        flags.extend(command.get_arguments().filter_map(Arg::get_long));
        commands.extend(command.get_subcommands());
    }
    for line in readme.lines() {
        // `coordinator credit ACCOUNT …`, in a text or as a line to paste.
        for (_, rest) in line.match_indices("coordinator ").map(|(at, text)| line.split_at(at + text.len())) {
            let before = line.len() - rest.len() - "coordinator ".len();
            let opens = before == 0 || line.get(..before).is_some_and(|head| head.ends_with('`'));
            let Some(name) = rest.split([' ', '`', ')']).next().filter(|_| opens) else { continue };
            assert!(cli.find_subcommand(name).is_some(), "coordinator {name}");
            for flag in rest.split('`').next().unwrap_or_default().split(['[', ']', ' ']) {
                if let Some(flag) = flag.strip_prefix("--") {
                    assert!(flags.contains(&flag), "--{flag}");
                }
            }
        }
    }
}

#[test]
fn the_readmes_table_of_status_names_every_field() {
    let readme = readme();
    let table = readme.split("| field of `status` |").nth(1).expect("the table").split("\n\n").next().expect("rows");
    let named: Vec<&str> = table.split('`').skip(1).step_by(2).collect();
    let status = Status::for_tests();
    let mut fields = vec![];
    let mut open = vec![serde_json::to_value(&status).expect("JSON")];
    while let Some(value) = open.pop() {
        match value {
            serde_json::Value::Object(map) => {
                fields.extend(map.keys().cloned());
                open.extend(map.into_iter().map(|(_, value)| value));
            }
            serde_json::Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    assert!(fields.len() > 20, "{fields:?}");
    for field in &fields {
        assert!(named.contains(&field.as_str()), "{field} is not in the README's table");
    }
    let others = ["up", "down", "disabled", "unknown", "GET /v1/models/capacity", "status"];
    for name in named {
        assert!(fields.iter().any(|field| field == name) || others.contains(&name), "there is no {name}");
    }
}
