"""The binary under test: a data directory, its accounts and keys, a server process, and its upstream.

Processes are ended by their own id, and all of them end with the harness.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from driver import MODEL, Client, Target

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
READY_SECONDS = 20.0
# $1 and $2 per million tokens: one micro-dollar a prompt token, two a generated one.
INPUT_USD, OUTPUT_USD = "1.00", "2.00"
INPUT_MICRO, OUTPUT_MICRO = 1, 2


class HarnessError(Exception):
    """The harness itself could not do what it must; not a finding about the product."""


class Upstream:
    """The scripted upstream as a process."""

    def __init__(self, *args: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, HERE / "upstream.py", *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.port: int = json.loads(self.process.stdout.readline())["port"]

    @property
    def url(self) -> str:
        """The base URL for `provider add`."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def stats(self, what: str = "stats") -> dict:
        """What the upstream counts."""
        client = Client(Target(port=self.port))
        answer = await client.request("GET", f"/_torture/{what}")
        client.close()
        return answer.json()

    async def idle(self, seconds: float) -> int:
        """Waits until no request is in progress; returns how many still are."""
        end = time.monotonic() + seconds
        while (busy := (await self.stats())["busy"]) and time.monotonic() < end:
            await asyncio.sleep(0.1)
        return busy

    def stop(self) -> None:
        """Ends it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.terminate()
        self.process.wait(10)


class World:
    """A fresh data directory with a price, a provider and its upstream, and the server on it."""

    def __init__(self, binary: pathlib.Path, scratch: pathlib.Path, *, data: pathlib.Path | None = None) -> None:
        self.binary = binary
        self.data = data or scratch / "data"
        self.scratch = scratch
        self.log = scratch / "server.log"
        self.said = scratch / "server.out"
        self.upstream = Upstream()
        self.target = Target()
        self.process: subprocess.Popen | None = None
        self.pid = 0
        self.admin_key = ""
        self.keys: list[tuple[str, str]] = []
        self.accounts: list[str] = []

    # The command line.

    def cli(
        self, *args: str | pathlib.Path, check: bool = True, data: pathlib.Path | None = None
    ) -> subprocess.CompletedProcess:
        """Runs a command on the data directory."""
        command = [self.binary, *args, "--data-dir", data or self.data]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if check and done.returncode != 0:
            raise HarnessError(f"{' '.join(map(str, args))}: exit {done.returncode}: {done.stderr.strip()[-300:]}")
        return done

    def cli_in(self, stdin: str, *args: str) -> None:
        """Runs a command that reads its standard input."""
        subprocess.run(
            [self.binary, *args, "--data-dir", self.data],
            input=stdin,
            text=True,
            check=True,
            capture_output=True,
            timeout=60,
        )

    def cli_json(self, *args: str) -> dict:
        """Runs a command with `--json`."""
        return json.loads(self.cli(*args, "--json").stdout)

    def prepare(self, *, accounts: int = 4, keys: int = 2, usd: str = "1000", concurrent: int = 20_000) -> World:
        """Makes the price, the provider, the accounts and their keys."""
        self.cli("admin", "create", "torturer")
        self.admin_key = self.cli_json("admin", "key", "torturer")["key"]
        self.cli(
            "price",
            "set",
            MODEL,
            "--input",
            INPUT_USD,
            "--output",
            OUTPUT_USD,
            "--context",
            "4000000",
            "--max-output",
            "100000",
        )
        owner = self.cli_json("account", "create", "provider-owner")["id"]
        self.cli(
            "provider",
            "add",
            "torture",
            "--url",
            self.upstream.url,
            "--account",
            owner,
            "--model",
            MODEL,
            "--api-key",
            "canary-provider-key",
            "--max-concurrent",
            str(concurrent),
        )
        for _ in range(accounts):
            self.add_account(usd, keys)
        return self

    def add_account(self, usd: str, keys: int = 1) -> tuple[str, list[tuple[str, str]]]:
        """One more account with credit; returns its id and its keys as (plaintext, id)."""
        account = self.cli_json("account", "create", f"payer-{len(self.accounts)}")["id"]
        if float(usd):
            self.cli("credit", account, usd)
        made = []
        for number in range(keys):
            key = self.cli_json("key", "create", account, "--name", f"k{number}")
            made.append((key["key"], key["id"]))
        self.accounts.append(account)
        self.keys += made
        return account, made

    # The process.

    def start(
        self,
        *,
        wrapper: Sequence[str | pathlib.Path] = (),
        env: dict[str, str] | None = None,
        args: Sequence[str] = (),
        nofile: int | None = None,
        wait: bool = True,
    ) -> float:
        """Starts `serve` and waits until it is ready; returns the seconds that took."""
        command = [*wrapper, self.binary, "serve", "--json", "--listen", "127.0.0.1:0", "--data-dir", self.data, *args]
        if nofile is not None:
            command = ["prlimit", f"--nofile={nofile}:{nofile}", *command]
        began = time.monotonic()
        with self.log.open("ab") as log, self.said.open("wb") as said:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=log,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        self.pid = self.process.pid
        if not wait:
            return 0.0
        self.target.port = self.read_port(began)
        self.pid = self.server_pid()
        return time.monotonic() - began

    def read_port(self, began: float) -> int:
        """Reads the line that says where the server listens."""
        assert self.process is not None
        while b"\n" not in (said := self.said.read_bytes()):
            if time.monotonic() - began > READY_SECONDS or self.process.poll() is not None:
                raise HarnessError(f"serve did not become ready: {said!r} {self.log_tail()}")
            time.sleep(0.002)
        return int(json.loads(said.split(b"\n")[0])["listening"].rpartition(":")[2])

    def server_pid(self) -> int:
        """The process of the binary itself, below any wrapper."""
        assert self.process is not None
        for pid in descendants(self.process.pid):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/exe") == str(self.binary.resolve()):
                    return pid
        return self.process.pid

    def log_tail(self, length: int = 400) -> str:
        """The end of the log."""
        return self.log.read_text(errors="replace")[-length:] if self.log.exists() else ""

    def kill(self, how: int = signal.SIGKILL, seconds: float = 40.0) -> int:
        """Ends the server; returns its exit status."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, how)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise HarnessError(f"the server outlived signal {how} by {seconds} s") from None

    def running(self) -> bool:
        """The server runs."""
        return self.process is not None and self.process.poll() is None

    def memory(self) -> int:
        """Resident bytes of the server."""
        with open(f"/proc/{self.pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def close(self) -> None:
        """Ends everything."""
        if self.running():
            self.kill()
        self.upstream.stop()


def descendants(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            children = pathlib.Path(f"/proc/{pid}/task/{task}/children").read_text(encoding="ascii")
            for child in children.split():
                yield from descendants(int(child))


def micro(text: str) -> int:
    """A decimal of USD as micro-dollars, exactly."""
    whole, _, part = text.partition(".")
    if not re.fullmatch(r"\d+", whole) or not re.fullmatch(r"\d{0,6}", part):
        raise ValueError(text)
    return int(whole) * 1_000_000 + int(part.ljust(6, "0"))


def need(tool: str) -> str:
    """The path of a tool, or a `Skip` that says it is missing."""
    path = shutil.which(tool)
    if path is None:
        raise Skip(f"needs {tool}")
    return path


def install(package: str) -> None:
    """Installs a package of Debian's by name, where that may be done; what is missing then is missing."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "timeout": 300}
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(["apt-get", "-qq", "update"], check=False, env=environment, **quiet)
        command = ["apt-get", "-qq", "install", "-y", "--no-install-recommends", package]
        subprocess.run(command, check=False, env=environment, **quiet)


class Skip(Exception):
    """This machine cannot run the check; the text says why."""
