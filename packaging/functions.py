#!/usr/bin/env python3
"""Writes the order in which a release's functions stand in memory: those that run, beside each other.

    packaging/functions.py target/release/coordinator > packaging/functions.ld

Of 13 MiB of machine code, a server that nobody asks runs 2 and one under load 3, strewn over all of it; and as the system
maps sixteen pages for each that is touched, nearly all of it stands in memory (5 MiB more than with this order), and the
caches of the processor hold many lines of which a part is used. This runs the binary in valgrind, idle, with requests of
its demo, and as a machine that joined a server and answers, and writes a linker script (for lld and GNU ld) that puts what ran first. A function that is not found
any more is passed over, one that is not named stands behind: nothing depends on it but memory and speed. To be written
anew when much has changed; about two minutes. Needs valgrind (Debian: valgrind).
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

# Called at least so often by so many requests, a function is one of those that every request runs.
REQUESTS = 60
MODEL = "qwen3.5-27b-claude-opus-8bit"


def ran(binary: str, room: pathlib.Path, *more: str, load: bool) -> dict[str, int]:
    """How often each function was called by a server that starts, idles, and answers if there is a load."""
    out, said = room / "callgrind.out", room / "said"
    command = ["valgrind", "--tool=callgrind", "--demangle=no", f"--callgrind-out-file={out}", binary]
    command += ["serve", "--json", "--listen", "127.0.0.1:0", "--data-dir", str(room / "data"), *more]
    with said.open("wb") as stdout, (room / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=stdout, stderr=log)
    try:
        deadline = time.monotonic() + 120
        while not (lines := said.read_text(encoding="utf-8").splitlines()):
            if time.monotonic() > deadline or server.poll() is not None:
                sys.exit((room / "log").read_text(encoding="utf-8"))
            time.sleep(0.1)
        if load:
            ask(json.loads(lines[0]))
        time.sleep(5)
    finally:
        server.terminate()
        server.wait()
    return calls(out.read_text(encoding="utf-8"))


def joined(binary: str, room: pathlib.Path) -> dict[str, int]:
    """The same of a machine that joined, in front of the demo of another server."""
    out, demo, server = room / "callgrind.out", room / "demo", room / "server"

    def start(data: pathlib.Path, *more: str) -> tuple[subprocess.Popen[str], dict[str, str]]:
        command = [binary, "serve", "--json", "--listen", "127.0.0.1:0", "--data-dir", str(data), *more]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout is not None
        return process, json.loads(process.stdout.readline())

    def said(*command: str) -> dict[str, str]:
        words = [binary, *command, "--json", "--data-dir", str(server)]
        return json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)

    for name in "payer", "owner":
        said("account", "create", name)
    said("credit", "payer", "10")
    invitation, payer = said("provider", "invite", "owner"), said("key", "create", "payer")
    models, public = start(demo, "--demo")
    asked, at = start(server)
    command = ["valgrind", "--tool=callgrind", "--demangle=no", f"--callgrind-out-file={out}", binary, "join"]
    command += [f"http://{at['listening']}", "--key", invitation["key"], "--to", public["base_url"], "--json"]
    environment = {**os.environ, "COORDINATOR_LOCAL_KEY": public["key"]}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment) as machine:
        assert machine.stdout is not None
        if not machine.stdout.readline():
            sys.exit("the machine did not join")
        ask({**at, "base_url": f"http://{at['listening']}/v1", "key": payer["key"]})
        machine.terminate()
    for process in asked, models:
        process.terminate()
        process.wait()
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


def symbols(binary: str) -> dict[str, int]:
    """The size of each function in the binary."""
    listed = subprocess.run(["nm", "-S", binary], capture_output=True, text=True, check=True).stdout
    fields = (line.split() for line in listed.splitlines())
    return {field[3]: int(field[1], 16) for field in fields if len(field) == 4 and field[2] in "tTwW"}


def pattern(name: str) -> str:
    """A name as the linker is to look for it: without the hashes of its types and crates, which change with every
    compiler, and with what this project is made of."""
    name = re.sub(r"17h[0-9a-f]{16}E.*$", "17h*", re.sub(r"\.llvm\.\d+$", "*", name))
    # In a linker script, `$` has a use of its own.
    return re.sub(r"Cs[0-9A-Za-z]+_", "Cs*_", name).replace("$", "?")


def main() -> None:
    """Runs it twice, and prints the order."""
    (binary,) = sys.argv[1:]
    with tempfile.TemporaryDirectory() as idle, tempfile.TemporaryDirectory() as loaded, tempfile.TemporaryDirectory() as far:
        at_rest = ran(binary, pathlib.Path(idle), load=False)
        at_work = ran(binary, pathlib.Path(loaded), "--demo", load=True)
        away = joined(binary, pathlib.Path(far))
    sizes = symbols(binary)
    hot = sorted((name for name in at_work if at_work[name] >= REQUESTS), key=lambda name: -at_work[name])
    # What runs at rest stands together, and what every request runs, too: that which does both is where they meet.
    rest_first = sorted(at_rest, key=lambda name: at_work[name] >= REQUESTS)
    order = [name for name in dict.fromkeys([*rest_first, *hot, *at_work, *away]) if name in sizes]
    # Functions that differ in their types alone have one pattern. Where fewer than a third of them ran, by size, they stand
    # behind the others.
    alike, runs = collections.Counter[str](), collections.Counter[str]()
    for name, size in sizes.items():
        alike[pattern(name)] += size
    for name in order:
        runs[pattern(name)] += sizes[name]
    patterns = sorted(dict.fromkeys(map(pattern, order)), key=lambda one: runs[one] * 3 < alike[one])
    print("/* Written by packaging/functions.py, which says what for. */\nSECTIONS {\n  .text.first : {")
    for one in patterns:
        print(f"    *(.text.{one})")
    # Few, and some of those that run at start are among them.
    print("    *(.text.unlikely.*)\n  }\n}\nINSERT BEFORE .text;")


if __name__ == "__main__":
    main()
