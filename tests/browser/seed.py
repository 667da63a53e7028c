"""A data directory with two months of life in it, for the pages to show: seed.py BINARY DATA.

Accounts of every size, keys of every state, models more than there are colours, requests that failed, broke off, were
estimated and were not paid in full; the books agree. Prints the names of what a test needs, as JSON. The history is
written into the tables, since no server lets anybody choose the time.
"""

import json
import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

binary, data = sys.argv[1:3]
chance = random.Random(7)
NOW = int(time.time() * 1_000)
DAY = 86_400_000
LONG_NAME = "Lehrstuhl für Rechnerarchitektur und Parallele Systeme, Gastzugang Sommersemester"
LONG_MODEL = "mlx-community/DeepSeek-R2-Distill-Qwen3.5-122B-A10B-Instruct-2507-4bit-DWQ-group32-experimental"
MODELS = [  # name, weight, prompt, completion, in USD per million: input, output, cached
    ("mlx-community/gemma-4-26b-a4b-it-8bit", 9, 900, 300),
    ("qwen3.5-27b-claude-opus-8bit", 6, 2_400, 700),
    ("mlx-community/Qwen3.5-122B-A10B-8bit", 4, 5_200, 1_100),
    ("mlx-community/MiniMax-M2.5-8bit", 3, 3_000, 500),
    ("text-embed-small", 3, 400, 0),
    ("whisper-notes", 2, 700, 90),
    (LONG_MODEL, 2, 8_000, 2_500),
]
OTHERS = {
    "text-embed-small": ("Text Embed Small", "0.02", "0", None, None),
    "whisper-notes": ("Whisper Notes", "0.31", "1.25", "0.031", "8192"),
    LONG_MODEL: ("DeepSeek R2 Distill Qwen3.5 122B Instruct", "1.234567", "12.5", "0.123457", "1048576"),
}


def coordinator(*args):
    done = subprocess.run([binary, *args, "--json", "--data-dir", data], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"coordinator {' '.join(args)}: {done.stderr}")
    return json.loads(done.stdout)


def account(name, email=None):
    return coordinator("account", "create", name, *(["--email", email] if email else []))["id"]


def key(owner, name, *more):
    return coordinator("key", "create", owner, "--name", name, *more)


grace = account("Grace Hopper", "grace@example.org")
bulk = account("Northwind Batch", "billing+northwind@example.com")
long = account(LONG_NAME, "rechnerarchitektur-und-parallele-systeme.gastzugang@lehrstuhl.informatik.example.edu")
empty = account("Empty Room")
owner = account("Barbara Liskov", "barbara@example.org")
rack = account("Rack & Sons", "rack@example.net")
for n in range(60):
    account(f"team-{n:02}", f"team-{n:02}@example.org" if n % 3 else None)

manager = key(grace, "laptop", "--scope", "inference", "--scope", "manage")
nightly = key(grace, "nightly evaluation of everything, on the build machine in the basement", "--limit-usd", "25",
              "--limit-reset", "monthly")
late = key(grace, "workshop", "--limit-usd", "5", "--expires-at", "2026-01-31T00:00:00Z")
gone = key(grace, "lost phone")
coordinator("key", "revoke", gone["id"])
batch = key(bulk, "batch", "--scope", "inference", "--scope", "manage")
guest = key(long, "guest")
nobody = key(empty, "first", "--scope", "inference", "--scope", "manage")
barbara = key(owner, "owner", "--scope", "inference", "--scope", "manage")
coordinator("account", "suspend", long)
coordinator("account", "allow-machines", owner)

for name, (shown, paid_in, paid_out, cached, context) in OTHERS.items():
    more = [*(["--cache-read", cached] if cached else []), *(["--context", context] if context else [])]
    coordinator("price", "set", name, "--name", shown, "--input", paid_in, "--output", paid_out, *more)
coordinator("price", "set", LONG_MODEL, "--name", OTHERS[LONG_MODEL][0], "--input", "1.234567", "--output", "14",
            "--cache-read", "0.123457", "--cache-write", "1.5", "--cache-write-1h", "2.469134", "--context", "1048576",
            "--max-output", "65536", "--max-running", "4")


def provider(name, url, earns, models, *more):
    named = [part for model in models for part in ("--model", model)]
    return coordinator("provider", "add", name, "--url", url, "--account", earns, "--no-probe", *named, *more)["id"]


