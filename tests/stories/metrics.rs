//! What a scrape finds: by hand, by `promtool`, by a real Prometheus, and by the dashboard's queries (Debian's
//! `prometheus`).

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::world::coordinator::Coordinator;
use crate::world::http::{Http, Request};
use crate::world::{eventually, free_port, text};

const DASHBOARD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/grafana.json");

/// The body of `GET path` at a port of this machine.
fn get(port: u16, path: &str) -> String {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(socket, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut said = String::new();
    socket.read_to_string(&mut said).unwrap();
    said.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}

/// A demo that has answered a chat, streamed one, and refused one.
fn busy(args: &[&str]) -> Coordinator {
    let mut server = Coordinator::new();
    server.start(&[&["--demo"], args].concat());
    let key = text(&server.ready(), "key");
    let body = |stream: bool| {
        json!({"model": "qwen3.5-27b-claude-opus-8bit", "stream": stream, "max_tokens": 20,
            "messages": [{"role": "user", "content": "Say hello."}]})
    };
    let http = server.http();
    http.send(&Request::post("/v1/chat/completions").key(&key).json(&body(false))).expect(200);
    http.send(&Request::post("/v1/chat/completions").key(&key).json(&body(true))).expect(200);
    http.send(&Request::post("/v1/chat/completions").key("sk-db-nonsense").json(&body(false))).expect(401);
    let admin = server.admin_key();
    http.get("/v1/admin/audit", &admin).expect(200);
    server
}

/// The sum of a metric's samples whose line holds all of `parts`.
fn sum(scraped: &str, name: &str, parts: &[&str]) -> u64 {
    let is_it = |line: &&str| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            && parts.iter().all(|p| line.contains(p))
    };
    scraped.lines().filter(is_it).filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// The names of the metrics that the dashboard's queries use.
fn dashboard() -> (Vec<String>, BTreeSet<String>) {
    let file: Value = serde_json::from_str(&std::fs::read_to_string(DASHBOARD).unwrap()).unwrap();
    let panels = file["panels"].as_array().unwrap().iter();
    let queries: Vec<String> = panels
        .flat_map(|panel| panel["targets"].as_array().unwrap().iter().map(|target| text(target, "expr")))
        .collect();
    let is_ours = |word: &&str| ["coordinator_", "gen_ai_", "process_"].iter().any(|start| word.starts_with(start));
    let words = queries.iter().flat_map(|query| query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')));
    let labels = ["gen_ai_request_model", "gen_ai_provider_name", "gen_ai_token_type"];
    let names = words.filter(is_ours).filter(|word| !labels.contains(word)).map(str::to_owned).collect();
    (queries, names)
}

#[test]
fn a_scrape_tells_of_money_and_machinery_and_of_nobody() {
    let port = free_port();
    let backups = tempfile::tempdir().unwrap();
    let dir = backups.path().to_str().unwrap();
    let server = busy(&["--metrics-listen", &format!("127.0.0.1:{port}"), "--backup-dir", dir]);
    let backup = "coordinator_last_backup_timestamp_seconds";
    eventually("the first backup", || sum(&get(port, "/metrics"), backup, &[]) > 1_700_000_000);
    let scraped = get(port, "/metrics");
    // To the second; a start that is reckoned anew each time goes to and fro between two.
    let started: BTreeSet<u64> = (0..30)
        .map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(40));
            sum(&get(port, "/metrics"), "process_start_time_seconds", &[])
        })
        .collect();
    assert!(started.len() == 1 && started.iter().all(|at| *at > 1_700_000_000), "{started:?}");
    let completed = ["model=\"qwen3.5-27b-claude-opus-8bit\"", "provider=\"demo\"", "outcome=\"completed\""];
    assert_eq!(sum(&scraped, "coordinator_settled_requests_total", &completed), 2, "{scraped}");
    assert_eq!(
        sum(&scraped, "coordinator_refused_requests_total", &["status=\"401\"", "reason=\"invalid_api_key\""]),
        1
    );
    let chat = ["gen_ai_operation_name=\"chat\""];
    assert_eq!(sum(&scraped, "gen_ai_server_request_duration_seconds_count", &chat), 2);
    assert_eq!(sum(&scraped, "gen_ai_server_time_to_first_token_seconds_count", &chat), 1);
    let charged: i64 = i64::try_from(sum(&scraped, "coordinator_charged_micro_usd_total", &[])).unwrap();
    let balance = server.ok(&["account", "show", "demo"])["balance_micro_usd"].as_i64().unwrap();
    assert_eq!(charged, 5_000_000 - balance);
    for (name, least) in [
        ("coordinator_commit_jobs_count", 1),
        ("coordinator_commit_duration_seconds_count", 1),
        ("coordinator_disk_free_bytes", 1),
        ("coordinator_database_bytes", 4_096),
        ("coordinator_provider_up", 1),
        ("coordinator_last_audit_ok", 1),
        ("coordinator_last_audit_timestamp_seconds", 1_700_000_000),
    ] {
        assert!(sum(&scraped, name, &[]) >= least, "{name}: {scraped}");
    }
    for secret in ["acct_", "key_", "sk-db-", "req_"] {
        assert!(!scraped.contains(secret), "{secret}");
    }
    // The page and the scrape tell of the same audit: the last one, by whomever.
    let admin = text(&server.ok(&["admin", "key", "root"]), "key");
    let audit = || server.http().get("/v1/admin/overview", &admin).expect(200).json()["audit"].clone();
    let told = || (sum(&get(port, "/metrics"), "coordinator_last_audit_timestamp_seconds", &[]), audit());
    let seconds = |audit: &Value| OffsetDateTime::parse(&text(audit, "checked_at"), &Rfc3339).unwrap().unix_timestamp();
    let (scraped_at, audit) = told();
    assert_eq!((i64::try_from(scraped_at).unwrap(), &audit["ok"]), (seconds(&audit), &json!(true)), "{audit}");
    let checked = server.http().get("/v1/admin/audit", &admin).expect(200).json();
    assert_eq!(checked["checked_at"], told().1["checked_at"]);
    assert!(get(port, "/").contains("/metrics"));
    // Off unless it is set, and never beside the API.
    server.http().get("/metrics", "").expect(404);
}

