#!/usr/bin/env python3
"""Writes the order in which a release's functions stand in memory: those that run, beside each other.

    packaging/functions.py target/release/coordinator > packaging/functions.ld

Of 13 MiB of machine code, a server that nobody asks runs 2 and one under load 3, strewn over all of it; and as the system
maps sixteen pages for each that is touched, nearly all of it stands in memory (5 MiB more than with this order), and the
caches of the processor hold many lines of which a part is used. This runs the binary in valgrind, idle, with requests of
its demo, and as a machine that joined a server and answers, and writes a linker script (for lld and GNU ld) that puts
what ran first. A function that is not found any more is passed over, one that is not named stands behind: nothing
depends on it but memory and speed. To be written anew when much has changed; about two minutes. Needs valgrind (Debian:
valgrind).
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.request

# How many are sent: whole answers and streams, in each dialect.
REQUESTS = 60
MODEL = "qwen3.5-27b-claude-opus-8bit"


def ran(binary: str, room: pathlib.Path, *more: str, load: bool, data: str = "data") -> dict[str, int]:
    """How often each function was called by a server that starts, idles, and answers if there is a load."""
    out, said = room / "callgrind.out", room / "said"
    command = ["valgrind", "--tool=callgrind", "--demangle=no", f"--callgrind-out-file={out}", binary]
    command += ["serve", "--json", "--listen", "127.0.0.1:0", "--data-dir", str(room / data), *more]
    with said.open("wb") as stdout, (room / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=stdout, stderr=log)
    try:
        deadline = time.monotonic() + 120
        while not (lines := said.read_text(encoding="utf-8").splitlines()):
            if time.monotonic() > deadline or server.poll() is not None:
                sys.exit((room / "log").read_text(encoding="utf-8"))
            time.sleep(0.1)
        at = json.loads(lines[0])
        if load:
            ask(at)
        else:
            # What looks after it does so, too.
            urllib.request.urlopen(f"http://{at['listening']}/health", timeout=60).close()
        time.sleep(5)
    finally:
        server.terminate()
        server.wait()
    return calls(out.read_text(encoding="utf-8"))


def started(binary: str, data: pathlib.Path, *more: str) -> tuple[subprocess.Popen[str], dict[str, str]]:
    """A server of its own, not looked at, and what it says when it is ready."""
    command = [binary, "serve", "--json", "--listen", "127.0.0.1:0", "--data-dir", str(data), *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


def told(binary: str, data: pathlib.Path, *command: str) -> dict[str, str]:
    """What a command on a data directory says."""
    words = [binary, *command, "--json", "--data-dir", str(data)]
    return json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def ended(*processes: subprocess.Popen[str]) -> None:
    """Ends them."""
    for process in processes:
        process.terminate()
        process.wait()


def idle(binary: str, room: pathlib.Path) -> dict[str, int]:
    """How often each function was called by a server that has a provider, and nobody who asks but for its health."""
    models, at = started(binary, room / "models", "--demo")
    data = room / "data"
    told(binary, data, "account", "create", "owner")
    offer = ["--url", at["base_url"], "--account", "owner", "--model", MODEL, "--api-key", at["key"]]
    told(binary, data, "provider", "add", "models", *offer)
    found = ran(binary, room, load=False)
    ended(models)
    # And by one that makes its database first.
    return ran(binary, room / "models", load=False, data="new") | found


def joined(binary: str, room: pathlib.Path) -> dict[str, int]:
    """The same of a machine that joined, in front of the demo of another server."""
    out, server = room / "callgrind.out", room / "server"
    for name in "payer", "owner":
        told(binary, server, "account", "create", name)
    told(binary, server, "credit", "payer", "10")
    invitation, payer = told(binary, server, "provider", "invite", "owner"), told(binary, server, "key", "create", "payer")
    models, public = started(binary, room / "demo", "--demo")
    asked, at = started(binary, server)
    command = ["valgrind", "--tool=callgrind", "--demangle=no", f"--callgrind-out-file={out}", binary, "join"]
    command += [f"http://{at['listening']}", "--key", invitation["key"], "--to", public["base_url"], "--json"]
    # With settings for its allocator, it does not start itself anew, out of valgrind.
    environment = {**os.environ, "COORDINATOR_LOCAL_KEY": public["key"], "_RJEM_MALLOC_CONF": "dirty_decay_ms:0"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment) as machine:
        assert machine.stdout is not None
        if not machine.stdout.readline():
            sys.exit("the machine did not join")
        ask({**at, "base_url": f"http://{at['listening']}/v1", "key": payer["key"]})
        machine.terminate()
    ended(asked, models)
    return calls(out.read_text(encoding="utf-8"))


def ask(at: dict[str, str]) -> None:
    """Whole answers and streams, in each dialect."""
    for number in range(REQUESTS):
        stream = number % 2 == 0
        prompt = [{"role": "user", "content": "Explain gradient descent in one paragraph."}]
        path, body = [
            ("chat/completions", {"messages": prompt, "max_tokens": 64}),
            ("messages", {"messages": prompt, "max_tokens": 64}),
            ("responses", {"input": prompt[0]["content"], "max_output_tokens": 64}),
        ][0 if number % 6 < 4 else 1 + number % 2]
        text = json.dumps({"model": MODEL, "stream": stream, **body}).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {at['key']}"}
        request = urllib.request.Request(f"{at['base_url']}/{path}", text, headers)
        with contextlib.closing(urllib.request.urlopen(request, timeout=60)) as answer:
            answer.read()


def calls(text: str) -> dict[str, int]:
    """Calls by function, of a profile of callgrind (https://valgrind.org/docs/manual/cl-format.html)."""
    names: dict[str, str] = {}
    found: collections.Counter[str] = collections.Counter()
    callee = ""
    for line in text.splitlines():
        if match := re.match(r"c?fn=\((\d+)\)(?: (.*))?$", line):
            number, name = match.groups()
            if name:
                # A recursion's depth stands behind an apostrophe.
                names[number] = name.split("'")[0]
            callee = names[number]
            found[callee] += 0
        elif match := re.match(r"calls=(\d+)", line):
            found[callee] += int(match[1])
    return found


def symbols(binary: str) -> set[str]:
    """The functions of the binary."""
    listed = subprocess.run(["nm", "-S", binary], capture_output=True, text=True, check=True).stdout
    fields = (line.split() for line in listed.splitlines())
    return {field[3] for field in fields if len(field) == 4 and field[2] in "tTwW"}


def pattern(name: str) -> str:
    """A name as the linker is to look for it: without the hashes of crates, which change with every compiler and version
    of them, and without what refers back over those, which may move (Rust's mangling, version 0: RFC 2603)."""
    name = re.sub(r"\.llvm\.\d+$", "*", name)
    name = re.sub(r"(?<![a-z])B[0-9A-Za-z]{1,3}_", "B*_", re.sub(r"Cs[0-9A-Za-z]{6,12}_", "Cs*_", name))
    # In a linker script, `$` has a use of its own.
    return name.replace("$", "?")


def main() -> None:
    """Runs it at rest, at work and away from home, and prints the order."""
    (binary,) = sys.argv[1:]
    with tempfile.TemporaryDirectory() as near, tempfile.TemporaryDirectory() as loaded, tempfile.TemporaryDirectory() as far:
        at_rest = idle(binary, pathlib.Path(near))
        at_work = ran(binary, pathlib.Path(loaded), "--demo", load=True)
        away = joined(binary, pathlib.Path(far))
    functions = symbols(binary)
    # Three that run, and each finds its own beside each other: an idle server in the first four of these, a machine that
    # joined in the four from the third on. What a server runs for requests stands between, what every request runs first.
    shared = [{"rest"}, {"rest", "work"}, {"rest", "work", "away"}, {"rest", "away"}, {"work", "away"}, {"away"}, {"work"}]
    runs = {"rest": at_rest, "work": at_work, "away": away}
    called = dict.fromkeys(name for names in runs.values() for name in names if name in functions)

    def place(name: str) -> tuple[int, int]:
        """Whose it is, and how often requests run it."""
        return shared.index({who for who, names in runs.items() if name in names}), -at_work.get(name, 0)

    patterns = dict.fromkeys(map(pattern, sorted(called, key=place)))
    print("/* Written by packaging/functions.py, which says what for. */\nSECTIONS {\n  .text.first : {")
    for one in patterns:
        print(f"    *(.text.{one})")
    # Few, and some of those that run at start are among them.
    print("    *(.text.unlikely.*)\n  }\n}\nINSERT BEFORE .text;")


if __name__ == "__main__":
    main()
