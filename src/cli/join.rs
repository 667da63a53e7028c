//! `coordinator join`: this machine serves for a coordinator, through connections that it makes itself.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args as ClapArgs;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::allocator::give_back_at_once;
use super::descriptors::raise_file_limit;
use super::invite::coordinator_url;
use super::layers::ConfigArg;
use super::output::Output;
use super::providers::{model, read_ca, secret};
use super::serve::seconds;
use super::{Failed, logging};
use crate::domain::secret::Secret;
use crate::join::{self, Options};
use crate::upstream;

#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The coordinator: https://ai.example.org
    #[arg(value_name = "URL", value_parser = coordinator_url)]
    url: String,
    #[command(flatten)]
    config: ConfigArg,
    /// A key with the scope provide: provider invite, or whoever runs the coordinator
    #[arg(long, env = "COORDINATOR_KEY", value_parser = secret, hide_env_values = true)]
    key: Secret,
    /// The local server's base URL, up to and with /v1 [default: looked for on this machine]
    #[arg(long, env = "COORDINATOR_TO", value_name = "BASE_URL", value_parser = upstream::check_base_url)]
    to: Option<String>,
    /// What the local server asks for
    #[arg(long, env = "COORDINATOR_LOCAL_KEY", value_parser = secret, hide_env_values = true)]
    local_key: Option<Secret>,
    /// What this machine is called [default: its host name]
    #[arg(long, env = "COORDINATOR_NAME")]
    name: Option<String>,
    /// A model that it serves, and what the local server calls it; may be given often [default: all that have a price]
    #[arg(long = "model", env = "COORDINATOR_MODEL", value_delimiter = ',', value_name = "PUBLIC[=LOCAL]", value_parser = model)]
    models: Vec<(String, String)>,
    /// The most requests at once [default: what the local server says, or 4]
    #[arg(long, env = "COORDINATOR_MAX_CONCURRENT", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    max_concurrent: Option<u32>,
    /// Take the place of another process that serves under this name
    #[arg(long)]
    replace: bool,
    /// A proxy that understands CONNECT [default: what HTTPS_PROXY, HTTP_PROXY or ALL_PROXY names for it, but for NO_PROXY]
    #[arg(long, env = "COORDINATOR_PROXY", value_name = "http://[USER:PASSWORD@]HOST:PORT", hide_env_values = true)]
    proxy: Option<String>,
    /// Trust the certificates of a private authority for the coordinator: a PEM file
    #[arg(long, env = "COORDINATOR_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// How long requests may still run after SIGTERM
    #[arg(long, env = "COORDINATOR_DRAIN_TIMEOUT", default_value = "120", value_name = "SECONDS", value_parser = seconds)]
    drain_timeout: Duration,
    /// How log lines look
    #[arg(long, env = "COORDINATOR_LOG_FORMAT", value_enum, default_value = "auto", value_name = "FORMAT")]
    log_format: logging::Format,
    /// Which log lines are written: error, warn, info, debug
    #[arg(long, env = "COORDINATOR_LOG", default_value = "info", value_name = "LEVEL")]
    log: String,
}

/// The proxy that an environment names for a URL, as other programs read it, unless the host is reached without.
fn proxy_of(url: &str, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let first = |names: &[&str]| names.iter().find_map(|name| variable(name).filter(|value| !value.is_empty()));
    let uri: http::Uri = url.parse().ok()?;
    let host = uri.host()?.to_ascii_lowercase();
    let (of_scheme, usual) = if uri.scheme_str() == Some("https") {
        (["https_proxy", "HTTPS_PROXY"], 443)
    } else {
        (["http_proxy", "HTTP_PROXY"], 80)
    };
    let port = uri.port_u16().unwrap_or(usual).to_string();
    let is_without = |name: &str| {
        let name = name.trim().to_ascii_lowercase();
        let bare = name.strip_suffix(&format!(":{port}")).unwrap_or(&name).trim_start_matches(['*', '.']);
        name == "*" || (!bare.is_empty() && (host == bare || host.ends_with(&format!(".{bare}"))))
    };
    let without = first(&["no_proxy", "NO_PROXY"]).unwrap_or_default();
    if without.split(',').any(is_without) || matches!(&*host, "127.0.0.1" | "localhost" | "[::1]") {
        return None;
    }
    first(&of_scheme).or_else(|| first(&["all_proxy", "ALL_PROXY"])).filter(|proxy| !proxy.starts_with("socks"))
}

