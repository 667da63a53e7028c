//! Alerts: what is told, to whom, once for each crossing, and at least once whatever happens to the receiver or the server.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::world::answer::{Answer, End, Step, honest};
use crate::world::http::{Reply, Request};
use crate::world::mailbox::Mailbox;
use crate::world::upstream::{Seen, Upstream};
use crate::world::{Account, World, chat_body, eventually, micro, text};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

pub fn receiver() -> Upstream {
    Upstream::start(|_| Answer::json(200, &json!({})))
}

pub fn hook(receiver: &Upstream) -> Value {
    json!({"webhook": {"url": format!("http://{}/hook?a=b", receiver.addr), "secret": SECRET}})
}

pub fn put(world: &World, admin: &str, body: &Value) -> Reply {
    world.server.http().send(&Request::new("PUT", "/v1/admin/alerts").key(admin).json(body))
}

/// A world whose alerts go to a webhook, its admin's key, and one of the payer's that may set the threshold.
pub fn alerted(receiver: &Upstream, serve: &[&str]) -> (World, String, String) {
    let mut world = World::unstarted("0.05", honest(100, 20));
    let (admin, manage) = (world.server.admin_key(), manage(&world, "payer"));
    world.server.start(serve);
    put(&world, &admin, &hook(receiver)).expect(200);
    (world, admin, manage)
}

pub fn manage(world: &World, account: &str) -> String {
    text(&world.server.ok(&["key", "create", account, "--scope", "manage"]), "key")
}

pub fn threshold(world: &World, key: &str, below: &Value) -> Reply {
    let body = json!({"below_usd": below});
    world.server.http().send(&Request::new("PUT", "/v1/payments/alert").key(key).json(&body))
}

/// What the receiver was sent, oldest first: only what is signed as the specification says.
pub fn told(receiver: &Upstream) -> Vec<(String, Value)> {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &STANDARD.decode(&SECRET[6..]).unwrap());
    let one = |seen: &Seen| {
        let header = |name: &str| seen.header(name).unwrap_or_else(|| panic!("no {name}: {seen:?}")).to_owned();
        let (id, at) = (header("webhook-id"), header("webhook-timestamp"));
        let signature = header("webhook-signature");
        let signed = STANDARD.decode(signature.strip_prefix("v1,").expect("v1")).unwrap();
        let text = format!("{id}.{at}.{}", seen.text());
        ring::hmac::verify(&key, text.as_bytes(), &signed).expect("a signature that holds");
        let came = seen.at.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        assert!(came.abs_diff(at.parse().unwrap()) < 60, "{at} and {came}");
        (id, seen.json())
    };
    receiver.requests().iter().map(one).collect()
}

pub fn kinds(receiver: &Upstream) -> Vec<String> {
    told(receiver).iter().map(|(_, body)| text(body, "type")).collect()
}

pub fn events(world: &World, admin: &str) -> Vec<Value> {
    let all = world.server.http().get("/v1/admin/alerts/events", admin).expect(200).json();
    all.as_array().unwrap().clone()
}

/// So many at once.
fn at_once(count: usize, one: impl Fn() + Sync) {
    std::thread::scope(|scope| (0..count).for_each(|_| drop(scope.spawn(&one))));
}

fn credit(world: &World, admin: &str, path: &str, account: &Account, usd: &str) {
    let body = json!({"account": account.id, "amount_usd": usd});
    world.server.http().send(&Request::post(path).key(admin).json(&body)).expect(200);
}