#[test]
fn the_dashboard_uses_only_metrics_that_there_are() {
    let source = ["mod.rs", "text.rs"].map(|file| {
        std::fs::read_to_string(format!("{}/src/http/metrics/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    });
    let source = source.concat();
    let (_, names) = dashboard();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        let base =
            ["_bucket", "_count", "_sum", "_total"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
        assert!(source.contains(&format!("\"{base}\"")), "{name}");
    }
}

struct Prometheus(Child, u16);

impl Prometheus {
    /// Scrapes `target` every second; `None` where it is not installed.
    fn start(dir: &Path, target: u16) -> Option<Self> {
        let port = free_port();
        let config = dir.join("prometheus.yml");
        let yaml = format!(
            "scrape_configs:\n- job_name: c\n  scrape_interval: 1s\n  static_configs:\n  - targets: ['127.0.0.1:{target}']\n"
        );
        std::fs::write(&config, yaml).unwrap();
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", dir.join("tsdb").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        match command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
            Ok(child) => Some(Self(child, port)),
            Err(_) => {
                println!("skipped: prometheus is not installed");
                None
            }
        }
    }

    /// What a query answers: its status, and its result.
    fn query(&self, query: &str) -> (String, Value) {
        let encoded: String = query.bytes().map(|b| format!("%{b:02X}")).collect();
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], self.1));
        let said = Http(address).send(&Request::get(&format!("/api/v1/query?query={encoded}")));
        // While it starts it says 503, in words.
        if said.status != 200 {
            return (said.text(), Value::Null);
        }
        let said = said.json();
        (text(&said, "status"), said["data"]["result"].clone())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn prometheus_scrapes_it_and_answers_the_dashboards_queries() {
    let port = free_port();
    let server = busy(&["--metrics-listen", &format!("127.0.0.1:{port}")]);
    let dir = server.beside("prometheus");
    std::fs::create_dir(&dir).unwrap();
    let Some(prometheus) = Prometheus::start(&dir, port) else { return };
    let mut lint = Command::new("promtool");
    lint.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut lint = lint.spawn().unwrap();
    lint.stdin.take().unwrap().write_all(get(port, "/metrics").as_bytes()).unwrap();
    let said = lint.wait_with_output().unwrap();
    assert!(said.status.success() && said.stderr.is_empty(), "{}", String::from_utf8_lossy(&said.stderr));
    eventually("a scrape", || {
        TcpStream::connect(("127.0.0.1", prometheus.1)).is_ok()
            && prometheus.query("sum(coordinator_settled_requests_total)").1[0]["value"][1] == "2"
    });
    // These have no samples here: no certificate, no backup.
    let unknown = ["coordinator_certificate_expiry_timestamp_seconds", "coordinator_last_backup_timestamp_seconds"];
    for query in dashboard().0 {
        let (status, result) = prometheus.query(&query);
        assert_eq!(status, "success", "{query}");
        // A rate wants two scrapes, a quantile of nothing is empty: what is asked plainly must be there.
        let is_plain = !query.contains("rate(") && !unknown.iter().any(|name| query.contains(name));
        assert!(!is_plain || result.as_array().is_some_and(|all| !all.is_empty()), "{query}: {result}");
    }
}