pub fn run(args: Args, out: Output) -> Result<(), Failed> {
    give_back_at_once();
    let log = logging::start(args.log_format, &args.log)?;
    raise_file_limit();
    let host_name = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    let options = Options {
        proxy: args.proxy.or_else(|| proxy_of(&args.url, |name| std::env::var(name).ok())),
        url: args.url,
        key: args.key,
        to: args.to,
        local_key: args.local_key,
        name: args.name.unwrap_or_else(host_name),
        models: args.models,
        max_concurrent: args.max_concurrent,
        replace: args.replace,
        ca_pem: args.ca_file.as_deref().map(read_ca).transpose()?,
        drain: args.drain_timeout,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(serve(options, out));
    drop(log);
    served
}

async fn serve(options: Options, out: Output) -> Result<(), Failed> {
    let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (mut again, mut interrupted) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let url = options.url.clone();
    let joined = join::join(options, stop, |welcome, local| {
        let (name, models) = (&welcome.name, &welcome.models);
        tracing::info!(name, id = %welcome.id, models = models.join(" "), "joined");
        let said = if out.json {
            out.line(&json!({"joined": welcome.id, "name": name, "models": models, "held": welcome.held}).to_string())
        } else {
            out.line(&format!("{name} serves {} for {url}, from {local}", models.join(", ")))
        };
        // Whoever started it need not listen any more.
        drop(said);
    });
    let twice = async {
        for _ in 0..2 {
            tokio::select! {
                _ = again.recv() => {}
                _ = interrupted.recv() => {}
            }
        }
    };
    tokio::select! {
        joined = joined => joined.map_err(|e| Failed::Other(e.to_string())),
        // A second signal: at once.
        () = twice => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_names_the_proxy_and_whom_to_reach_without() {
        let (one, two) = ("http://one:1", "http://two:2");
        type Set<'a> = &'a [(&'a str, &'a str)];
        // URL, what is set, the proxy
        let rows: [(&str, Set<'_>, Option<&str>); 14] = [
            ("https://ai.example.org", &[], None),
            ("https://ai.example.org", &[("HTTPS_PROXY", one)], Some(one)),
            ("https://ai.example.org", &[("HTTPS_PROXY", ""), ("ALL_PROXY", two)], Some(two)),
            ("https://ai.example.org", &[("HTTPS_PROXY", one), ("https_proxy", two)], Some(two)),
            ("https://ai.example.org", &[("HTTP_PROXY", one)], None),
            ("http://ai.example.org", &[("http_proxy", one), ("https_proxy", two)], Some(one)),
            ("https://ai.example.org", &[("all_proxy", "socks5://one:1")], None),
            ("https://AI.example.org", &[("HTTPS_PROXY", one), ("NO_PROXY", "other, .Example.org")], None),
            ("https://ai.example.org", &[("HTTPS_PROXY", one), ("no_proxy", "*.example.org")], None),
            ("https://ai.example.org", &[("HTTPS_PROXY", one), ("NO_PROXY", "example.com,i.example.org")], Some(one)),
            ("https://ai.example.org", &[("HTTPS_PROXY", one), ("NO_PROXY", "ai.example.org:443")], None),
            ("https://ai.example.org:8443", &[("HTTPS_PROXY", one), ("NO_PROXY", "ai.example.org:443")], Some(one)),
            ("https://ai.example.org", &[("HTTPS_PROXY", one), ("NO_PROXY", "*")], None),
            ("http://127.0.0.1:8080", &[("http_proxy", one)], None),
        ];
        for (url, set, proxy) in rows {
            let variable = |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
            assert_eq!(proxy_of(url, variable).as_deref(), proxy, "{url} {set:?}");
        }
    }
}
