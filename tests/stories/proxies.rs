//! A server that people reach through a proxy: what it believes, of whom, and what it says where it does not.

use serde_json::json;

use crate::world::coordinator::Coordinator;
use crate::world::http::{Reply, Request};
use crate::world::{chat_body, text};

const SITE: &str = "https://ai.example.org";

/// Signs in as a page of [`SITE`] would, through a proxy that adds `headers`.
fn sign_in(server: &Coordinator, headers: &[(&str, &str)]) -> Reply {
    let body = json!({"name": "root", "password": "correct horse battery staple"});
    let request = Request::post("/v1/admin/session").json(&body).header("origin", SITE);
    server.http().send(&headers.iter().fold(request, |request, (name, value)| request.header(name, value)))
}

#[test]
fn a_page_that_the_names_do_not_fit_is_told_which_and_how_to_mend_it() {
    let mut server = Coordinator::new();
    server.admin_key();
    server.start(&[]);
    let (_, code, _) = sign_in(&server, &[]).expect(403).error();
    assert_eq!(code, "cross_site");
    let refused = sign_in(&server, &[]).expect(403).text();
    for part in [
        format!("the page is of {SITE}, this server is http://coordinator"),
        format!("start it with --public-url {SITE}"),
        "proxy_set_header Host $http_host;".to_owned(),
    ] {
        assert!(refused.contains(&part), "{refused}");
    }
    // What the browser knows to be of elsewhere is not for us to mend.
    let refused = sign_in(&server, &[("sec-fetch-site", "cross-site")]).expect(403).text();
    assert!(
        refused.contains("the page is of https://ai.example.org") && !refused.contains("--public-url"),
        "{refused}"
    );

    // A bare `proxy_pass`: the browser knows better than the names.
    let cookie = sign_in(&server, &[("sec-fetch-site", "same-origin")]).expect(200);
    let cookie = cookie.header("set-cookie").unwrap();
    assert!(cookie.starts_with("__Host-coordinator=") && cookie.contains("; Path=/; Secure;"), "{cookie}");
}

#[test]
fn only_the_proxies_that_are_named_are_believed() {
    let mut server = Coordinator::new();
    server.admin_key();
    let forwarded = [
        ("x-forwarded-host", "ai.example.org"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-for", "6.6.6.6, 1.2.3.4"),
    ];
    server.start(&[]);
    sign_in(&server, &forwarded).expect(200);
    let meant = server.http().send(&Request::get("/models").header("x-forwarded-host", "ai.example.org:8443"));
    assert!(meant.text().contains("the base URL is http://ai.example.org:8443/v1"), "{}", meant.text());
    server.stop();
    server.start(&["--trusted-proxy", "10.0.0.0/8,192.0.2.1"]);
    sign_in(&server, &forwarded).expect(403);
    server.stop();
    server.start(&["--trusted-proxy", "10.0.0.0/8", "--trusted-proxy", "127.0.0.1"]);
    sign_in(&server, &forwarded).expect(200);
}

#[test]
fn below_a_path_every_address_that_is_said_has_it_and_a_request_may_have_it() {
    let mut server = Coordinator::new();
    server.start(&["--demo", "--public-url", "https://example.org/ai/"]);
    let ready = server.ready();
    assert_eq!(ready["base_url"], "https://example.org/ai/v1");
    assert!(text(&ready, "setup_url").starts_with("https://example.org/ai/admin#setup="), "{ready}");
    let (http, key) = (server.http(), text(&ready, "key"));
    server.ok(&["credit", "demo", "1"]);
    for prefix in ["", "/ai"] {
        http.get(&format!("{prefix}/v1/payments/balance"), &key).expect(200);
        http.get(&format!("{prefix}/admin"), &key).expect(200);
        let page = http.get(&format!("{prefix}/v1/payments/ledger?limit=1"), &key).expect(200);
        assert!(page.header("link").is_some_and(|link| link.starts_with("</ai/v1/payments/ledger?")), "{page:?}");
    }
    http.get("/ai2/v1/payments/balance", &key).expect(404);
    let meant = http.get("/models", &key).expect(404).text();
    assert!(meant.contains("the base URL is https://example.org/ai/v1"), "{meant}");
    http.send(&Request::post("/ai/v1/chat/completions").key(&key).json(&chat_body())).expect(200);
}

#[test]
fn over_plain_http_from_elsewhere_nothing_is_used_up_that_a_dropped_cookie_would_waste() {
    let mut server = Coordinator::new();
    server.start(&[]);
    let setup = text(&server.ready(), "setup_url");
    let token = setup.split("#setup=").nth(1).unwrap();
    let body = json!({"token": token, "name": "ada", "password": "correct horse battery staple"});
    let request = Request::post("/v1/admin/setup").json(&body).header("origin", "http://coordinator");
    let (_, code, _) = server.http().send(&request).expect(403).error();
    assert_eq!(code, "insecure_http");
    server.http().send(&Request::post("/v1/admin/setup").json(&body)).expect(201);
    let body = json!({"name": "ada", "password": "correct horse battery staple"});
    let request = Request::post("/v1/admin/session").json(&body).header("origin", "http://coordinator");
    server.http().send(&request).expect(403);
    server.stop();
    server.start(&["--insecure-http-sign-in"]);
    let reply = server.http().send(&request).expect(200);
    let cookie = reply.header("set-cookie").unwrap();
    assert!(cookie.starts_with("coordinator=") && !cookie.contains("Secure"), "{cookie}");
    assert_eq!(server.http().get("/v1/admin/session", "").expect(200).json()["plain_http_allowed"], true);
}

#[test]
fn an_address_or_a_network_that_is_none_is_wrong_usage() {
    let server = Coordinator::new();
    for (args, says) in [
        (["--public-url", "ai.example.org"], "it is like https://ai.example.org"),
        (["--public-url", "https://ai.example.org/v1"], "without /v1"),
        (["--trusted-proxy", "10.0.0.0/33"], "a network is like 10.0.0.0/8"),
    ] {
        let said = server.cli_plain(&["serve", "--listen", "127.0.0.1:0", args[0], args[1]]);
        assert!(said.code == 2 && said.stderr.contains(says), "{said:?}");
    }
}