#[test]
fn a_balance_that_falls_is_told_once_for_each_crossing_whoever_comes_at_once() {
    let receiver = receiver();
    let (world, admin, manage) = alerted(&receiver, &[]);
    let set = threshold(&world, &manage, &json!("0.0495")).expect(200).json();
    assert_eq!((micro(&set, "below_micro_usd"), &set["mailed"]), (49_500, &json!(false)));
    let spend = || {
        at_once(50, || {
            world.chat(&chat_body()).expect(200);
        });
    };
    spend();
    eventually("the balance to be told", || kinds(&receiver) == ["balance.below"]);
    let (id, body) = told(&receiver)[0].clone();
    assert!(id.starts_with("alert_"), "{id}");
    let data = &body["data"];
    assert_eq!((text(data, "account_id"), text(data, "account_name")), (world.payer.id.clone(), "payer".into()));
    assert_eq!((micro(data, "below_micro_usd"), &data["below_usd"]), (49_500, &json!("0.0495")));
    let left = micro(data, "balance_micro_usd");
    assert!((49_400..49_500).contains(&left), "{left}");

    // What takes the rest: fifty again, at once.
    let rest = usize::try_from(world.balance()).unwrap();
    let (part, last) = (rest / 50, rest - rest / 50 * 49);
    let usd = |micro: usize| format!("0.{micro:06}");
    // One is refused while what another took is both gone and still held, and comes again.
    at_once(49, || {
        let body = json!({"account": world.payer.id, "amount_usd": usd(part)});
        let debit = Request::post("/v1/admin/debit").key(&admin).json(&body);
        eventually("what is asked back", || world.server.http().send(&debit).head.status == 200);
    });
    credit(&world, &admin, "/v1/admin/debit", &world.payer, &usd(last));
    assert_eq!(world.balance(), 0);
    eventually("an empty balance to be told", || kinds(&receiver).len() > 1);
    // Armed again once it is above.
    credit(&world, &admin, "/v1/admin/credit", &world.payer, "0.05");
    spend();
    eventually("the second crossing to be told", || kinds(&receiver).len() > 2);
    spend();
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    assert_eq!(kinds(&receiver), ["balance.below", "balance.empty", "balance.below"]);
    let listed = events(&world, &admin);
    assert_eq!(listed.len(), 3, "{listed:?}");
    let delivery = &listed[2]["deliveries"][0];
    assert_eq!((&listed[2]["id"], text(delivery, "state")), (&json!(id), "delivered".into()), "{listed:?}");
    world.server.audit();
}

#[test]
fn an_account_whose_requests_are_refused_for_want_of_money_is_told_of_once_until_more_comes_in() {
    let receiver = receiver();
    let (world, admin, _) = alerted(&receiver, &[]);
    let but_a_little = |micro: i64| format!("0.{:06}", world.balance() - micro);
    credit(&world, &admin, "/v1/admin/debit", &world.payer, &but_a_little(7));
    at_once(20, || {
        world.chat(&chat_body()).expect(402);
    });
    eventually("the refusal to be told", || kinds(&receiver) == ["balance.empty"]);
    assert_eq!(micro(&told(&receiver)[0].1["data"], "balance_micro_usd"), 7);
    // Less of the same, down to nothing.
    credit(&world, &admin, "/v1/admin/debit", &world.payer, "0.000002");
    world.chat(&chat_body()).expect(402);
    credit(&world, &admin, "/v1/admin/debit", &world.payer, "0.000005");
    world.chat(&chat_body()).expect(402);
    credit(&world, &admin, "/v1/admin/credit", &world.payer, "0.000007");
    assert_eq!(world.server.number("select count(*) from alerts"), 1);
    world.chat(&chat_body()).expect(402);
    eventually("the second time", || kinds(&receiver) == ["balance.empty", "balance.empty"]);
}

#[test]
fn what_is_not_delivered_when_the_server_is_killed_is_delivered_after_it_with_the_same_id() {
    let receiver = Upstream::start(|_| Answer::never());
    let (mut world, admin, manage) = alerted(&receiver, &[]);
    threshold(&world, &manage, &json!("0.05")).expect(200);
    world.chat(&chat_body()).expect(200);
    receiver.wait_for(1);
    world.server.kill();
    receiver.script(|_| Answer::json(204, &json!({})));
    world.server.start(&[]);
    receiver.wait_for(2);
    let all = told(&receiver);
    assert_eq!(all[0], all[1], "the same id, the same body");
    eventually("the delivery to be noted", || events(&world, &admin)[0]["deliveries"][0]["state"] == "delivered");
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    assert_eq!(told(&receiver).len(), 2);
    world.server.audit();
}

