#!/usr/bin/env python3
"""Audits a database of ten million usage rows: its size, the seconds and the memory of `coordinator audit`.

    big.py [--rows 10000000] [--binary PATH] [--keep] [--tamper]

The rows are made by SQL, with money that adds up; `--tamper` then moves one micro-dollar in one row and in
one balance, and the audit must name both. A writer keeps committing meanwhile and must not be kept waiting.
Not a row of the gauntlet: it needs 3 GB of disk and some minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import pathlib
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
ACCOUNTS = 1_000
MOST_SECONDS, MOST_BYTES = 60.0, 200 << 20
FIRST_MS = 1_750_000_000_000

BUILD = """
INSERT INTO accounts (id, name, created_at) VALUES (100, 'provider', 0);
WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {accounts})
INSERT INTO accounts (id, name, created_at) SELECT 1000 + i, 'payer-' || i, 0 FROM n;
INSERT INTO keys (id, account_id, name, hash, scopes, created_at)
SELECT id, id, '', 'x', 'inference', 0 FROM accounts WHERE id >= 1000;
INSERT INTO providers (id, name, account_id, url, created_at) VALUES (1, 'p', 100, 'http://127.0.0.1:9/v1', 0);
WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {rows}),
made AS (SELECT i, 1000 + (i * 7919) % {accounts} AS payer, 20 + i % 3001 AS prompt, i % 17 AS cached, i % 997 AS output FROM n),
priced AS (SELECT *, (prompt * 100000 + output * 780000 + 999999) / 1000000 AS cost FROM made)
INSERT INTO usage (id, account_id, key_id, provider_id, provider_account_id, price_id, model, endpoint, prompt_tokens,
  cached_tokens, completion_tokens, cost_micro_usd, charged_micro_usd, charged_withdrawable_micro_usd, shortfall_micro_usd,
  fee_micro_usd, earned_micro_usd, outcome, metered_by, created_at)
SELECT (({first} + i) << 20) + i % 1000003, payer, payer, 1, 100, 2, 'qwen3.5-27b-claude-opus-8bit',
  '/v1/chat/completions', prompt, cached, output, cost, cost, 0, 0, 0, cost, 'completed', 'provider', {first} + i
FROM priced;
INSERT INTO usage_by_account SELECT account_id, id FROM usage ORDER BY account_id, id;
UPDATE usage_indexed SET indexed_to = (SELECT max(id) FROM usage), indexing_to = (SELECT max(id) FROM usage);
INSERT INTO ledger (id, account_id, kind, amount_micro_usd, withdrawable_micro_usd, balance_after_micro_usd, request_id,
  actor, note, created_at)
SELECT id, id, 'top_up', 1000000000000, 0, 1000000000000, NULL, 'cli', '', 0
FROM accounts WHERE id >= 1000;
CREATE TEMP TABLE spent AS SELECT account_id AS id, sum(charged_micro_usd) AS total FROM usage GROUP BY account_id;
CREATE TEMP TABLE earned AS SELECT sum(earned_micro_usd) AS total FROM usage;
UPDATE accounts SET balance_micro_usd = 1000000000000 - coalesce((SELECT total FROM spent WHERE spent.id = accounts.id), 0)
WHERE id >= 1000;
UPDATE accounts SET balance_micro_usd = (SELECT total FROM earned), withdrawable_micro_usd = (SELECT total FROM earned)
WHERE id = 100;
"""


def build(binary: pathlib.Path, data: pathlib.Path, rows: int) -> None:
    """Lets the product make the tables, and fills them."""
    command = [binary, "price", "set", "big", "--input", "0.1", "--output", "0.1", "--data-dir", data]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    db = sqlite3.connect(data / "coordinator.db")
    db.executescript(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -200000;"
        "PRAGMA ignore_check_constraints = ON; BEGIN;"
    )
    for statement in BUILD.format(accounts=ACCOUNTS, rows=rows, first=FIRST_MS).split(";\n"):
        db.execute(statement)
    db.commit()
    db.execute("PRAGMA journal_mode = WAL")
    db.close()


def audit(binary: pathlib.Path, data: pathlib.Path) -> tuple[dict, float, int]:
    """Runs the audit; returns what it says, the seconds and the most memory it had."""
    began, most = time.monotonic(), 0
    process = subprocess.Popen([binary, "audit", "--json", "--data-dir", data], stdout=subprocess.PIPE)
    while process.poll() is None:
        # The peak in rusage would count this process too, which it was before its exec.
        with contextlib.suppress(OSError):
            status = pathlib.Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
            most = max([most, *(int(kib) * 1024 for kib in re.findall(r"VmHWM:\s+(\d+)", status))])
        time.sleep(0.05)
    assert process.stdout is not None
    return json.loads(process.stdout.read()), time.monotonic() - began, most


def write_meanwhile(data: pathlib.Path, stop: threading.Event, waits: list[float]) -> None:
    """Commits a row that changes nothing about money, again and again."""
    db = sqlite3.connect(data / "coordinator.db", isolation_level=None, timeout=60)
    while not stop.wait(0.05):
        began = time.monotonic()
        db.execute("UPDATE providers SET flagged = flagged + 1 WHERE id = 1")
        waits.append(time.monotonic() - began)
    db.close()


def main() -> int:
    """Builds, audits, prints the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "target" / "release" / "coordinator")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--tamper", action="store_true")
    args = parser.parse_args()
    data = ROOT / "target" / "torture" / "big"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True, mode=0o700)
    began = time.monotonic()
    build(args.binary, data, args.rows)
    size = (data / "coordinator.db").stat().st_size
    print(f"{args.rows} usage rows made in {time.monotonic() - began:.0f} s, {size >> 20} MiB", flush=True)
    if args.tamper:
        db = sqlite3.connect(data / "coordinator.db")
        db.execute("UPDATE usage SET prompt_tokens = prompt_tokens + 100 WHERE id = (SELECT max(id) FROM usage)")
        db.execute("UPDATE accounts SET balance_micro_usd = balance_micro_usd + 1 WHERE id = 1007")
        db.commit()
        db.close()
    stop, waits = threading.Event(), [0.0]
    writer = threading.Thread(target=write_meanwhile, args=(data, stop, waits))
    writer.start()
    said, seconds, memory = audit(args.binary, data)
    stop.set()
    writer.join()
    print(
        f"audit: ok={said['ok']} rows={said['usage_rows']} in {seconds:.1f} s, {memory >> 20} MiB;"
        f" {len(waits)} writes meanwhile, the slowest {max(waits) * 1000:.0f} ms"
    )
    for problem in said["problems"][:5]:
        print(f"    {problem}")
    if not args.keep:
        shutil.rmtree(data)
    found = len(said["problems"]) >= 2 if args.tamper else said["ok"]
    good = found and said["usage_rows"] == args.rows and seconds <= MOST_SECONDS and memory <= MOST_BYTES
    print("ok" if good else "FAIL")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
