"""The one audit that every check ends with.

It opens the database read-only with Python's own SQLite, re-derives the invariants from the rows in its
own words, and compares what it finds with what the clients saw. The product's `audit` must agree, but is
not believed.

    I1  credits - withdrawals = balances            I4  cost = charged + shortfall = price x tokens;
    I2  nothing is negative                             provider credit + fee = charged
    I3  one row for each whole answer, and no       I5  stored balances = replay of the rows
        charge that nobody can explain
"""

from __future__ import annotations

import collections
import json
import pathlib
import re
import shutil
import sqlite3
import subprocess
from dataclasses import dataclass

from driver import Record

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
MOST_SHOWN = 5


def id_number(text: str) -> int:
    """The integer in the database for a public id such as `req_…`."""
    value = 0
    for digit in text.rpartition("_")[2]:
        value = value * 32 + ALPHABET.index(digit)
    return value


def id_text(kind: str, number: int, digits: int = 13) -> str:
    """The public id of a row."""
    return kind + "_" + "".join(ALPHABET[(number >> (5 * place)) & 31] for place in reversed(range(digits)))


@dataclass
class Findings:
    """What an audit found."""

    lost: list[str]
    rows: int = 0
    accounts: int = 0

    @property
    def ok(self) -> bool:
        """Nothing was lost."""
        return not self.lost


# Each query lists the rows that break an invariant: a name for it, and the SQL.
BROKEN_ROWS = (
    (
        "I2 negative balance",
        """
        SELECT id, balance_micro_usd, withdrawable_micro_usd FROM accounts
        WHERE balance_micro_usd < 0 OR withdrawable_micro_usd < 0
           OR withdrawable_micro_usd > balance_micro_usd""",
    ),
    (
        "I2 negative amount in a usage row",
        """
        SELECT id FROM usage WHERE min(prompt_tokens, cached_tokens, completion_tokens, cost_micro_usd,
            charged_micro_usd, charged_withdrawable_micro_usd, shortfall_micro_usd, fee_micro_usd,
            earned_micro_usd) < 0 OR cached_tokens + cache_write_tokens > prompt_tokens""",
    ),
    (
        "I4 cost is not charged + shortfall",
        """
        SELECT id, cost_micro_usd, charged_micro_usd, shortfall_micro_usd FROM usage
        WHERE cost_micro_usd <> charged_micro_usd + shortfall_micro_usd""",
    ),
    (
        "I4 charged is not earned + fee",
        """
        SELECT id, charged_micro_usd, earned_micro_usd, fee_micro_usd FROM usage
        WHERE charged_micro_usd <> earned_micro_usd + fee_micro_usd""",
    ),
    (
        "I4 cost is not price x tokens",
        """
        SELECT u.id, u.cost_micro_usd FROM usage u JOIN prices p ON p.id = u.price_id
        WHERE u.cost_micro_usd <> CASE u.outcome WHEN 'provider_error' THEN 0 ELSE
            ((u.prompt_tokens - u.cached_tokens - u.cache_write_tokens) * p.input_price
            + (u.cache_write_tokens - u.cache_write_1h_tokens) * coalesce(p.cache_write_price, p.input_price)
            + u.cache_write_1h_tokens * coalesce(p.cache_write_1h_price, p.cache_write_price, p.input_price)
            + u.cached_tokens * coalesce(p.cache_read_price, p.input_price)
            + u.completion_tokens * p.output_price + 999999) / 1000000 END""",
    ),
    (
        "a usage row without its price",
        """
        SELECT id FROM usage WHERE price_id NOT IN (SELECT id FROM prices)""",
    ),
    (
        "a charge refunded twice",
        """
        SELECT request_id, count(*) FROM ledger WHERE kind = 'refund' GROUP BY request_id HAVING count(*) > 1""",
    ),
    (
        "a refund that is not what the provider, the house and a debt gave",
        """
        SELECT u.id, u.charged_micro_usd, sum(l.amount_micro_usd) FROM ledger l JOIN usage u ON u.id = l.request_id
        WHERE l.kind IN ('refund', 'refund_reversal') GROUP BY u.id
        HAVING sum(l.amount_micro_usd) <> 0
            OR sum(CASE l.kind WHEN 'refund' THEN l.amount_micro_usd ELSE 0 END) <> u.charged_micro_usd""",
    ),
    (
        "a debt that is not what refunds left less what earnings paid off",
        """
        SELECT a.id, a.debt_micro_usd, coalesce(sum(l.debt_micro_usd), 0) FROM accounts a
        LEFT JOIN ledger l ON l.account_id = a.id GROUP BY a.id
        HAVING a.debt_micro_usd <> coalesce(sum(l.debt_micro_usd), 0) OR a.debt_micro_usd < 0""",
    ),
    (
        "a withdrawal whose entry took another amount",
        """
        SELECT w.id, w.amount_micro_usd, w.reduced_micro_usd, l.amount_micro_usd FROM withdrawals w
        LEFT JOIN ledger l ON l.id = w.ledger_id
        WHERE coalesce(w.amount_micro_usd + w.reduced_micro_usd + l.amount_micro_usd, -1) <> 0""",
    ),
    (
        "I5 balance is not the replay of the rows",
        """
        WITH moves (account, total, earned) AS (
            SELECT account_id, amount_micro_usd, withdrawable_micro_usd FROM ledger
            UNION ALL SELECT account_id, -charged_micro_usd, -charged_withdrawable_micro_usd FROM usage
            UNION ALL SELECT provider_account_id, earned_micro_usd,
                CASE provider_account_id WHEN account_id THEN 0 ELSE earned_micro_usd END FROM usage
            UNION ALL SELECT 1, fee_micro_usd, CASE account_id WHEN 1 THEN 0 ELSE fee_micro_usd END FROM usage
                WHERE fee_micro_usd > 0),
        sums AS (SELECT account, sum(total) AS total, sum(earned) AS earned FROM moves GROUP BY account)
        SELECT a.id, a.balance_micro_usd, coalesce(s.total, 0), a.withdrawable_micro_usd, coalesce(s.earned, 0)
        FROM accounts a LEFT JOIN sums s ON s.account = a.id
        WHERE a.balance_micro_usd <> coalesce(s.total, 0)
           OR a.withdrawable_micro_usd <> coalesce(s.earned, 0)""",
    ),
)


