//! The admin page, the account page and their files, embedded in the binary.
//!
//! A page names its files under the hash of all of them (`static/1f2e…/app.css`): a browser keeps them
//! for ever, and after an upgrade asks for the new ones. All addresses are relative: a proxy may serve the
//! whole below a path. Files are compressed once, at the first request.

use std::io::Write;
use std::sync::OnceLock;

use actix_web::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap,
    IF_NONE_MATCH, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use ring::digest;

/// Nothing inline, nothing from elsewhere, no frame around it. uPlot styles through the CSSOM, which
/// `style-src 'self'` allows.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// For the files, which have the hash in their path.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// For the pages, which name the files: ask each time whether there is another.
const ASK: &str = "no-cache";

/// A file as it lies in `static/`.
struct Source {
    path: &'static str,
    bytes: &'static [u8],
}

macro_rules! sources {
    ($($path:literal),* $(,)?) => {
        &[$(Source { path: $path, bytes: include_bytes!(concat!("../../../static/", $path)) }),*]
    };
}

const SOURCES: &[Source] = sources![
    "admin.html",
    "docs.html",
    "index.html",
    "app.css",
    "icon.svg",
    "js/account.js",
    "js/alert.js",
    "js/admin.js",
    "js/api.js",
    "js/chart.js",
    "js/docs.js",
    "js/dom.js",
    "js/earnings.js",
    "js/export.js",
    "js/format.js",
    "js/keys.js",
    "js/machines.js",
    "js/money.js",
    "js/poll.js",
    "js/try.js",
    "js/samples.js",
    "js/table.js",
    "js/ui.js",
    "js/usage.js",
    "js/admin/account.js",
    "js/admin/accounts.js",
    "js/admin/admins.js",
    "js/admin/alerts.js",
    "js/admin/credit.js",
    "js/admin/events.js",
    "js/admin/gate.js",
    "js/admin/invites.js",
    "js/admin/overview.js",
    "js/admin/prices.js",
    "js/admin/providers.js",
    "js/admin/withdrawals.js",
    "vendor/uPlot.LICENSE",
    "vendor/uPlot.iife.min.js",
    "vendor/uPlot.min.css",
];

/// A file as it is sent.
struct Served {
    path: &'static str,
    kind: &'static str,
    tag: String,
    plain: Bytes,
    gzip: Bytes,
}

struct Site {
    version: String,
    files: Vec<Served>,
}

/// `GET /`: the account page.
pub async fn index(request: HttpRequest) -> HttpResponse {
    page(&request, "index.html")
}

/// `GET /admin`: the admin page.
pub async fn admin(request: HttpRequest) -> HttpResponse {
    page(&request, "admin.html")
}

/// `GET /docs`: the API's document, to read.
pub async fn docs(request: HttpRequest) -> HttpResponse {
    page(&request, "docs.html")
}

fn page(request: &HttpRequest, path: &str) -> HttpResponse {
    match site().find(path) {
        Some(file) => send(request.headers(), file, ASK),
        None => HttpResponse::NotFound().finish(),
    }
}

/// `GET /static/{version}/{path}`: a file of the pages.
pub async fn file(request: HttpRequest, at: web::Path<(String, String)>) -> HttpResponse {
    let (version, path) = at.into_inner();
    // A page of another version must not be given files that do not fit it.
    match site().find(&path).filter(|file| site().version == version && file.kind != HTML) {
        Some(file) => send(request.headers(), file, FOR_EVER),
        None => secured(HttpResponse::NotFound()).finish(),
    }
}

fn send(asked: &HeaderMap, file: &Served, keep: &'static str) -> HttpResponse {
    let names = |name, text: &str| asked.get(name).and_then(|v| v.to_str().ok()).is_some_and(|v| v.contains(text));
    if names(IF_NONE_MATCH, &file.tag) {
        return secured(HttpResponse::NotModified())
            .insert_header((ETAG, file.tag.clone()))
            .insert_header((CACHE_CONTROL, keep))
            .finish();
    }
    let mut response = secured(HttpResponse::Ok());
    response
        .insert_header((CONTENT_TYPE, file.kind))
        .insert_header((CACHE_CONTROL, keep))
        .insert_header((ETAG, file.tag.clone()))
        .insert_header((VARY, "accept-encoding"));
    if names(ACCEPT_ENCODING, "gzip") {
        response.insert_header((CONTENT_ENCODING, "gzip")).body(file.gzip.clone())
    } else {
        response.body(file.plain.clone())
    }
}

