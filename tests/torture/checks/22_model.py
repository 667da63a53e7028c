"""Row 22: random operations and crashes against the real store and a small model (tests/model.rs), by seed.

The other half of the row, mutants of `domain` and `store`, takes an hour: `tests/torture/mutants.sh`.
"""

from __future__ import annotations

import os
import re
import subprocess

from check import Check
from server import ROOT, HarnessError

TITLE = "model test: random operations and crashes"
QUICK = True
PLANTS = {
    "double-charge": "one settlement in some is made twice",
    "lost-commit": "the crash tears a commit that was answered",
}
OPERATIONS = 100


def run(check: Check) -> None:
    """The test binary that `cargo test` has, with more runs and seeds of its own."""
    runs = check.count(2000, 100)
    first = int.from_bytes(check.seed.encode()[:4], "big")
    environment = {**os.environ, "MODEL_RUNS": str(runs), "MODEL_SEED": str(first), "MODEL_PLANT": check.plant or ""}
    command = ["cargo", "test", "--quiet", "--test", "stories", "model::"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    passed = re.search(r"(\d+) passed", done.stdout)
    if done.returncode not in (0, 101) or (done.returncode == 0 and (not passed or passed[1] == "0")):
        raise HarnessError(f"cargo test: exit {done.returncode}: {done.stderr.strip()[-300:]}")
    for text in re.findall(r"seed \d+: [^\n]{0,300}", done.stdout + done.stderr):
        check.expect(False, text)
    check.expect(done.returncode == 0, "the store and the model disagree")
    check.times = check.faults = runs
    check.tried = f"{runs} runs of {OPERATIONS} operations, seeds from {first}"