#[test]
fn a_receiver_that_fails_is_tried_again_and_what_comes_later_waits_for_its_turn() {
    let receiver = Upstream::start(|seen| match seen.place {
        0 => Answer::json(500, &json!({})),
        1 => Answer::text(302, "text/plain", "", "location: http://127.0.0.1:1/elsewhere\r\n"),
        _ => Answer::json(200, &json!({})),
    });
    let (world, admin, manage) = alerted(&receiver, &[]);
    threshold(&world, &manage, &json!("0.05")).expect(200);
    world.chat(&chat_body()).expect(200);
    receiver.wait_for(1);
    credit(&world, &admin, "/v1/admin/debit", &world.payer, "0.0499");
    let rest = format!("0.{:06}", world.balance());
    credit(&world, &admin, "/v1/admin/debit", &world.payer, &rest);
    let first = || events(&world, &admin).last().unwrap()["deliveries"][0].clone();
    eventually("the failure to be seen", || first()["error"].is_string());
    assert_eq!((text(&first(), "state"), text(&first(), "error")), ("waiting".into(), "it answered 500".into()));
    let standing = world.server.http().get("/v1/admin/alerts", &admin).expect(200).json();
    assert_eq!((micro(&standing, "waiting"), micro(&standing, "failed")), (2, 0), "{standing}");
    receiver.wait_for(2);
    eventually("the redirect to be seen", || first()["error"].as_str().is_some_and(|e| e.contains("302")));
    receiver.wait_for(4);
    assert_eq!(kinds(&receiver), ["balance.below", "balance.below", "balance.below", "balance.empty"]);
    assert_eq!(micro(&first(), "tries"), 3);
}

#[test]
fn a_message_that_the_receiver_will_not_have_keeps_no_other_back() {
    let receiver = Upstream::start(|seen| {
        let refused = seen.json()["type"] == "balance.below";
        Answer::json(if refused { 422 } else { 200 }, &json!({}))
    });
    let (world, admin, manage) = alerted(&receiver, &[]);
    threshold(&world, &manage, &json!("0.05")).expect(200);
    world.chat(&chat_body()).expect(200);
    receiver.wait_for(1);
    let rest = format!("0.{:06}", world.balance());
    credit(&world, &admin, "/v1/admin/debit", &world.payer, &rest);
    eventually("the other one", || kinds(&receiver).contains(&"balance.empty".to_owned()));
}

#[test]
fn a_provider_that_goes_and_comes_is_told_of_once_each_across_a_restart() {
    let receiver = receiver();
    let (world, _admin, _) = alerted(&receiver, &[]);
    let World { mut server, upstream, payer, .. } = world;
    let at = upstream.addr;
    drop(upstream);
    for n in 0..4 {
        let mut body = chat_body();
        body["seed"] = json!(n);
        let reply = server.http().send(&Request::post("/v1/chat/completions").key(&payer.key).json(&body));
        assert!(reply.status >= 500, "{}", reply.status);
    }
    eventually("the provider to be told of", || kinds(&receiver) == ["provider.down"]);
    assert_eq!(told(&receiver)[0].1["data"]["provider"], "up");
    // Who stops before it is noted tells it once more.
    let delivered = "select count(*) from alert_deliveries where state = 'delivered'";
    eventually("the delivery to be noted", || server.number(delivered) == 1);
    assert!(server.stop().success());
    server.start(&[]);
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(kinds(&receiver), ["provider.down"]);
    let _back = Upstream::start_at(at, honest(100, 20));
    eventually("it to be back", || kinds(&receiver) == ["provider.down", "provider.up"]);
}

#[test]
fn a_withdrawal_wrong_books_and_old_backups_are_told() {
    let receiver = receiver();
    let mut world = World::unstarted("5.00", honest(100, 20));
    let (admin, manage) = (world.server.admin_key(), manage(&world, "owner"));
    let dir = world.server.beside("copies");
    let with = ["--backup-dir", dir.to_str().unwrap(), "--backup-every", "1s"];
    world.server.start(&[]);
    put(&world, &admin, &hook(&receiver)).expect(200);
    world.chat(&chat_body()).expect(200);
    let asked = Request::post("/v1/payments/withdrawals").key(&manage).json(&json!({"amount_usd": "0.00001"}));
    world.server.http().send(&asked).expect(201);
    eventually("the withdrawal", || kinds(&receiver) == ["withdrawal.requested"]);
    assert_eq!(micro(&told(&receiver)[0].1["data"], "amount_micro_usd"), 10);
    world.server.stop();
    world.server.alter("update accounts set balance_micro_usd = balance_micro_usd + 1 where name = 'payer'");
    world.server.start(&with);
    let has = |kind: &str| kinds(&receiver).iter().filter(|one| *one == kind).count();
    eventually("the books", || has("audit.failed") == 1);
    eventually("the backups", || has("backup.old") == 1);
    // Well again, and wrong again.
    world.server.alter("update accounts set balance_micro_usd = balance_micro_usd - 1 where name = 'payer'");
    let states = || world.server.number("select count(*) from alert_states");
    eventually("both to be well", || states() == 0);
    world.server.alter("update accounts set balance_micro_usd = balance_micro_usd + 1 where name = 'payer'");
    eventually("the books once more", || has("audit.failed") == 2);
    world.server.alter("update accounts set balance_micro_usd = balance_micro_usd - 1 where name = 'payer'");
}