def audit_rows(db: sqlite3.Connection) -> Findings:
    """I1, I2, I4, I5 and the file's own integrity."""
    lost: list[str] = []
    for (line,) in db.execute("PRAGMA integrity_check(5)"):
        if line != "ok":
            lost.append(f"integrity_check: {line}")
    for row in db.execute("PRAGMA foreign_key_check"):
        lost.append(f"foreign_key_check: {row}")
    for name, sql in BROKEN_ROWS:
        broken = db.execute(sql).fetchmany(MOST_SHOWN)
        lost.extend(f"{name}: {row}" for row in broken)
    ((credits,),) = db.execute("SELECT coalesce(sum(amount_micro_usd), 0) FROM ledger")
    ((balances, accounts),) = db.execute("SELECT coalesce(sum(balance_micro_usd), 0), count(*) FROM accounts")
    if credits != balances:
        lost.append(f"I1 credits less withdrawals are {credits}, balances {balances}")
    # What went out and did not come back is pending or paid.
    ((gone,),) = db.execute(
        "SELECT coalesce(-sum(amount_micro_usd), 0) FROM ledger WHERE kind IN ('withdrawal', 'withdrawal_rejected')"
    )
    ((leaving,),) = db.execute("SELECT coalesce(sum(amount_micro_usd), 0) FROM withdrawals WHERE status <> 'rejected'")
    if gone != leaving:
        lost.append(f"I1 {gone} left for withdrawals, {leaving} are pending or paid")
    ((rows,),) = db.execute("SELECT count(*) FROM usage")
    return Findings(lost, rows, accounts)