# Nobody listens on that port of that address.
served = [
    provider("rack-1", "http://127.0.0.1:9/v1", owner, [name for name, *_ in MODELS[2:]], "--max-concurrent", "8"),
    provider("a-provider-with-a-long-name-in-the-data-centre-of-the-university-library",
             "https://inference.rechenzentrum.lehrstuhl.informatik.example.edu:8443/openai/compatible/v1", rack,
             [f"{LONG_MODEL}=deepseek-r2-distill/qwen3.5-122b/a10b-instruct-2507-4bit-dwq-group32"]),
]
coordinator("provider", "disable", "a-provider-with-a-long-name-in-the-data-centre-of-the-university-library")

db = sqlite3.connect(Path(data) / "coordinator.db")
db.execute("PRAGMA foreign_keys = ON")
ids = set()


def row_id(at):
    """An id of that time: milliseconds above, chance below."""
    while (one := (at << 20) + chance.randrange(1 << 18)) in ids:
        pass
    ids.add(one)
    return one


BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"


def number(text):
    """What an id's text stands for."""
    value = 0
    for digit in text.split("_")[1]:
        value = value * 32 + BASE32.index(digit)
    return value


prices = {row[0]: row[1:] for row in db.execute(
    "SELECT model, id, input_price, output_price, cache_read_price FROM prices WHERE retired_at IS NULL")}
number_of = {name: number(one) for name, one in [("grace", grace), ("bulk", bulk), ("long", long), ("owner", owner)]}
earners = {number(served[0]): number(owner), number(served[1]): number(rack)}
balance = dict.fromkeys(row[0] for row in db.execute("SELECT id FROM accounts"))
balance = {one: [0, 0] for one in balance}


def top_up(at, who, micro, note):
    balance[who][0] += micro
    db.execute("INSERT INTO ledger VALUES (?, ?, 'top_up', ?, 0, ?, NULL, 'admin:ada', ?, ?, 0)",
               (row_id(at), who, micro, balance[who][0], note, at))


