#!/usr/bin/env python3
"""The gauntlet: runs the checks of `checks/` against the release binary, a line a check.

    run.py [--quick] [--jobs N] [--only 1,5,…] [--plant NAME | --prove] [--seed S] [--binary PATH] [--list] [--keep]

`--quick` runs the quick rows with smaller counts. `--jobs N` runs up to N rows at a time, but for those that
measure how long somebody waits (`ALONE`), which follow one by one. `--plant NAME` puts in one fault of a check's own list
(`--list` names them), which the check must report: then a failing run is the proof that it can fail.
`--prove` runs every check with every fault of its list, small counts, and passes if all of them are reported.
A check that this machine cannot run is skipped with its reason; under `CI=true` that is a failure.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import pathlib
import resource
import secrets
import shutil
import subprocess
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from check import Check, Skip  # noqa: E402
from server import ROOT, HarnessError  # noqa: E402

MOST_SHOWN = 8


def load_checks() -> dict[int, ModuleType]:
    """The modules of `checks/`, by number."""
    found = {}
    for path in sorted((HERE / "checks").glob("[0-9][0-9]_*.py")):
        spec = importlib.util.spec_from_file_location(f"check_{path.stem}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        found[int(path.stem[:2])] = module
    return found


def run_one(module: ModuleType, check: Check) -> str:
    """Runs one check; returns `ok`, `FAIL` or `skip` with the reason."""
    check.scratch.mkdir(parents=True, exist_ok=True)
    try:
        module.run(check)
    except Skip as reason:
        if os.environ.get("CI") == "true":
            check.lost.append(f"cannot run here: {reason}")
            return "FAIL"
        return f"skip: {reason}"
    except HarnessError as e:
        check.lost.append(f"harness: {e}")
    except Exception:  # noqa: BLE001 - one broken check must not hide the others
        check.lost.append("harness: " + traceback.format_exc().strip().replace("\n", " | ")[-600:])
    return "FAIL" if check.lost else "ok"


def line(check: Check, module: ModuleType, verdict: str) -> str:
    """The line of the table."""
    dot = "●" if module.QUICK else " "
    seconds = time.monotonic() - check.began
    return (
        f"{check.number:3} {dot} {module.TITLE:<52} {check.tried:<46} ×{check.times:<7} faults {check.faults:<6} "
        f"lost {len(check.lost):<3} {seconds:6.1f} s  {verdict}"
    )


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="the quick rows, with smaller counts")
    parser.add_argument("--jobs", type=int, default=1, help="rows at a time, but for those that measure time")
    parser.add_argument("--only", default="", help="numbers of rows, comma-separated")
    parser.add_argument("--plant", help="a fault to put in")
    parser.add_argument("--prove", action="store_true", help="put in every fault, one after the other")
    parser.add_argument("--seed", default="", help="repeats a run")
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "target" / "release" / "coordinator")
    parser.add_argument("--list", action="store_true", help="name the checks and their plants")
    parser.add_argument("--keep", action="store_true", help="keep the scratch directories")
    return parser.parse_args()


def show(modules: dict[int, ModuleType]) -> None:
    """Prints the checks and the faults each can be given."""
    for number, module in modules.items():
        print(f"{number:3} {'●' if module.QUICK else ' '} {module.TITLE}")
        for name, what in module.PLANTS.items():
            print(f"        --plant {name:<16} {what}")


def prove(
    modules: dict[int, ModuleType], chosen: set[int], args: argparse.Namespace, seed: str, scratch: pathlib.Path
) -> int:
    """Every fault of every check must be reported, by a finding and not by a broken harness."""
    passed = failed = skipped = 0
    for number in sorted(chosen):
        for plant, what in modules[number].PLANTS.items():
            check = Check(number, True, seed, plant, args.binary.resolve(), scratch / f"{number:02}-{plant}")
            verdict = run_one(modules[number], check)
            reported = verdict == "FAIL" and not any(text.startswith("harness:") for text in check.lost)
            passed, failed, skipped = (
                passed + reported,
                failed + (not reported and not verdict.startswith("skip")),
                skipped + verdict.startswith("skip"),
            )
            word = "reported" if reported else verdict if verdict.startswith("skip") else "NOT REPORTED"
            first = check.lost[0][:110] if check.lost else ""
            print(f"{number:3} {plant:<16} {word:<12} {what}\n        {first}", flush=True)
            shutil.rmtree(check.scratch, ignore_errors=True)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


def beside(number: int, args: argparse.Namespace, seed: str) -> tuple[str, int]:
    """Runs one row in a process of its own; returns its lines and its exit code."""
    command = [sys.executable, __file__, "--only", str(number), "--seed", seed, "--binary", str(args.binary)]
    command += [flag for flag, given in (("--quick", args.quick), ("--keep", args.keep)) if given]
    command += ["--plant", args.plant] if args.plant else []
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    # Without its heading and its sum.
    lines = [text for text in ran.stdout.splitlines() if not text.startswith("gauntlet:")]
    return "\n".join([*lines[:-1], ran.stderr]).rstrip(), ran.returncode if lines else 2


def main() -> int:
    """Runs what was asked for."""
    args = arguments()
    modules = load_checks()
    if args.list:
        show(modules)
        return 0
    if not args.binary.exists():
        print(f"{args.binary} is missing: cargo build --release", file=sys.stderr)
        return 2
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    seed = args.seed or secrets.token_hex(4)
    chosen = {int(n) for n in args.only.split(",")} if args.only else set(modules)
    if args.quick and not args.only:
        chosen = {n for n in modules if modules[n].QUICK}
    scratch = ROOT / "target" / "torture" / f"run-{os.getpid()}"
    if args.prove:
        return prove(modules, chosen, args, seed, scratch)
    tally = {"ok": 0, "FAIL": 0, "skip": 0}
    planted = f", planted: {args.plant}" if args.plant else ""
    print(f"gauntlet: {'quick, ' if args.quick else ''}seed {seed}{planted}", flush=True)
    together = [n for n in sorted(chosen) if not getattr(modules[n], "ALONE", False)] if args.jobs > 1 else []
    with ThreadPoolExecutor(max_workers=args.jobs) as pool:
        for text, code in pool.map(lambda number: beside(number, args, seed), together):
            print(text, flush=True)
            # What is skipped says so in its line, and passes.
            tally["FAIL" if code else "skip" if "  skip: " in text else "ok"] += 1
    for number in sorted(chosen.difference(together)):
        module = modules[number]
        check = Check(number, args.quick, seed, args.plant, args.binary.resolve(), scratch / f"{number:02}")
        verdict = run_one(module, check)
        print(line(check, module, verdict), flush=True)
        for text in check.lost[:MOST_SHOWN]:
            print(f"        {text}", flush=True)
        tally[verdict.split(":", maxsplit=1)[0]] += 1
        if not args.keep and verdict != "FAIL":
            shutil.rmtree(check.scratch, ignore_errors=True)
    if not args.keep and not tally["FAIL"]:
        shutil.rmtree(scratch, ignore_errors=True)
    print(f"{tally['ok']} passed, {tally['FAIL']} failed, {tally['skip']} skipped")
    return 1 if tally["FAIL"] else 0


if __name__ == "__main__":
    sys.exit(main())
