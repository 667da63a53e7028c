#!/usr/bin/env python3
"""Real programs against `serve --demo`: each is installed (npm, PyPI; pinned), and asked four times, with a HOME and an
account of its own: a plain turn, one with a tool, one with a wrong key, one without credit. After each, the rows are
what the program was told, the books are whole, and what it sent is in the table.

    tests/agents/run.py [--binary target/debug/coordinator] [--imitate SERVER | --mlx-lm] [NAME…]

With `--imitate mlx-lm` the demo speaks chat alone, and what the programs of other dialects are told is translated. With
`--mlx-lm` the only provider is mlx_lm.server itself (PyPI), with a model that says what a script wants; then the rows
are what that server counted, too.

What is installed stays in target/agents; the rest is removed. Programs run without a network (a namespace with nothing
but loopback) where this machine lets them. What cannot be installed is skipped, with the reason.
"""
import argparse
import contextlib
import fcntl
import importlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from behind_mlx_lm import BehindMlxLm
from program import INSIDE, CannotInstall
from server import Server
from steps import STEPS, step
from table import table

PROGRAMS = ["claude_code", "codex", "opencode", "pi", "aider", "qwen_code", "openai_agents", "lang_chain", "lang_chain_responses",
            "lang_chain_anthropic", "llama_index", "pydantic_ai", "pydantic_ai_responses", "pydantic_ai_anthropic", "promptfoo",
            "open_webui"]


def main():
    options = arguments()
    chosen = {name: importlib.import_module(f"use_{name}") for name in options.names or PROGRAMS}
    if INSIDE in os.environ:
        bring_loopback_up()
        return run(options, chosen, json.loads(os.environ[INSIDE]))
    missing = {}
    if options.mlx_lm:
        BehindMlxLm.install()
    for name, program in chosen.items():
        print(f"-- {program.NAME} {program.version()}", flush=True)
        try:
            program.install()
        except CannotInstall as reason:
            missing[name] = str(reason)
            print(f"   cannot be installed: {reason}", flush=True)
    if without_network() is None:
        print("-- no network namespace can be had here: the programs have closed proxies instead", flush=True)
        return run(options, chosen, missing)
    again = [*without_network(), sys.executable, __file__, *sys.argv[1:]]
    with subprocess.Popen(again, env={**os.environ, INSIDE: json.dumps(missing)}) as child:
        # An interrupt reaches both; the inner one ends what it started.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: child.terminate())
        return child.wait()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--binary", default="target/debug/coordinator", type=Path)
    parser.add_argument("--imitate", default="plain", help="the server whose habits the demo has")
    parser.add_argument("--mlx-lm", action="store_true", help="behind it is mlx_lm.server, and no demo")
    parser.add_argument("names", nargs="*", choices=[*PROGRAMS, []], metavar="NAME", help=", ".join(PROGRAMS))
    options = parser.parse_args()
    if not options.binary.exists():
        parser.error(f"{options.binary} is not there: cargo build")
    options.binary = options.binary.resolve()
    return options


def without_network():
    """The command that runs another in a namespace without a network; None if this machine has none."""
    for command in (["unshare", "--net"], ["unshare", "--net", "--map-root-user"]):
        with contextlib.suppress(OSError):
            if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
                return command
    return None


def bring_loopback_up():
    """A new namespace has a loopback device that is down."""
    get_flags, set_flags, up = 0x8913, 0x8914, 0x1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(sock, get_flags, request))[1]
        fcntl.ioctl(sock, set_flags, struct.pack("16sH14x", b"lo", flags | up))


def run(options, chosen, missing):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(tempfile.mkdtemp(prefix="agents-"))
    results = []
    try:
        behind = BehindMlxLm(options.binary, folder) if options.mlx_lm else Server(options.binary, folder, options.imitate)
        with behind as server:
            for name, program in chosen.items():
                results += one(server, folder, name, program, missing.get(name))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(table(results))
    count = {kind: sum(r.verdict == kind for r in results) for kind in ("passed", "failed", "skipped")}
    print(", ".join(f"{number} {kind}" for kind, number in count.items()))
    return 1 if count["failed"] or not count["passed"] else 0


def one(server, folder, name, program, missing):
    """All turns of one program."""
    installed = None if missing else program.install()
    account = server.account(name)
    results = []
    for kind in STEPS:
        result = step(server, folder / name / kind, program, installed, account, kind, missing)
        print(f"{result.verdict.upper()} {program.NAME}: {kind}{': ' if result.why else ''}{result.why}", flush=True)
        results.append(result)
    return results


if __name__ == "__main__":
    sys.exit(main())