#[test]
fn the_test_says_what_came_of_it_and_no_secret_is_ever_shown() {
    let receiver = receiver();
    let (world, admin, _) = alerted(&receiver, &[]);
    let test = || world.server.http().send(&Request::post("/v1/admin/alerts/test").key(&admin)).expect(200).json();
    let said = test();
    assert_eq!((&said["webhook"]["delivered"], &said["email"]), (&json!(true), &Value::Null), "{said}");
    assert_eq!(kinds(&receiver), ["test"]);
    // One that is made is shown once; a password never.
    put(&world, &admin, &json!({})).expect(200);
    let mut body = hook(&receiver);
    body["webhook"].as_object_mut().unwrap().remove("secret");
    let mail = json!({"host": "127.0.0.1", "port": 1, "security": "none", "username": "ada", "password": "canary-1",
        "from": "a@example.org", "to": ["b@example.org"], "holders": true});
    body["email"] = mail;
    let made = put(&world, &admin, &body).expect(200).json();
    let secret = text(&made["webhook"], "secret");
    assert!(secret.starts_with("whsec_"), "{made}");
    body["email"].as_object_mut().unwrap().remove("password");
    let again = put(&world, &admin, &body).expect(200);
    let shown = world.server.http().get("/v1/admin/alerts", &admin).expect(200);
    let said = test();
    assert_eq!(said["email"]["delivered"], false, "{said}");
    let logged = world.server.http().get("/v1/admin/events", &admin).expect(200);
    for text in [again.text(), shown.text(), said.to_string(), logged.text(), world.server.log()] {
        assert!(!text.contains(&secret) && !text.contains("canary-1"), "{text}");
    }
    assert_eq!(shown.json()["email"]["has_password"], true);
    // The password does not go to another server.
    body["email"]["host"] = json!("localhost");
    assert_eq!(put(&world, &admin, &body).expect(400).error().2, "email.password");
}

#[test]
fn bad_settings_are_refused_by_field() {
    let receiver = receiver();
    let (world, admin, manage) = alerted(&receiver, &[]);
    let mail = |field: &str, value: Value| {
        let mut mail = json!({"host": "mail.example", "port": 587, "security": "starttls", "from": "a@example.org",
            "to": ["b@example.org"]});
        mail[field] = value;
        json!({"email": mail})
    };
    let url = |url: &str| json!({"webhook": {"url": url}});
    let rows = [
        (url("ftp://a/"), "webhook.url"),
        (url("http://169.254.169.254/latest/meta-data"), "webhook.url"),
        (url("http://[::ffff:169.254.169.254]/"), "webhook.url"),
        (url("http://u:p@a/"), "webhook.url"),
        (url("http://a/\r\nx-bad: 1"), "webhook.url"),
        (json!({"webhook": {"url": "http://a/", "secret": "short"}}), "webhook.secret"),
        (mail("host", json!("169.254.169.254")), "email.host"),
        (mail("host", json!("a b")), "email.host"),
        (mail("host", json!("a\r\nMAIL FROM:<x>")), "email.host"),
        (mail("port", json!(0)), "email.port"),
        (mail("from", json!("a@b\r\nBcc: c@d.example")), "email.from"),
        (mail("to", json!(["b@c\nd"])), "email.to"),
        (mail("to", json!([])), "email.to"),
        (mail("username", json!("ada")), "email.password"),
        (json!({"muted": ["nothing"]}), "muted"),
    ];
    for (body, field) in rows {
        assert_eq!(put(&world, &admin, &body).expect(400).error().2, field, "{body}");
    }
    put(&world, &admin, &mail("security", json!("ssl3"))).expect(400);
    let shown = world.server.http().get("/v1/admin/alerts", &admin).expect(200).json();
    assert!(shown["webhook"].is_object() && shown["email"].is_null(), "all was refused: {shown}");
    for below in [json!("0"), json!("-1"), json!("1e3"), json!("x"), json!([])] {
        assert_eq!(threshold(&world, &manage, &below).expect(400).error().2, "below_usd", "{below}");
    }
    assert_eq!(threshold(&world, &world.payer.key, &json!("1")).status, 403, "a plain key");
    let of = world.server.http().get("/v1/payments/alert", &world.payer.key).expect(200).json();
    assert_eq!(of["below_micro_usd"], Value::Null, "{of}");
    threshold(&world, &manage, &json!("1")).expect(200);
    assert_eq!(threshold(&world, &manage, &Value::Null).expect(200).json()["below_usd"], Value::Null);
}

