//! What commands ask the server that runs on their data directory: HTTP/1.1 over a Unix socket in that directory.
//!
//! Some of what a server knows is in its memory alone: who waits, how the providers do, what is on hold. And what it
//! learns from a probe that a command asks for is of use to it at once. Why it is asked in this way:
//!
//! - Whoever can open the socket (mode 0600, in a directory of mode 0700) can open the database beside it: so it asks
//!   for no key. It is a server of its own, with routes of its own: nothing on TCP leads to them.
//! - HTTP, because routes, errors and JSON are those of the API; `curl --unix-socket` can ask too.
//! - A worker of its own: it answers while the others are busy, and tells of a drain while it lasts.
//! - A server whose socket cannot be made says so in its log and serves all the same; the commands then do without.

mod routes;
mod views;

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use actix_http::{HttpService, Protocol};
use actix_service::{IntoServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::App;
use actix_web::dev::{AppConfig, Server, ServerHandle};
use actix_web::rt::net::UnixStream;
use actix_web::web::Data;

use crate::http::spawn;

pub use crate::http::public::capacity::ModelCapacity;
pub use routes::{LocalState, loads};
pub use views::{ProbeOutcome, ProbeReport, ProbedEndpoint, ProviderLoad, Status};

/// The socket's name in the data directory.
const SOCKET: &str = "coordinator.sock";
/// More bytes the kernel does not take for the path of a socket: 108 with the zero at the end (unix(7)).
pub const LONGEST_PATH: usize = 107;

/// Where the server on this data directory listens for commands.
pub fn socket_path(dir: &Path) -> PathBuf {
    dir.join(SOCKET)
}

/// The server on the socket. The socket's file is gone when this is.
#[derive(Debug)]
pub struct LocalServer {
    handle: ServerHandle,
    path: PathBuf,
}

impl LocalServer {
    /// Listens in the data directory `dir`, whose lock the caller has. If that cannot be, the log says why.
    pub fn start(dir: &Path, state: LocalState) -> Option<Self> {
        let path = socket_path(dir);
        match listen(&path).and_then(|listener| serve(state, listener)) {
            Ok(server) => {
                let handle = server.handle();
                spawn(server);
                Some(Self { handle, path })
            }
            Err(e) => {
                tracing::warn!(socket = %path.display(), error = %e, "commands cannot ask this server");
                None
            }
        }
    }

    /// Ends it, whoever is still being answered.
    pub async fn stop(self) {
        self.handle.stop(false).await;
    }
}

impl Drop for LocalServer {
    fn drop(&mut self) {
        if let Err(e) = fs::remove_file(&self.path) {
            tracing::warn!(socket = %self.path.display(), error = %e, "the socket could not be removed");
        }
    }
}

/// A listener at `path`, for the owner alone. One that a killed server left there is replaced.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let length = path.as_os_str().len();
    if length > LONGEST_PATH {
        let text = format!("the path of a socket has at most {LONGEST_PATH} bytes, and this one {length}");
        return Err(io::Error::other(text));
    }
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::other("something else has that name")),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    // The process's umask keeps it from others from its first moment.
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

fn serve(state: LocalState, listener: UnixListener) -> io::Result<Server> {
    let state = Data::new(state);
    let builder = Server::build().workers(1).disable_signals();
    let server = builder.listen_uds("commands", listener, move || {
        let app = App::new().app_data(state.clone()).configure(routes::routes);
        let app = app.into_factory().map_err(|e: actix_web::Error| e.error_response());
        let http = HttpService::build().finish(map_config(app, |()| AppConfig::default()));
        fn_service(|stream: UnixStream| async move { Ok((stream, Protocol::Http1, None)) }).and_then(http)
    })?;
    Ok(server.run())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_too_long_or_taken_is_an_error_in_plain_words() {
        let dir = tempfile::tempdir().unwrap();
        let long = dir.path().join("x".repeat(LONGEST_PATH));
        assert!(listen(&long).unwrap_err().to_string().contains("at most 107 bytes"));
        let taken = dir.path().join("taken");
        fs::write(&taken, "precious").unwrap();
        assert!(listen(&taken).unwrap_err().to_string().contains("something else"));
        assert_eq!(fs::read_to_string(&taken).unwrap(), "precious");
        // The longest that is let through is one that the kernel takes.
        let room = LONGEST_PATH - dir.path().as_os_str().len() - 1;
        drop(listen(&dir.path().join("x".repeat(room))).unwrap());
    }
}
