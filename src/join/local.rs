//! The local server: where it is, and which models it has.

use std::time::Duration;

use serde::Deserialize;

use super::Options;
use super::dial::{self, Address};
use crate::upstream::{LONGEST_PLACES, PLACES_WAYS};

/// Where servers of models listen if nobody tells them otherwise.
const USUAL: [(&str, u16); 5] =
    [("Ollama", 11_434), ("LM Studio", 1_234), ("llama.cpp or MLX", 8_080), ("vLLM", 8_000), ("SGLang", 30_000)];
/// How long a server on this machine may take to say what it has.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest list of models.
const LONGEST: usize = 4 << 20;

/// The local server.
#[derive(Debug, Clone)]
pub struct ModelServer {
    /// Base URL, ends in `/v1`.
    pub base: String,
    /// What it calls its models.
    pub models: Vec<String>,
    /// How many requests it takes at once, if it says so.
    pub at_once: Option<u32>,
}

#[derive(Deserialize)]
struct List {
    data: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    id: String,
}

impl ModelServer {
    /// The one that was named, or the only one that listens where servers of models do.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub async fn find(options: &Options) -> Result<Self, String> {
        if let Some(base) = &options.to {
            return Self::at(base, options).await.map_err(|why| format!("the local server at {base}: {why}"));
        }
        let mut found = Vec::new();
        for (what, port) in USUAL {
            if let Ok(server) = Self::at(&format!("http://127.0.0.1:{port}/v1"), options).await {
                found.push((what, server));
            }
        }
        let names: Vec<String> = found.iter().map(|(what, server)| format!("{} ({what})", server.base)).collect();
        let mut found = found.into_iter();
        match (found.next(), found.next()) {
            (Some((_, only)), None) => Ok(only),
            (None, _) => Err(format!(
                "no local server was found (looked on 127.0.0.1 for {}): start one, or say where it is with --to URL",
                USUAL.map(|(what, port)| format!("{what} {port}")).join(", ")
            )),
            _ => Err(format!("there are several local servers: {}. Choose one with --to URL", names.join(", "))),
        }
    }

    async fn at(base: &str, options: &Options) -> Result<Self, String> {
        let address = Address::read(base)?;
        let key = options.local_key.as_ref();
        let ask = |path: String| dial::get(&address, path, key, PATIENCE, LONGEST);
        let root = base.strip_suffix("/v1").unwrap_or(base);
        let path = |of: &str| of.splitn(4, '/').nth(3).map(|path| format!("/{path}")).unwrap_or_default();
        let (status, body) = ask(format!("{}/models", path(base))).await?;
        let list = match serde_json::from_slice::<List>(&body) {
            Ok(list) if status == 200 => list,
            // Whoever named the server and its models need not have them listed.
            _ if options.to.is_some() && !options.models.is_empty() => List { data: Vec::new() },
            _ if status != 200 => return Err(format!("it answered {status} when asked for its models")),
            _ => return Err("it lists no models as OpenAI does".to_owned()),
        };
        let mut at_once = None;
        for way in PLACES_WAYS.iter().filter(|_| options.max_concurrent.is_none()) {
            let asked = dial::get(&address, format!("{}{}", path(root), way.path), key, PATIENCE, LONGEST_PLACES);
            if let Ok((200, said)) = asked.await
                && let Some(places) = way.places_in(&said)
            {
                at_once = Some(places);
                break;
            }
        }
        Ok(Self { base: base.to_owned(), models: list.data.into_iter().map(|model| model.id).collect(), at_once })
    }

    /// Public and own name of those that have a price.
    ///
    /// # Errors
    /// None has.
    pub fn priced(&self, priced: &[String]) -> Result<Vec<(String, String)>, String> {
        // Ollama says which version it has, and takes the name without for the latest.
        let is = |own: &str, public: &str| own == public || own.strip_suffix(":latest") == Some(public);
        let of = |public: &String| Some((public.clone(), self.models.iter().find(|own| is(own, public))?.clone()));
        let found: Vec<_> = priced.iter().filter_map(of).collect();
        if found.is_empty() {
            return Err(format!(
                "the local server has {}, the coordinator prices {}: say which is which with --model PUBLIC=LOCAL",
                listed(&self.models),
                listed(priced)
            ));
        }
        Ok(found)
    }
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "no models".to_owned(),
        names => names.iter().take(20).cloned().collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_served_by_the_names_that_have_a_price() {
        let texts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let server =
            ModelServer { base: String::new(), models: texts(&["gemma3:latest", "qwen3:8b", "llama"]), at_once: None };
        let found = server.priced(&texts(&["gemma3", "qwen3", "qwen3:8b"])).unwrap();
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(found, [pair("gemma3", "gemma3:latest"), pair("qwen3:8b", "qwen3:8b")]);
        let why = server.priced(&texts(&["gpt"])).unwrap_err();
        assert!(why.contains("--model PUBLIC=LOCAL") && why.contains("qwen3:8b") && why.contains("gpt"), "{why}");
    }
}