def use(at, who, by, factor, model, outcome="completed", metered="provider", paid=1.0):
    name, _, prompt, completion = model
    price, paid_in, paid_out, paid_cached = prices[name]
    prompt = max(1, int(prompt * factor * chance.uniform(0.3, 2.2)))
    completion = int(completion * factor * chance.uniform(0.2, 1.8)) if outcome != "provider_error" else 0
    cached = int(prompt * chance.uniform(0, 0.8)) if paid_cached is not None and chance.random() < 0.5 else 0
    units = (prompt - cached) * paid_in + cached * (paid_in if paid_cached is None else paid_cached) + completion * paid_out
    cost = 0 if outcome == "provider_error" else -(-units // 1_000_000)
    charged = int(cost * paid)
    if charged > balance[who][0]:
        return
    served_by = number(served[1 if name == LONG_MODEL else 0])
    balance[who][0] -= charged
    balance[earners[served_by]][0] += charged
    balance[earners[served_by]][1] += charged
    db.execute("INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, '/v1/chat/completions', ?, ?, ?, ?, ?, 0, ?, 0, ?, ?, ?, ?, 0, 0, ?, 0)",
               (row_id(at), who, number(by["id"]), served_by, earners[served_by], price, name, prompt, cached, completion,
                cost, charged, cost - charged, charged, outcome, metered, at, int(chance.random() < 0.1)))


def month(who, by, factor, requests, models, days):
    """Their requests of so many days, more of them on days of work."""
    for back in range(days, -1, -1):
        first = NOW - NOW % DAY - back * DAY
        # Today has what there was of it so far.
        last = min(first + DAY, NOW - 60_000)
        busy = requests if (first // DAY + 3) % 7 < 5 else requests // 4
        for at in sorted(chance.randrange(first, max(last, first + 1)) for _ in range(busy)):
            model = chance.choices(models, [one[1] for one in models])[0]
            luck = chance.random()
            outcome = "provider_error" if luck < 0.02 else "client_disconnected" if luck < 0.05 else "completed"
            metered = "estimate" if 0.05 < luck < 0.08 else "provider"
            yield at, (who, chance.choice(by), factor, model, outcome, metered)


timeline = [
    *month(number_of["grace"], [manager, manager, nightly, late], 1, 9, MODELS, 60),
    *month(number_of["bulk"], [batch], 900, 12, MODELS[:4], 40),
    *month(number_of["long"], [guest], 1, 2, MODELS[:2], 12),
]
tops = [
    (60, number_of["grace"], 5_000_000, "Invoice 101"), (31, number_of["grace"], 10_000_000, "Invoice 114, paid twice by mistake and settled with the next one, see the letter of the accountant"),
    (3, number_of["grace"], 2_500_000, ""), (41, number_of["bulk"], 1_250_000_000_000, "Annual contract NW-2026-000441"),
    (13, number_of["long"], 20_000_000, "Sommersemester"), (20, number_of["owner"], 3_000_000, ""),
]
first = NOW - NOW % DAY
moves = [(first - back * DAY + 9 * 3_600_000 - DAY, lambda at, one=one: top_up(at, *one)) for back, *one in tops]
moves += [(at, lambda at, one=one: use(at, *one)) for at, one in timeline]
# The newest ones have one of each kind, so that the first page of a list has them all.
for n, (outcome, metered, paid) in enumerate([("provider_error", "provider", 1), ("client_disconnected", "estimate", 1), ("completed", "provider", 0.6)]):
    moves.append((NOW - 50_000 + n * 9_000, lambda at, o=outcome, m=metered, p=paid: use(at, number_of["grace"], manager, 2, MODELS[6], o, m, p)))
for at, move in sorted(moves, key=lambda one: one[0]):
    move(at)

for who, (total, earned) in balance.items():
    db.execute("UPDATE accounts SET balance_micro_usd = ?, withdrawable_micro_usd = ? WHERE id = ?", (total, earned, who))
db.execute("UPDATE accounts SET created_at = created_at - ? WHERE name NOT LIKE 'team-%'", (70 * DAY,))
db.execute("UPDATE keys SET window_spent_micro_usd = 18250417, window_started_at = ? WHERE id = ?",
           (NOW - 3 * DAY, number(nightly["id"])))

told = [
    (9, "provider.down", served[0], {"provider_id": served[0], "provider": "rack-1", "why": "connection refused"}, "delivered", None),
    (8.9, "provider.up", served[0], {"provider_id": served[0], "provider": "rack-1"}, "delivered", None),
    (6, "balance.below", grace, {"account_id": grace, "account_name": "Grace Hopper", "balance_usd": "4.987213", "below_usd": "5.00"}, "delivered", None),
    (5, "shortfall", grace, {"account_id": grace, "account_name": "Grace Hopper", "request_id": "req_01kb0000000aa", "model": LONG_MODEL, "shortfall_usd": "0.004211"}, "failed", "connection to hooks.example.org:443 failed: certificate has expired"),
    (4, "withdrawal.requested", owner, {"account_id": owner, "account_name": "Barbara Liskov", "withdrawal_id": "wd_01kb0000000ab", "amount_usd": "12.50"}, "delivered", None),
    (2, "balance.empty", long, {"account_id": long, "account_name": LONG_NAME, "balance_usd": "0.000003"}, "failed", "550 5.1.1 <rechnerarchitektur-und-parallele-systeme.gastzugang@lehrstuhl.informatik.example.edu>: Recipient address rejected: User unknown in virtual mailbox table"),
    (1, "backup.old", "", {"last_good_at": "2026-11-20T03:00:00Z", "error": "No space left on device (os error 28)"}, "delivered", None),
    (0.9, "disk.low", "", {"free_mib": 912}, "delivered", None),
    (0.5, "certificate.expiring", "", {"until": "2026-12-09T00:00:00Z"}, "delivered", None),
    (0.2, "audit.failed", "", {}, "delivered", None),
]
for seq, (back, kind, subject, detail, state, error) in enumerate(told, 1):
    at = int(NOW - back * DAY)
    db.execute("INSERT INTO alerts VALUES (?, ?, ?, ?, ?, ?)", (seq, row_id(at), kind, subject, json.dumps(detail), at))
    channel = "holder" if kind == "balance.empty" else "webhook"
    db.execute("INSERT INTO alert_deliveries VALUES (?, ?, ?, ?, ?, 0, ?, ?)",
               (channel, seq, state, 1 if state == "delivered" else 23, at, error, at + 1_000))
db.commit()
audit = coordinator("audit")
if not audit["ok"]:
    raise SystemExit(f"the books of the seed do not agree: {audit['problems']}")
print(json.dumps({
    "accounts": {"grace": grace, "bulk": bulk, "long": long, "empty": empty, "owner": owner},
    "keys": {"grace": manager["key"], "bulk": batch["key"], "empty": nobody["key"], "owner": barbara["key"]},
    "usage_rows": audit["usage_rows"], "long_name": LONG_NAME, "long_model": LONG_MODEL,
}))
