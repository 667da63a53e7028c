//! The certificate that the server shows: from files, or from an authority that proves the domain over the same port.

mod acceptor;
mod acme;
mod files;
mod shown;
mod validity;

pub use acceptor::{Acceptor, TlsSocket};
pub use acme::{Domain, LETS_ENCRYPT, Order, keep_fresh};
pub use files::{Files, watch};
pub use shown::{Certificate, Certificates};
