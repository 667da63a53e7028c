//! A certificate from files: read at the start, and again when they change.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::shown::{Certificate, Certificates};
use crate::domain::time::Timestamp;

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(2);

/// Where the certificate's chain and its private key lie.
#[derive(Debug, Clone)]
pub struct Files {
    /// The chain, PEM, the server's own first.
    pub chain: PathBuf,
    /// The private key, PEM; may be the same file.
    pub key: PathBuf,
}

/// By this a change is seen: of both files the inode, the time and the size.
type Mark = [Option<(u64, i64, i64, u64)>; 2];

impl Files {
    /// Reads both.
    ///
    /// # Errors
    /// They cannot be read, or what they hold cannot be shown; the text names the file.
    pub fn read(&self) -> Result<Certificate, String> {
        let bytes = |path: &Path| fs::read(path).map_err(|e| format!("{}: {e}", path.display()));
        let (chain, key) = (bytes(&self.chain)?, bytes(&self.key)?);
        let at = |why| format!("{} and {}: {why}", self.chain.display(), self.key.display());
        Certificate::read(&chain, &key, Timestamp::now()).map_err(at)
    }

    fn mark(&self) -> Mark {
        [&self.chain, &self.key].map(|path| {
            let meta = fs::metadata(path).ok()?;
            Some((meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.size()))
        })
    }
}

/// Shows what the files hold whenever they change. What cannot be shown is logged, and the old one stays.
pub async fn watch(files: Files, certificates: Arc<Certificates>) {
    let mut loaded = files.mark();
    let mut before = loaded;
    loop {
        tokio::time::sleep(EVERY).await;
        let now = files.mark();
        // Two files do not change at one moment: they are read once they have stayed the same for a while.
        if now != loaded && now == before {
            loaded = now;
            match files.read() {
                Ok(certificate) => {
                    tracing::info!(valid_until = %certificate.until, "another certificate is shown");
                    certificates.show(certificate);
                }
                Err(why) => {
                    tracing::error!(why, "the certificate's files changed, and cannot be used: the old one stays")
                }
            }
        }
        before = now;
    }
}
