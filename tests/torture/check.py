"""What a check is given and what it gives back."""

from __future__ import annotations

import contextlib
import pathlib
import random
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import audit
from driver import Record
from server import Skip, World

__all__ = ["Check", "Skip"]


@dataclass
class Check:
    """One run of one row of the gauntlet."""

    number: int
    quick: bool
    seed: str
    plant: str | None
    binary: pathlib.Path
    scratch: pathlib.Path
    tried: str = ""
    times: int = 0
    faults: int = 0
    lost: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    marks: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(f"{self.seed}:{self.number}")

    def planted(self, name: str) -> bool:
        """The named fault was asked for."""
        return self.plant == name

    def count(self, full: int, quick: int) -> int:
        """How often: all of it, or the quick number."""
        return quick if self.quick else full

    def expect(self, holds: Any, otherwise: str) -> bool:
        """Notes a loss unless it holds."""
        if not holds:
            self.lost.append(otherwise)
        return bool(holds)

    @contextlib.contextmanager
    def world(self, name: str = "world", **options: Any) -> Iterator[World]:
        """A fresh world that ends with the block."""
        scratch = self.scratch / name
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        world = World(self.binary, scratch, **options)
        try:
            yield world
        finally:
            world.close()

    def audit(self, world: World, record: Record | None = None, *, where: str = "") -> audit.Findings:
        """The one audit: rows, clients' record, the product's own audit, the log."""
        path = world.data / "coordinator.db"
        if self.plant in ("drop-row", "skim"):
            path = self.tampered(world)
        findings = audit.audit_file(path, record)
        # While the server writes, the two audits look at different moments.
        rows = None if world.running() or self.plant else findings.rows
        findings.lost += audit.product_audit(world.binary, path.parent, rows)
        findings.lost += audit.scan_log(world.log)
        self.lost += [f"{where}: {text}" if where else text for text in findings.lost]
        return findings

    def tampered(self, world: World) -> pathlib.Path:
        """A copy of the database in which one thing is wrong, for the plants `drop-row` and `skim`."""
        self.marks += 1
        copy = self.scratch / f"tampered-{self.marks}"
        copy.mkdir()
        source = audit.sqlite3.connect(f"file:{world.data / 'coordinator.db'}?mode=ro", uri=True)
        db = audit.sqlite3.connect(copy / "coordinator.db", isolation_level=None)
        with contextlib.closing(source), contextlib.closing(db):
            source.backup(db)
            if self.plant == "drop-row":
                db.execute("DELETE FROM usage WHERE id = (SELECT max(id) FROM usage WHERE outcome = 'completed')")
            else:
                db.execute(
                    "UPDATE accounts SET balance_micro_usd = balance_micro_usd + 1"
                    " WHERE id = (SELECT max(id) FROM accounts)"
                )
        return copy / "coordinator.db"
