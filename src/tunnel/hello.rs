//! What an agent and the coordinator say to each other first.
//!
//! Fields are only ever added: an older end leaves out what it does not know and reads what it does. What cannot be
//! said that way gets a new number of the protocol, and the coordinator speaks the last two.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::ids::ProviderId;

/// What an agent says when it registers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = NewMachine)]
pub struct Hello {
    /// Which protocol it speaks.
    pub protocol: u32,
    /// Its version, for people.
    pub version: String,
    /// What it is called. One account has one machine of a name.
    pub name: String,
    /// Random, of this process: it takes its own place over, and nobody else's.
    pub instance: String,
    /// It takes the place of another process that serves under its name.
    #[serde(default)]
    pub replace: bool,
    /// What it serves.
    pub models: Vec<HelloModel>,
    /// The most requests at once.
    pub max_concurrent: u32,
}

/// A model of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = MachineModel)]
pub struct HelloModel {
    /// The public name, which has a price.
    pub model: String,
    /// What the local server calls it.
    pub upstream_model: String,
}

/// What the coordinator answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = JoinedMachine)]
pub struct Welcome {
    /// The machine's row.
    pub id: ProviderId,
    /// What it is called here.
    pub name: String,
    /// Which protocol is spoken.
    pub protocol: u32,
    /// The coordinator's version, for people.
    pub version: String,
    /// Opens the WebSockets, within a minute.
    pub session: String,
    /// How many WebSockets to open.
    pub lanes: usize,
    /// It gets no requests yet: an admin is to enable it.
    pub held: bool,
    /// The public names of the models that it serves.
    pub models: Vec<String>,
    /// Those that it does not, and why.
    #[serde(default)]
    pub left_out: Vec<String>,
}

/// The two ends have no protocol in common.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "this coordinator ({ours}) speaks the join protocol {least} to {most}, the agent ({theirs}) speaks {protocol}: \
     update the {old}"
)]
pub struct NotUnderstood {
    ours: &'static str,
    theirs: String,
    protocol: u32,
    least: u32,
    most: u32,
    old: &'static str,
}

impl Hello {
    /// The protocol that this program speaks.
    pub const PROTOCOL: u32 = 1;
    /// The oldest one that it still understands.
    pub const OLDEST: u32 = 1;

    /// Can it be understood?
    ///
    /// # Errors
    /// It is too old, or it is newer and understands nothing this old: which one is to be updated.
    pub fn check_protocol(&self) -> Result<(), NotUnderstood> {
        let is_known = (Self::OLDEST..=Self::PROTOCOL.saturating_add(1)).contains(&self.protocol);
        if is_known {
            return Ok(());
        }
        Err(NotUnderstood {
            ours: env!("CARGO_PKG_VERSION"),
            theirs: self.version.chars().filter(|c| !c.is_control()).take(40).collect(),
            protocol: self.protocol,
            least: Self::OLDEST,
            most: Self::PROTOCOL,
            old: if self.protocol < Self::OLDEST { "agent" } else { "coordinator" },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the first release of this protocol said it, with what a later one may add.
    const RECORDED: &str = r#"{"protocol":1,"version":"0.1.0","name":"kitchen","instance":"5f0c","models":
        [{"model":"gemma","upstream_model":"gemma3:4b","vision":true}],"max_concurrent":4,"gpus":2}"#;

    #[test]
    fn a_recorded_handshake_is_understood_with_less_and_with_more_in_it() {
        let hello: Hello = serde_json::from_str(RECORDED).unwrap();
        assert_eq!((hello.name.as_str(), hello.max_concurrent, hello.replace), ("kitchen", 4, false));
        let welcome = r#"{"id":"prov_06a0vjk5rtq3c","name":"kitchen","protocol":1,"version":"0.2.0","session":"ab",
            "lanes":2,"held":false,"models":["gemma"],"motd":"hi"}"#;
        let welcome: Welcome = serde_json::from_str(welcome).unwrap();
        assert_eq!((welcome.lanes, welcome.left_out.len()), (2, 0));
    }

    #[test]
    fn one_version_more_works_and_others_are_told_what_to_update() {
        let hello = |protocol| Hello { protocol, ..serde_json::from_str(RECORDED).unwrap() };
        // protocol → what is to be updated
        for (protocol, old) in [(0, Some("agent")), (1, None), (2, None), (3, Some("coordinator"))] {
            let said = hello(protocol).check_protocol().err().map(|e| e.to_string());
            assert_eq!(said.is_some(), old.is_some(), "{protocol}");
            assert!(said.is_none_or(|said| said.ends_with(&format!("update the {}", old.unwrap()))), "{protocol}");
        }
    }
}
