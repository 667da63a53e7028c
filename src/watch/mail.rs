//! One alert by e-mail.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use lettre::message::{Mailbox, header};
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, Message};
use tokio::net::TcpStream;

use super::by_byte::ByByte;
use super::undelivered::Undelivered;
use super::words::Letter;
use crate::domain::secret::ResolveSecret;
use crate::store::alert_channels::{MailSecurity, MailSettings};
use crate::store::alerts::AlertRow;
use crate::upstream::{look_up, tls_words};

/// How long each step of the conversation may take, and all of it.
const PATIENCE: Duration = Duration::from_secs(10);
const ALL_PATIENCE: Duration = Duration::from_secs(30);
/// How long is waited for a server's answer to a farewell.
const FAREWELL: Duration = Duration::from_secs(1);
/// The longest answer of a server that is kept, in characters.
const LONGEST: usize = 300;
/// What a server answers to a user or a password that it does not take (RFC 4954, 6).
const WRONG_PASSWORD: u16 = 535;

/// Checks an address as one writes it, with a name or without.
///
/// # Errors
/// It is none; the text says why.
pub fn check_mailbox(text: &str) -> Result<(), String> {
    mailbox(text).map(drop)
}

fn mailbox(text: &str) -> Result<Mailbox, String> {
    // A line's end would begin a header of its own.
    if text.chars().any(char::is_control) || text.len() > 320 {
        return Err("an e-mail address is one line".to_owned());
    }
    match text.trim().parse::<Address>() {
        Ok(address) => Ok(Mailbox::new(None, address)),
        Err(_) => text.trim().parse().map_err(|_| format!("\"{text}\" is no e-mail address")),
    }
}

/// Sends one message to all of `to`. `for_one`: to somebody whose address may be what is wrong.
pub async fn send(
    settings: &MailSettings,
    resolve: ResolveSecret,
    to: &[String],
    (alert, letter): (&AlertRow, Letter),
    for_one: bool,
) -> Result<(), Undelivered> {
    let message = message(settings, to, alert, letter).map_err(|error| {
        // What cannot be written is not written better later.
        Undelivered { error, lets_pass: true, is_final: for_one }
    })?;
    let failed = |e: smtp::Error| failure(&e, &settings.host, for_one);
    let sending = async {
        let credentials = credentials(settings, resolve).map_err(Undelivered::later)?;
        // The address is looked up here, so that what is connected to is what was checked.
        let address = look_up(&settings.host, settings.port).await.map_err(Undelivered::later)?;
        let mut server = connection(settings, address, failed).await?;
        if let Some(credentials) = credentials {
            server.auth(DEFAULT_MECHANISMS, &credentials).await.map_err(failed)?;
        }
        server.send(message.envelope(), &message.formatted()).await.map_err(failed)?;
        // It has the message: one that does not answer to a farewell has it, too.
        let _ = tokio::time::timeout(FAREWELL, server.abort()).await;
        Ok(())
    };
    let sent = tokio::time::timeout(ALL_PATIENCE, sending).await;
    sent.unwrap_or_else(|_| Err(Undelivered::later(format!("not sent within {} s", ALL_PATIENCE.as_secs()))))
}

fn message(settings: &MailSettings, to: &[String], alert: &AlertRow, letter: Letter) -> Result<Message, String> {
    let from = mailbox(&settings.from)?;
    // The same for each try: whoever gets it twice can see that.
    let id = format!("<{}@{}>", alert.id, from.email.domain());
    let mut message = Message::builder()
        .from(from)
        .subject(letter.subject)
        .message_id(Some(id))
        // RFC 3834: nobody's holiday answers it.
        .header(AutoSubmitted)
        .header(header::ContentType::TEXT_PLAIN);
    for address in to {
        message = message.to(mailbox(address)?);
    }
    message.body(letter.text).map_err(|e| format!("it cannot be written: {e}"))
}

/// `Auto-Submitted: auto-generated`
#[derive(Debug, Clone)]
struct AutoSubmitted;

impl header::Header for AutoSubmitted {
    fn name() -> header::HeaderName {
        header::HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> header::HeaderValue {
        header::HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

/// The user and the password, if the server is to be told them.
fn credentials(settings: &MailSettings, resolve: ResolveSecret) -> Result<Option<Credentials>, String> {
    let Some(username) = &settings.username else { return Ok(None) };
    let password = settings.password.as_ref().and_then(resolve);
    let password = password.ok_or_else(|| "the variable with the password is not set".to_owned())?;
    Ok(Some(Credentials::new(username.clone(), password.expose().to_owned())))
}

/// A connection on which a password may be said: inside TLS, unless the settings want none.
async fn connection(
    settings: &MailSettings,
    address: SocketAddr,
    failed: impl Fn(smtp::Error) -> Undelivered,
) -> Result<AsyncSmtpConnection, Undelivered> {
    let hello = ClientId::default();
    let tls = || TlsParameters::new(settings.host.clone()).map_err(&failed);
    let tls_at_once = match settings.security {
        MailSecurity::Starttls => {
            let socket = tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await;
            let socket = socket.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            let socket = socket.map_err(|e| Undelivered::later(format!("no connection to {address}: {e}")))?;
            let server = AsyncSmtpConnection::connect_with_transport(Box::new(ByByte(socket)), &hello).await;
            let mut server = server.map_err(&failed)?;
            server.starttls(tls()?, &hello).await.map_err(&failed)?;
            return Ok(server);
        }
        MailSecurity::Tls => Some(tls()?),
        MailSecurity::None => None,
    };
    AsyncSmtpConnection::connect_tokio1(address, Some(PATIENCE), &hello, tls_at_once, None).await.map_err(failed)
}

/// What a failure to send means. A server that refuses a recipient or a message (55x) refuses it the next time, too;
/// one that has no time for it (4xx) may only have none for this one; all else is the server's state.
fn failure(e: &smtp::Error, host: &str, for_one: bool) -> Undelivered {
    let code = e.status().map(u16::from);
    let is_refused = code.is_some_and(|code| (550..=554).contains(&code));
    let is_put_off = code.is_some_and(|code| (450..=452).contains(&code));
    let text = match code {
        Some(WRONG_PASSWORD) => format!("it does not take the user or the password: {e}"),
        _ => of_tls(e, host).unwrap_or_else(|| e.to_string()),
    };
    let text: String = text.chars().filter(|c| !c.is_control()).take(LONGEST).collect();
    Undelivered { error: text, lets_pass: is_refused || is_put_off, is_final: is_refused && for_one }
}

/// What is wrong with the server's TLS, if that is what is wrong.
fn of_tls(e: &(dyn Error + 'static), host: &str) -> Option<String> {
    let mut next = Some(e);
    while let Some(e) = next {
        if let Some(text) = tls_words(e, host) {
            return Some(text);
        }
        next = e.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_cannot_bring_a_header() {
        for good in ["ada@example.org", "Ada <ada@example.org>", " a@b.example ", "x@localhost"] {
            assert!(check_mailbox(good).is_ok(), "{good}");
        }
        let long = format!("{}@example.org", "x".repeat(330));
        for bad in [
            "",
            "ada",
            "@example.org",
            "ada@",
            "a@b\r\nBcc: c@d.example",
            "a@b.example\n",
            "a@b, c@d",
            "a b@c",
            "\u{0}@b",
            &long,
        ] {
            assert!(check_mailbox(bad).is_err(), "{bad:?}");
        }
    }
}
