//! Reading usage back: pages, filters, CSV, and the same rows on the command line.

use serde_json::{Value, json};

use crate::world::answer::{Answer, honest, usage};
use crate::world::http::{Reply, Request};
use crate::world::{MODEL, World, chat_body, cost, eventually, micro, text};

/// A world with `count` rows of [`MODEL`], the n-th of n completion tokens.
fn with_rows(count: usize) -> World {
    let world = World::new(|seen| Answer::chat(usage(10, seen.place as u64 + 1)));
    for _ in 0..count {
        world.chat(&chat_body()).expect(200);
    }
    world
}

fn get(world: &World, target: &str) -> Reply {
    world.server.http().get(target, &world.payer.key).expect(200)
}

fn rows(reply: &Reply) -> Vec<Value> {
    reply.json().as_array().expect("a bare array").clone()
}

/// The path and query of `Link: <…>; rel="next"`.
fn next_page(reply: &Reply) -> Option<String> {
    let link = reply.header("link")?;
    assert!(link.contains("rel=\"next\""), "{link}");
    let url = link.split(['<', '>']).nth(1).expect("a URL in <>");
    Some(url.find("/v1/").map_or(url, |at| &url[at..]).to_owned())
}

#[test]
fn pages_hold_every_row_once_newest_first() {
    let world = with_rows(23);
    let all = rows(&get(&world, "/v1/payments/usage"));
    assert_eq!(all.len(), 23);
    let tokens: Vec<i64> = all.iter().map(|r| micro(r, "completion_tokens")).collect();
    assert!(tokens.is_sorted_by(|a, b| a > b), "newest first: {tokens:?}");
    for limit in [1, 5, 10, 22, 23] {
        let (mut seen, mut target) = (Vec::new(), format!("/v1/payments/usage?limit={limit}"));
        loop {
            let page = get(&world, &target);
            assert!(rows(&page).len() <= limit, "{target}");
            seen.extend(rows(&page));
            match next_page(&page) {
                Some(next) => target = next,
                None => break,
            }
        }
        assert_eq!(seen, all, "in pages of {limit}");
    }
    let before = text(&all[9], "request_id");
    let page = get(&world, &format!("/v1/payments/usage?before={before}&limit=3"));
    assert_eq!(rows(&page), all[10..13]);
    let oldest = text(&all[22], "request_id");
    let empty = get(&world, &format!("/v1/payments/usage?before={oldest}"));
    assert_eq!((rows(&empty).len(), next_page(&empty)), (0, None));
}

#[test]
fn the_next_page_keeps_the_filters() {
    let world = with_rows(6);
    let first = get(&world, &format!("/v1/payments/usage?limit=2&model={MODEL}&key={}", world.payer.key_id));
    let next = next_page(&first).expect("a next page");
    assert!(next.contains(MODEL) && next.contains(&world.payer.key_id) && next.contains("limit=2"), "{next}");
    assert_eq!(rows(&get(&world, &next)).len(), 2);
}

#[test]
fn rows_are_filtered_by_model_key_and_time() {
    let mut world = World::unstarted("5.00", honest(10, 5));
    world.server.ok(&["price", "set", "other/model+1", "--input", "1", "--output", "1"]);
    let url = world.upstream.url();
    world.server.ok(&["provider", "add", "o", "--url", &url, "--account", "owner", "--model", "other/model+1"]);
    let second = world.server.ok(&["key", "create", "payer"]);
    world.server.start(&[]);
    let mut other = chat_body();
    other["model"] = json!("other/model+1");
    world.chat(&chat_body()).expect(200);
    world.chat(&other).expect(200);
    let request = Request::post("/v1/chat/completions").key(&text(&second, "key")).json(&other);
    world.server.http().send(&request).expect(200);

    let second_id = text(&second, "id");
    let day = &text(&world.rows()[0], "timestamp")[..10];
    let counts = [
        (String::new(), 3),
        (format!("model={MODEL}"), 1),
        ("model=other%2Fmodel%2B1".into(), 2),
        ("model=nothing".into(), 0),
        (format!("key={}", world.payer.key_id), 2),
        (format!("key={second_id}"), 1),
        (format!("key={second_id}&model={MODEL}"), 0),
        ("since=2020-01-01T00:00:00Z".into(), 3),
        ("since=2020-01-01".into(), 3),
        (format!("since={day}T00:00:00Z"), 3),
        ("since=2100-01-01T00:00:00Z".into(), 0),
        ("until=2020-01-01T00:00:00Z".into(), 0),
        ("until=2100-01-01T00:00:00%2B02:00".into(), 3),
        ("since=2020-01-01&until=2100-01-01&limit=1000".into(), 3),
        ("since=2100-01-01&until=2020-01-01".into(), 0),
    ];
    for (query, count) in counts {
        assert_eq!(rows(&get(&world, &format!("/v1/payments/usage?{query}"))).len(), count, "{query}");
    }
}