#[test]
fn a_dead_webhook_holds_nothing_up_and_the_outbox_has_an_end() {
    let receiver = Upstream::start(|_| Answer::nothing(End::Reset).after(Step::Silence));
    let (mut world, admin, manage) = alerted(&receiver, &[]);
    world.server.alter(
        "with recursive n (i) as (select 1 union all select i + 1 from n where i < 10000) \
         insert into alerts (id, kind, subject, detail, created_at) select i, 'disk.low', '', '{}', \
         1000 * unixepoch() from n; \
         insert into alert_deliveries (channel, alert_seq, next_at) select 'webhook', seq, 0 from alerts",
    );
    threshold(&world, &manage, &json!("0.05")).expect(200);
    world.chat(&chat_body()).expect(200);
    assert_eq!(world.server.number("select count(*) from alerts"), 5_000);
    assert_eq!(world.server.number("select count(*) from alert_deliveries"), 5_000);
    assert_eq!(world.server.number("select count(*) from alerts where kind = 'balance.below'"), 1);
    // No more than so many an hour of one thing, whoever sets a threshold to fall below.
    for _ in 0..30 {
        let below = format!("0.{:06}", world.balance());
        threshold(&world, &manage, &json!(below)).expect(200);
        world.chat(&chat_body()).expect(200);
    }
    assert_eq!(world.server.number("select count(*) from alerts where kind = 'balance.below'"), 10);
    assert_eq!(events(&world, &admin).len(), 50, "a page of them");
    let began = std::time::Instant::now();
    assert!(world.server.stop().success());
    assert!(began.elapsed().as_secs() < 10, "nobody waits for a receiver");
}

#[test]
fn mail_reaches_the_operator_and_the_holder_of_the_account() {
    let receiver = receiver();
    let (mut world, admin, manage) = alerted(&receiver, &[]);
    let Some(mailbox) = Mailbox::start(&world.server.beside("maildir"), None, &[]) else { return };
    let patch = format!("/v1/admin/accounts/{}", world.payer.id);
    let body = json!({"email": "ada@example.org"});
    world.server.http().send(&Request::new("PATCH", &patch).key(&admin).json(&body)).expect(200);
    let settings = json!({"email": {"host": "localhost", "port": mailbox.port, "security": "none",
        "from": "Coordinator <alerts@example.org>", "to": ["ops@example.org"], "holders": true}});
    put(&world, &admin, &settings).expect(200);
    let tested = world.server.http().send(&Request::post("/v1/admin/alerts/test").key(&admin)).expect(200).json();
    assert_eq!((&tested["email"]["delivered"], &tested["webhook"]), (&json!(true), &Value::Null), "{tested}");
    assert_eq!((mailbox.to("ops@example.org").len(), mailbox.letters().len()), (1, 1));
    assert_eq!(threshold(&world, &manage, &json!("0.05")).expect(200).json()["mailed"], true);
    world.chat(&chat_body()).expect(200);
    eventually("both letters", || mailbox.letters().len() == 3);
    let holders = mailbox.to("ada@example.org");
    assert_eq!((holders.len(), mailbox.to("ops@example.org").len()), (1, 2));
    let id = text(&events(&world, &admin)[0], "id");
    let letter = &holders[0];
    for part in ["Subject: [coordinator] The balance of payer is below $0.05", "Auto-Submitted: auto-generated", &id] {
        assert!(letter.contains(part), "{part}: {letter}");
    }
    assert!(letter.contains(&format!("Message-ID: <{id}@example.org>")), "{letter}");
    // What waits for a mail server that is gone is delivered when it is there again, after a kill too.
    let (port, dir) = (mailbox.port, mailbox.dir.clone());
    drop(mailbox);
    let rest = format!("0.{:06}", world.balance());
    credit(&world, &admin, "/v1/admin/debit", &world.payer, &rest);
    eventually("a try in vain", || events(&world, &admin)[0]["deliveries"][0]["tries"] != 0);
    world.server.kill();
    let Some(mailbox) = Mailbox::start(&dir, Some(port), &[]) else { return };
    world.server.start(&[]);
    eventually("the rest", || mailbox.letters().iter().filter(|letter| letter.contains("is used up")).count() == 2);
}