fn secured(mut response: HttpResponseBuilder) -> HttpResponseBuilder {
    response
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((X_FRAME_OPTIONS, "DENY"))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .insert_header(("cross-origin-opener-policy", "same-origin"))
        .insert_header(("cross-origin-resource-policy", "same-origin"));
    response
}

fn site() -> &'static Site {
    static SITE: OnceLock<Site> = OnceLock::new();
    SITE.get_or_init(Site::build)
}

impl Site {
    fn build() -> Self {
        let mut all = digest::Context::new(&digest::SHA256);
        for source in SOURCES {
            all.update(source.bytes);
        }
        let version = hex(all.finish().as_ref());
        let files = SOURCES.iter().map(|source| Served::of(source, &version)).collect();
        Self { version, files }
    }

    fn find(&self, path: &str) -> Option<&Served> {
        self.files.iter().find(|file| file.path == path)
    }
}

impl Served {
    fn of(source: &Source, version: &str) -> Self {
        let kind = kind(source.path);
        let plain = match std::str::from_utf8(source.bytes) {
            Ok(text) if kind == HTML => {
                Bytes::from(text.replace("\"static/", &format!("\"static/{version}/")).into_bytes())
            }
            _ => Bytes::from_static(source.bytes),
        };
        let tag = format!("\"{}\"", hex(digest::digest(&digest::SHA256, &plain).as_ref()));
        let gzip = gzip(&plain);
        Self { path: source.path, kind, tag, plain, gzip }
    }
}

fn gzip(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // Writing to memory does not fail.
    drop(encoder.write_all(plain));
    Bytes::from(encoder.finish().unwrap_or_default())
}

const HTML: &str = "text/html; charset=utf-8";

fn kind(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => HTML,
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/plain; charset=utf-8",
    }
}

/// The first 16 digits: enough to tell versions apart.
fn hex(digest: &[u8]) -> String {
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn files_under(dir: &Path, found: &mut Vec<String>) {
        let Ok(entries) = std::fs::read_dir(dir) else { panic!("{}", dir.display()) };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                files_under(&path, found);
            } else {
                let name = path.strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/static")).unwrap_or(&path);
                found.push(name.display().to_string());
            }
        }
    }

    #[test]
    fn every_file_of_the_pages_is_embedded() {
        let mut found = Vec::new();
        files_under(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/static")), &mut found);
        found.retain(|path| !path.ends_with(".md"));
        found.sort();
        let mut embedded: Vec<_> = SOURCES.iter().map(|source| source.path.to_owned()).collect();
        embedded.sort();
        assert_eq!(found, embedded);
    }

    #[test]
    fn pages_name_only_files_that_are_there_and_hold_nothing_inline() {
        for file in site().files.iter().filter(|file| file.kind == HTML) {
            let Ok(text) = std::str::from_utf8(&file.plain) else { panic!("not text") };
            let prefix = format!("\"static/{}/", site().version);
            for name in text.split(&prefix).skip(1).filter_map(|rest| rest.split('"').next()) {
                assert!(site().find(name).is_some(), "{}: {name}", file.path);
            }
            for inline in ["=\"/", " style=", "<style", " onclick=", " onload=", "javascript:", "https://", "http://"] {
                assert!(!text.contains(inline), "{}: {inline}", file.path);
            }
            assert!(
                text.matches("<script").count()
                    == text.matches(" src=\"static/").count() - text.matches("<img").count()
            );
        }
    }

    /// What a first visit fetches at most: every file there is.
    #[test]
    fn all_of_it_is_light() {
        let bytes: usize = site().files.iter().map(|file| file.gzip.len()).sum();
        assert!(bytes <= 150_000, "{bytes} bytes over the wire");
    }
}