/// The records of a CSV without quoting.
fn csv(text: &str) -> (Vec<String>, Vec<Vec<String>>) {
    let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    (lines.next().expect("a header"), lines.collect())
}

#[test]
fn csv_holds_every_matching_row() {
    let world = with_rows(12);
    let json = world.rows();
    let asked = [
        Request::get("/v1/payments/usage?format=csv&limit=5"),
        Request::get("/v1/payments/usage").header("accept", "text/csv"),
    ];
    for request in asked {
        let reply = world.server.http().send(&request.key(&world.payer.key)).expect(200);
        assert!(reply.header("content-type").unwrap_or_default().starts_with("text/csv"), "{:?}", reply.head);
        same_rows(&reply.text(), &json);
    }
    let command = world.server.cli_plain(&["usage", "payer", "--csv"]);
    assert_eq!(command.code, 0, "{command:?}");
    same_rows(&command.stdout, &json);
    let none = get(&world, "/v1/payments/usage?format=csv&model=nothing");
    assert_eq!(csv(&none.text()).1.len(), 0, "a header and nothing else");
}

fn same_rows(text: &str, rows: &[Value]) {
    let (header, records) = csv(text);
    let column = |name: &str| header.iter().position(|h| h == name).unwrap_or_else(|| panic!("{name} in {header:?}"));
    assert_eq!(records.len(), rows.len());
    for (record, row) in records.iter().zip(rows) {
        for field in
            ["request_id", "model", "prompt_tokens", "completion_tokens", "cost_micro_usd", "timestamp", "outcome"]
        {
            let expected = row[field].as_str().map_or_else(|| row[field].to_string(), str::to_owned);
            assert_eq!(record[column(field)], expected, "{field}");
        }
    }
}

#[test]
fn csv_is_no_formula() {
    // A spreadsheet runs a cell that begins with =, +, - or @; a model's name is chosen by an admin, but still.
    let model = "=cmd|'calc'!A0,\"x\"";
    let mut world = World::unstarted("5.00", honest(10, 5));
    world.server.ok(&["price", "set", model, "--input", "1", "--output", "1"]);
    let url = world.upstream.url();
    let provider = format!("{model}=up");
    let added = world.server.cli(&["provider", "add", "o", "--url", &url, "--account", "owner", "--model", &provider]);
    if added.code != 0 {
        return; // A name with `=` in it cannot be offered: just as well.
    }
    world.server.start(&[]);
    let mut body = chat_body();
    body["model"] = json!(model);
    if world.chat(&body).status == 200 {
        let text = get(&world, "/v1/payments/usage?format=csv").text();
        assert!(!text.contains(",=cmd") && !text.contains(",\"=cmd"), "{text}");
    }
}

#[test]
fn the_command_line_shows_the_same_rows() {
    let world = with_rows(4);
    assert_eq!(world.server.ok(&["usage", "payer"]), json!(world.rows()));
    assert_eq!(world.server.ok(&["usage", &world.payer.id, "--since", "2100-01-01T00:00:00Z"]), json!([]));
    let spent: i64 = (1..=4).map(|n| cost(10, n)).sum();
    assert_eq!(world.balance(), 5_000_000 - spent);
}

#[test]
fn a_note_that_a_spreadsheet_would_run_is_a_text_in_every_csv() {
    let world = with_rows(0);
    world.server.ok(&["credit", "payer", "1.00", "--note", "=HYPERLINK(\"http://x\")"]);
    let admin = world.server.admin_key();
    let http = world.server.http();
    let path = format!("/v1/admin/accounts/{}/ledger?format=csv", world.payer.id);
    let command = world.server.cli_plain(&["ledger", "payer", "--csv"]);
    assert_eq!(command.code, 0, "{command:?}");
    for text in [
        http.get("/v1/payments/ledger?format=csv", &world.payer.key).expect(200).text(),
        http.get(&path, &admin).expect(200).text(),
        command.stdout,
    ] {
        assert!(text.contains("\"'=HYPERLINK(\"\"http://x\"\")\""), "{text}");
        assert!(text.starts_with("id,account_id,kind,amount_micro_usd,"), "no mark for spreadsheets here: {text}");
    }
}

