"""The four turns, and what must hold after each."""
import time
from collections import Counter
from dataclasses import dataclass, field

from program import Ask, Told

STEPS = ("plain turn", "tool turn", "wrong key", "no credit")
#: Shaped as a key, known to nobody.
WRONG_KEY = "sk-db-000000000000-" + "0" * 59


@dataclass
class Result:
    """A line of the table."""
    program: str
    version: str
    kind: str
    verdict: str
    why: str = ""
    requests: Counter = field(default_factory=Counter)
    told: str = ""
    rows: str = ""
    audit: str = ""
    seconds: float = 0


def step(server, folder, program, installed, account, kind, missing):
    """One turn of one program."""
    result = Result(program.NAME, program.version(), kind, "skipped", missing or "")
    without = getattr(program, "WITHOUT", {}).get(kind)
    if missing or without:
        result.why = missing or without
        return result
    home, work = folder / "home", folder / "work"
    home.mkdir(parents=True)
    work.mkdir()
    key = {"wrong key": WRONG_KEY, "no credit": account.poor_key}.get(kind, account.key)
    ask = Ask(server.root, key, server.model, home, work, tool=kind == "tool turn")
    before, mark, began, said = server.rows(account.key), server.mark(), time.monotonic(), server.said()
    try:
        told = program.turn(installed, ask)
    except Exception as error:  # noqa: BLE001: whatever it is, the next program has its turn
        told = Told(error=f"{type(error).__name__}: {error}")
    result.seconds = time.monotonic() - began
    result.requests = server.requests(mark)
    rows = [row for at, row in server.rows(account.key).items() if at not in before]
    result.rows = amounts(sum(r["prompt_tokens"] for r in rows), sum(r["completion_tokens"] for r in rows), len(rows))
    result.audit = server.audit() or "ok"
    served = kind in ("plain turn", "tool turn")
    result.told = amounts(told.prompt, told.completion) if served else " ".join(told.error.split())[:90]
    # A program that asks again, whatever the answer says, names how often.
    tries = getattr(program, "TRIES", 1)
    faults = [*(served_faults(result, told, rows, kind) if served else refused_faults(result, told, rows, kind, tries))]
    if said is not None:
        faults += counts_faults(server.said()[len(said):], rows, result, kind)
    if result.audit != "ok":
        faults.append("the audit found something")
    result.verdict, result.why = ("failed", "; ".join(faults)) if faults else ("passed", "")
    return result


def amounts(prompt, completion, rows=None):
    """Tokens as the table shows them."""
    if prompt is None and completion is None:
        return "not shown"
    return f"{prompt}+{completion}" + (f" in {rows}" if rows and rows > 1 else "")


def served_faults(result, told, rows, kind):
    """What is wrong with a turn that should have been answered."""
    if told.error:
        yield f"it says: {told.error[:400]}"
    if "demo provider" not in told.text:
        yield f"no answer was shown: {told.text[:100]!r}"
    if kind == "tool turn" and told.ran is False:
        yield "it did not run the tool"
    if not rows:
        yield "no row"
    for row in rows:
        if (row["outcome"], row["metered_by"], row["shortfall_micro_usd"]) != ("completed", "provider", 0):
            yield f"a row is {row['outcome']}, metered by {row['metered_by']}"
    for name in ("prompt", "completion"):
        shown, billed = getattr(told, name), sum(row[f"{name}_tokens"] for row in rows)
        if shown is not None and shown != billed and not (told.rounded and abs(shown - billed) <= billed * 0.05):
            yield f"it was told {shown} {name} tokens, the rows say {billed}"
    strange = [request for request in result.requests if not request.endswith(" 200")]
    if strange:
        yield f"refused: {', '.join(strange)}"


def counts_faults(said, rows, result, kind):
    """What is wrong where the provider itself says what it counted, answer by answer."""
    billed = [(row["prompt_tokens"], row["cached_tokens"], row["completion_tokens"]) for row in rows]
    result.rows = " ".join("/".join(map(str, row)) for row in sorted(billed)) or "-"
    if sorted(said) != sorted(billed):
        yield f"the server counted {sorted(said)}, the rows say {sorted(billed)}"
    if not all(row["translated"] for row in rows):
        yield "a row is not translated"
    if kind == "tool turn" and len(rows) < 2:
        yield "no answer to what the tool said"


def refused_faults(result, told, rows, kind, tries=1):
    """What is wrong with a turn that should have been refused."""
    status = {"wrong key": 401, "no credit": 402}[kind]
    if not told.error:
        yield "it does not say that it failed"
    if rows:
        yield f"{len(rows)} rows"
    refused = sum(n for request, n in result.requests.items() if request.endswith(f" {status}"))
    if not 1 <= refused <= tries:
        yield f"{refused} answers were {status}"
