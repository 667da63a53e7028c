//! `coordinator provider invite`: a key for machines that join, and the line to run there.

use clap::Args as ClapArgs;
use serde::Serialize;

use super::output::Output;
use super::{Failed, keys};
use crate::domain::key_limits::KeyLimits;
use crate::domain::keys::{KeyId, Scopes};
use crate::store::Store;
use crate::upstream;

#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Who earns: an account's id, name or email
    account: String,
    /// A model that its machines may serve; may be given often [default: all]
    #[arg(long = "model", value_name = "MODEL")]
    models: Vec<String>,
    /// How many machines may join with it
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    machines: u32,
    /// New machines get no requests until: provider enable NAME
    #[arg(long)]
    hold: bool,
    /// Where machines reach this server
    #[arg(long, env = "COORDINATOR_PUBLIC_URL", value_name = "URL", default_value = "https://YOUR-COORDINATOR", value_parser = coordinator_url)]
    url: String,
}

/// `https://ai.example.org`, also where somebody pastes the base URL of clients.
pub fn coordinator_url(text: &str) -> Result<String, String> {
    let text = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let base = upstream::check_base_url(&text)?;
    Ok(base.strip_suffix("/v1").unwrap_or(&base).to_owned())
}

/// An invitation: the only time its key is shown.
#[derive(Serialize)]
struct Invitation {
    id: KeyId,
    key: String,
    command: String,
}

pub fn run(args: Args, store: &Store, out: Output) -> Result<(), Failed> {
    let limits = KeyLimits {
        allowed_models: Some(args.models).filter(|models| !models.is_empty()),
        max_machines: Some(args.machines),
        holds_machines: args.hold,
        ..KeyLimits::default()
    };
    let (key, view) = keys::mint(store, &args.account, "machines".to_owned(), Scopes::PROVIDE, limits)?;
    let command = format!("coordinator join {} --key {}", args.url, key.expose());
    let invitation = Invitation { id: view.id, key: key.expose().to_owned(), command };
    out.print(&invitation, |made| {
        format!(
            "Run this on the machine, beside its server of models:\n\n  {}\n\nThis is the only time the key is shown. \
             Its id is {}; to end it: coordinator key revoke {}",
            made.command, made.id, made.id
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_paste_is_the_coordinators_url() {
        for text in
            ["https://ai.example.org", "ai.example.org", "https://ai.example.org/v1/", "https://ai.example.org/"]
        {
            assert_eq!(coordinator_url(text).as_deref(), Ok("https://ai.example.org"), "{text}");
        }
        assert_eq!(coordinator_url("http://10.0.0.7:8080/ai/v1").as_deref(), Ok("http://10.0.0.7:8080/ai"));
        assert!(coordinator_url("ftp://x").is_err());
    }
}
