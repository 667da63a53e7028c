//! Admins: made, let in, locked out, removed, by the page's API and by the command line.

use serde_json::{Value, json};

use crate::world::coordinator::Coordinator;
use crate::world::http::{Reply, Request};
use crate::world::text;

const PASSWORD: &str = "correct horse battery staple";

fn sign_in(server: &Coordinator, name: &str, password: &str) -> Reply {
    let body = json!({"name": name, "password": password});
    server.http().send(&Request::post("/v1/admin/session").json(&body))
}

fn cookie(reply: &Reply) -> String {
    reply.header("set-cookie").and_then(|set| set.split(';').next()).unwrap_or_default().to_owned()
}

fn with_cookie(server: &Coordinator, cookie: &str) -> u16 {
    server.http().send(&Request::get("/v1/admin/overview").header("cookie", cookie)).status
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().filter_map(|admin| admin["name"].as_str()).collect()
}

#[test]
fn a_new_password_ends_that_admins_sessions_and_keys_and_no_others() {
    let mut server = Coordinator::new();
    let root = server.admin_key();
    server.start(&[]);
    let http = server.http();
    let body = json!({"name": "bob", "password": PASSWORD});
    let bob = http.send(&Request::post("/v1/admin/admins").key(&root).json(&body)).expect(201).json();
    http.send(&Request::post("/v1/admin/admins").key(&root).json(&body)).expect(409);
    let bobs_key = text(&server.ok(&["admin", "key", "bob"]), "key");
    let bobs_session = cookie(&sign_in(&server, "bob", PASSWORD).expect(200));
    let roots_session = cookie(&sign_in(&server, "root", PASSWORD).expect(200));
    assert_eq!(with_cookie(&server, &bobs_session), 200);
    let listed = http.get("/v1/admin/admins", &bobs_key).expect(200).json();
    assert_eq!(
        (names(&listed), &listed[0]["sessions"], &listed[0]["keys"]),
        (vec!["bob", "root"], &json!(1), &json!(1))
    );

    let path = format!("/v1/admin/admins/{}", text(&bob, "id"));
    let patch =
        |password: &str| http.send(&Request::new("PATCH", &path).key(&root).json(&json!({"password": password})));
    assert_eq!(patch("too short").expect(400).error().2, "password");
    patch("another long password").expect(200);
    assert_eq!(with_cookie(&server, &bobs_session), 401);
    http.get("/v1/admin/admins", &bobs_key).expect(401);
    sign_in(&server, "bob", PASSWORD).expect(401);
    let again = cookie(&sign_in(&server, "bob", "another long password").expect(200));
    assert_eq!((with_cookie(&server, &again), with_cookie(&server, &roots_session)), (200, 200));

    http.send(&Request::new("DELETE", &path).key(&root)).expect(204);
    assert_eq!(with_cookie(&server, &again), 401);
    http.send(&Request::new("DELETE", &path).key(&root)).expect(404);
    sign_in(&server, "bob", "another long password").expect(401);
    let last = text(&http.get("/v1/admin/admins", &root).expect(200).json()[0], "id");
    let refused = http.send(&Request::new("DELETE", &format!("/v1/admin/admins/{last}")).key(&root)).expect(409);
    assert!(refused.text().contains("last admin"), "{}", refused.text());
}

#[test]
fn the_command_line_does_the_same_while_the_server_runs() {
    let mut server = Coordinator::new();
    let root = server.admin_key();
    server.ok(&["admin", "create", "bot"]);
    let bot = text(&server.ok(&["admin", "key", "bot"]), "key");
    server.start(&[]);
    server.http().get("/v1/admin/admins", &bot).expect(200);
    let session = cookie(&sign_in(&server, "root", PASSWORD).expect(200));
    assert_eq!(names(&server.ok(&["admin", "list"])), ["bot", "root"]);
    let done = server.cli_with_input(&["admin", "password", "root"], "yet another password\n");
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(with_cookie(&server, &session), 401);
    server.http().get("/v1/admin/admins", &root).expect(401);
    sign_in(&server, "root", "yet another password").expect(200);
    server.ok(&["admin", "remove", "bot"]);
    server.http().get("/v1/admin/admins", &bot).expect(401);
    let last = server.cli(&["admin", "remove", "root"]);
    assert!(last.code == 1 && last.stderr.contains("last admin"), "{last:?}");
    assert_eq!(server.cli(&["admin", "remove", "nobody"]).code, 1);
}

#[test]
fn a_backup_holds_no_session_and_a_restored_one_revives_none() {
    let mut server = Coordinator::new();
    server.admin_key();
    server.start(&[]);
    let session = cookie(&sign_in(&server, "root", PASSWORD).expect(200));
    let copy = server.beside("copy.db");
    server.ok(&["backup", copy.to_str().unwrap()]);
    assert_eq!(with_cookie(&server, &session), 200, "of the original nothing ends");
    assert_eq!(server.number("SELECT count(*) FROM sessions"), 1);
    server.stop();
    for suffix in ["", "-wal", "-shm"] {
        drop(std::fs::remove_file(format!("{}{suffix}", server.database().display())));
    }
    std::fs::copy(&copy, server.database()).unwrap();
    server.start(&[]);
    assert_eq!(with_cookie(&server, &session), 401);
    sign_in(&server, "root", PASSWORD).expect(200);
    assert_eq!(server.audit()["ok"], true);
}
