//! A mail server, aiosmtpd as tests/setup.sh installs it, and the maildir that it fills.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::{eventually, free_port};

/// The mail server; it ends when this is dropped.
pub struct Mailbox {
    child: Child,
    pub port: u16,
    pub dir: PathBuf,
}

impl Mailbox {
    /// `more` is what `smtpd.py` takes beside the port and the maildir. `None` if aiosmtpd is not installed.
    pub fn start(dir: &Path, port: Option<u16>, more: &[&str]) -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join("target/smtpd/bin/python");
        if !python.exists() {
            eprintln!("skipped: aiosmtpd is not installed: tests/setup.sh");
            return None;
        }
        let port = port.unwrap_or_else(free_port);
        let mut command = Command::new(python);
        command.arg(root.join("tests/world/smtpd.py")).arg(port.to_string()).arg(dir).args(more);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let all = Self { child, port, dir: dir.to_owned() };
        eventually("the mail server", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Some(all)
    }

    pub fn letters(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.dir.join("new")) else { return Vec::new() };
        entries.flatten().map(|one| std::fs::read_to_string(one.path()).unwrap()).collect()
    }

    pub fn to(&self, address: &str) -> Vec<String> {
        let header = format!("To: {address}\n");
        self.letters().into_iter().filter(|letter| letter.replace('\r', "").contains(&header)).collect()
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