#[test]
fn a_row_names_its_key_and_to_an_admin_who_served_it_at_which_price() {
    let world = with_rows(1);
    let admin = world.server.admin_key();
    let own = world.row(1);
    assert!(own["key_name"].is_string() && own["provider_name"].is_null(), "{own}");
    let path = format!("/v1/admin/accounts/{}/usage", world.payer.id);
    let seen = world.server.http().get(&path, &admin).expect(200).json()[0].clone();
    assert_eq!((&seen["provider_name"], &seen["request_id"]), (&"up".into(), &own["request_id"]), "{seen}");
    assert_eq!((micro(&seen, "input_price"), micro(&seen, "output_price")), (100_000, 780_000), "{seen}");
    assert_eq!(micro(&seen, "earned_micro_usd") + micro(&seen, "fee_micro_usd"), micro(&own, "charged_micro_usd"));
    let text = world.server.http().get(&format!("{path}?format=csv"), &admin).expect(200).text();
    assert!(text.lines().next().unwrap().contains("key_name,own_use,provider_id,provider_name"), "{text}");
    assert_eq!(text.lines().count(), 2, "{text}");
}

#[test]
fn a_key_is_made_once_for_its_idempotency_key_and_its_secret_is_told_once() {
    let world = with_rows(0);
    let manager = crate::world::text(&world.server.ok(&["key", "create", "payer", "--scope", "manage"]), "key");
    let post = |name: &str| {
        let body =
            serde_json::json!({"name": name, "scopes": ["inference"], "limit_usd": "1.00", "limit_reset": "monthly"});
        let request = Request::post("/v1/keys").key(&manager).header("idempotency-key", "k1").json(&body);
        world.server.http().send(&request)
    };
    let (first, second) = (post("a").expect(201).json(), post("a").expect(201).json());
    assert!(first["key"].as_str().is_some_and(|key| key.starts_with("sk-db-")), "{first}");
    assert_eq!((&second["id"], second["key"].is_null()), (&first["id"], true), "{second}");
    assert_eq!(post("b").status, 422);
    assert_eq!(world.server.number("select count(*) from keys where name = 'a'"), 1);
    let stored = world.server.db("select answer from idempotency");
    assert!(!format!("{stored:?}").contains("sk-db-"), "the secret is stored nowhere");
    let resets = first["limit_resets_at"].as_str().unwrap();
    assert!(resets.ends_with("-01T00:00:00Z"), "{resets}");
}

#[test]
fn an_account_finds_its_rows_before_and_after_they_are_in_its_index() {
    let world = with_rows(1);
    // Of requests long before that one, which cost nothing: more than wait for each other.
    let costs_nothing = "prompt_tokens, cached_tokens, completion_tokens, cost_micro_usd, charged_micro_usd, \
        charged_withdrawable_micro_usd, shortfall_micro_usd, fee_micro_usd, earned_micro_usd";
    let same = "account_id, key_id, provider_id, provider_account_id, price_id, model, endpoint, outcome, metered_by";
    world.server.alter(&format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
         INSERT INTO usage (id, created_at, {costs_nothing}, {same})
         SELECT id - ((i + 60000) << 20), created_at - i - 60000, 0, 0, 0, 0, 0, 0, 0, 0, 0, {same} FROM usage, n LIMIT 5000"
    ));
    let look = || {
        let page = get(&world, "/v1/payments/usage?limit=500");
        let next = get(&world, &next_page(&page).expect("more"));
        let summary = get(&world, "/v1/payments/usage/summary?group_by=key").json();
        (rows(&page), rows(&next), summary)
    };
    let before = look();
    assert_eq!(micro(&before.2[0], "requests"), 5_001);
    let indexed =
        || world.server.number("SELECT count(*) FROM usage_by_account, usage_indexed WHERE usage_id <= indexed_to");
    // The one that was asked for just now may still wait for others.
    eventually("the rows are in the index", || indexed() >= 5_000);
    assert_eq!(look(), before);
    world.chat(&chat_body()).expect(200);
    assert_eq!(rows(&get(&world, "/v1/payments/usage?limit=3"))[1..], before.0[..2], "the new one stands before them");
    world.server.audit();
}