def audit_record(db: sqlite3.Connection, record: Record) -> list[str]:
    """I3: the rows against what the clients saw."""
    lost: list[str] = []
    rows = {
        number: (key, charged, outcome)
        for number, key, charged, outcome in db.execute("SELECT id, key_id, charged_micro_usd, outcome FROM usage")
    }
    explained: set[int] = set()
    for answer in record.whole():
        number = id_number(answer.request_id)
        row = rows.get(number)
        if number in explained:
            lost.append(f"I3 two answers carry {answer.request_id}")
        elif row is None:
            lost.append(f"I3 no row for {answer.request_id}, which a client has whole")
        elif row[2] != "completed":
            lost.append(f"I3 {answer.request_id} is whole at the client and '{row[2]}' in its row")
        elif answer.cost is not None and answer.cost != row[1]:
            lost.append(f"I3 {answer.request_id} cost {answer.cost} at the client and {row[1]} in its row")
        explained.add(number)
    # What is left must be a request that some client began and did not get whole.
    known = {id_number(a.request_id) for a in record.unfinished if a.request_id}
    nameless = collections.Counter(a.key_id for a in record.unfinished if not a.request_id)
    strangers = collections.Counter(
        key for number, (key, *_) in rows.items() if number not in explained and number not in known
    )
    for key, count in strangers.items():
        allowed = nameless[id_text("key", key, 12)]
        if count > allowed and id_text("key", key, 12) in record.keys:
            lost.append(f"I3 {count} rows of {id_text('key', key, 12)}, only {allowed} requests explain them")
    return lost


def open_read_only(path: pathlib.Path) -> sqlite3.Connection:
    """A connection that cannot write, on one snapshot."""
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
    db.execute("PRAGMA query_only = ON")
    db.execute("BEGIN")
    return db


def audit_file(path: pathlib.Path, record: Record | None = None) -> Findings:
    """Audits a database file, with the clients' record if there is one."""
    try:
        db = open_read_only(path)
    except sqlite3.Error as e:
        return Findings([f"cannot be opened: {e}"])
    try:
        findings = audit_rows(db)
        if record is not None:
            findings.lost += audit_record(db, record)
        return findings
    except sqlite3.Error as e:
        return Findings([f"cannot be read: {e}"])
    finally:
        db.close()


def copy_database(data: pathlib.Path, to: pathlib.Path) -> pathlib.Path:
    """Copies the files of a database as they lie, as a crash left them. The server must be stopped."""
    to.mkdir(parents=True, exist_ok=True)
    for suffix in ("", "-wal"):
        source = data / f"coordinator.db{suffix}"
        target = to / f"coordinator.db{suffix}"
        target.unlink(missing_ok=True)
        if source.exists():
            shutil.copyfile(source, target)
    (to / "coordinator.db-shm").unlink(missing_ok=True)
    return to / "coordinator.db"


def product_audit(binary: pathlib.Path, data: pathlib.Path, rows: int | None) -> list[str]:
    """What the product's own audit says against itself, or against ours."""
    done = subprocess.run([binary, "audit", "--json", "--data-dir", data], capture_output=True, text=True, timeout=120)
    try:
        said = json.loads(done.stdout)
    except ValueError:
        return [f"coordinator audit: exit {done.returncode}, {done.stderr.strip()[-200:]}"]
    problems = [f"coordinator audit: {p}" for p in said.get("problems", [])[:MOST_SHOWN]]
    if not said.get("ok") and not problems:
        problems.append("coordinator audit is not ok and says nothing")
    if done.returncode != (0 if said.get("ok") else 1):
        problems.append(f"coordinator audit: exit {done.returncode} for ok={said.get('ok')}")
    if rows is not None and said.get("usage_rows") != rows:
        problems.append(f"coordinator audit counts {said.get('usage_rows')} rows, there are {rows}")
    return problems


PANIC = re.compile(r"panicked at|thread '[^']*' panic|stack backtrace|SIGABRT|overflowed its stack", re.I)


def scan_log(path: pathlib.Path) -> list[str]:
    """Lines of the log that tell of a panic."""
    if not path.exists():
        return []
    with path.open(errors="replace") as log:
        return [f"panic in the log: {line.strip()[:300]}" for line in log if PANIC.search(line)][:MOST_SHOWN]
