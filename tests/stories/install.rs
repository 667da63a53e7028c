//! install.sh, which comes with a release: it replaces the binary that works by one that fits its sum and runs here, or
//! says why not and leaves it alone.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/install.sh");
/// Programs that it may need, beside `sha256sum`.
const PROGRAMS: &[&str] = &["sh", "dirname", "grep", "mkdir", "cp", "chmod", "uname", "mv", "rm"];
const NOT: &str = "nothing was installed";

/// A folder as `make dist` leaves it, with something in the binary's place; a machine's folder, where an older one works.
struct Release {
    room: TempDir,
}

impl Release {
    fn of(binary: &[u8]) -> Self {
        let release = Self { room: tempfile::tempdir().unwrap() };
        for folder in ["dist", "machine", "path"] {
            std::fs::create_dir(release.at(folder)).unwrap();
        }
        std::fs::write(release.at("dist/coordinator"), binary).unwrap();
        let sums = Command::new("sha256sum").arg("coordinator").current_dir(release.at("dist")).output().unwrap();
        std::fs::write(release.at("dist/SHA256SUMS"), sums.stdout).unwrap();
        program(&release.at("machine/coordinator"), "#!/bin/sh\necho old\n");
        for name in PROGRAMS.iter().chain(&["sha256sum"]) {
            release.bring(name, name);
        }
        release
    }

    fn at(&self, path: &str) -> PathBuf {
        self.room.path().join(path)
    }

    /// The machine has a program of that name from now on: this one's.
    fn bring(&self, name: &str, ours: &str) {
        let found = Command::new("sh").args(["-c", &format!("command -v {ours}")]).output().unwrap();
        symlink(String::from_utf8(found.stdout).unwrap().trim_end(), self.at("path").join(name)).unwrap();
    }

    /// Runs it from the room, on a machine that has these programs only: whether it went well, and what it said.
    fn install(&self) -> (bool, String) {
        let mut command = Command::new(self.at("path/sh"));
        command.args([SCRIPT, "dist", "--to", "machine"]).current_dir(self.room.path()).env("PATH", self.at("path"));
        let done = command.output().unwrap();
        (
            done.status.success(),
            [done.stdout, done.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat(),
        )
    }

    /// What the machine's binary says when it is run.
    fn installed(&self) -> String {
        let said = Command::new(self.at("machine/coordinator")).arg("version").output().unwrap();
        String::from_utf8(said.stdout).unwrap()
    }

    /// It says that, and the old binary is there as before, with nothing beside it.
    fn refuses(&self, why: &str) {
        let (ok, said) = self.install();
        assert!(!ok && said.contains(why) && said.contains(NOT), "{why}: {said}");
        assert_eq!(self.installed(), "old\n", "{said}");
        let left: Vec<_> = self.at("machine").read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["coordinator"], "{said}");
    }
}

/// Written by a process of its own: what another story's child still holds open for writing cannot be run.
fn program(path: &Path, text: &str) {
    let write = r#"printf %s "$1" >"$0" && chmod 0755 "$0""#;
    assert!(Command::new("sh").args(["-c", write]).arg(path).arg(text).status().unwrap().success());
}

const NEW: &[u8] = b"#!/bin/sh\necho new\n";

#[test]
fn a_release_that_fits_its_sum_is_installed_and_what_does_not_fit_is_not() {
    let release = Release::of(NEW);
    let (ok, said) = release.install();
    assert!(ok && said.contains("installed new in "), "{said}");
    assert_eq!(release.installed(), "new\n");

    let release = Release::of(NEW);
    std::fs::write(release.at("dist/coordinator"), b"#!/bin/sh\necho evil\n").unwrap();
    release.refuses("the sum does not fit");
    std::fs::remove_file(release.at("dist/coordinator")).unwrap();
    release.refuses("there is no coordinator in dist");
    std::fs::write(release.at("dist/SHA256SUMS"), "").unwrap();
    std::fs::write(release.at("dist/coordinator"), NEW).unwrap();
    release.refuses("SHA256SUMS does not name the binary");
    std::fs::remove_file(release.at("dist/SHA256SUMS")).unwrap();
    release.refuses("there is no SHA256SUMS in dist");
}

#[test]
fn a_binary_of_another_architecture_leaves_the_one_that_works() {
    // The head of an ELF file for a machine that nobody has (e_machine 0x7fff).
    let mut foreign = b"\x7fELF\x02\x01\x01".to_vec();
    foreign.resize(64, 0);
    foreign[16..20].copy_from_slice(&[2, 0, 0xff, 0x7f]);
    Release::of(&foreign).refuses("the binary does not run here");
}

#[test]
fn a_machine_that_cannot_check_sums_says_so_and_one_that_checks_otherwise_installs() {
    let release = Release::of(NEW);
    std::fs::remove_file(release.at("path/sha256sum")).unwrap();
    release.refuses("neither sha256sum nor shasum is there");
    // As BusyBox has it: it knows no long options.
    program(
        &release.at("path/sha256sum"),
        "#!/bin/sh\nfor one; do case $one in --*) exit 1 ;; esac; done\nexec real-sha256sum \"$@\"\n",
    );
    release.bring("real-sha256sum", "sha256sum");
    let (ok, said) = release.install();
    assert!(ok && said.contains("installed new in "), "{said}");
}
