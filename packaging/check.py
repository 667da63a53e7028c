"""What `make dist` made, tried: packaging/check.py [DIST]. Exit 1 if a part does not do what the README says of it.

The binary needs no library, bills a request in an empty root, and finds its providers by address and by name; the
service is closed (`systemd-analyze`); the package is installed, upgraded and removed by dpkg over this system, in a copy
that is forgotten (an overlay); install.sh refuses what does not fit its sum. What needs root, or a program that is not
here, is skipped with a line that says so.
"""

import atexit
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

MODEL = "qwen3.5-27b-claude-opus-8bit"
here = Path(__file__).resolve().parent
dist = Path(sys.argv[1] if len(sys.argv) > 1 else here.parent / "dist").resolve()
failures = []


def check(what, ok, detail=""):
    print(f"{'ok     ' if ok else 'FAILED '} {what}{': ' + str(detail) if detail else ''}", flush=True)
    if not ok:
        failures.append(what)


def skip(what, why):
    print(f"skipped {what}: {why}", flush=True)


def run(*command, **more):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300, **more)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Broken(Exception):
    """Nothing more can be tried of this part."""


class Server:
    """`coordinator serve`, maybe in a root of its own; killed at the end."""

    def __init__(self, prefix, *args, env=None):
        command = [*prefix, "serve", "--json", *args]
        clean = {"PATH": os.environ["PATH"], **(env or {})}
        self.process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, text=True, env=clean,
                                        stderr=subprocess.DEVNULL)
        atexit.register(self.process.kill)
        line = self.process.stdout.readline()
        if not line:
            raise Broken(f"the server did not start: {command}")
        self.ready = json.loads(line)
        self.url = f"http://{self.ready['listening']}"

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)

    def post(self, path, key, body):
        request = urllib.request.Request(f"{self.url}{path}", json.dumps(body).encode(), method="POST", headers={
            "authorization": f"Bearer {key}", "content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, dict(answer.headers), json.load(answer)
        except urllib.error.HTTPError as e:
            return e.code, dict(e.headers), e.read().decode()


def chat(server, key, model=MODEL):
    body = {"model": model, "max_tokens": 20, "messages": [{"role": "user", "content": "Say hello."}]}
    status, headers, said = server.post("/v1/chat/completions", key, body)
    return status, int({k.lower(): v for k, v in headers.items()}.get("x-cost-micro-usd", 0)), said


def interpreter(binary):
    """The loader that an ELF file asks for; None if it is static."""
    data = binary.read_bytes()
    (offset,), (size, count) = struct.unpack_from("<Q", data, 32), struct.unpack_from("<HH", data, 54)
    for n in range(count):
        kind, = struct.unpack_from("<I", data, offset + n * size)
        if kind == 3:
            at, = struct.unpack_from("<Q", data, offset + n * size + 8)
            return data[at:data.index(b"\0", at)].decode()
    return None


def the_binary():
    """Its version; None if it is of another architecture, and nothing runs it here."""
    binary = dist / "coordinator"
    check("the binary asks for no loader", interpreter(binary) is None, f"{binary.stat().st_size >> 20} MiB")
    try:
        said = json.loads(run(binary, "version", "--json").stdout)
    except OSError as e:
        return skip("what runs the binary", f"{os.uname().machine} does not run it ({e.strerror})")
    check("it says which commit it is of", bool(said["commit"]), said)
    return said["version"]


def an_empty_root(scratch):
    """The binary alone in a root: a billed request of its own demo; then a provider outside, by address and by name."""
    what = "a billed request in an empty root"
    if os.geteuid() != 0:
        return skip(what, "only root can chroot")
    outside = Server([dist / "coordinator"], "--demo", "--listen", "127.0.0.1:0", "--data-dir", scratch / "outside")
    root = scratch / "root"
    root.mkdir()
    shutil.copy(dist / "coordinator", root / "coordinator")
    inside = ["chroot", root, "/coordinator"]
    demo = Server(inside, "--demo", "--listen", "127.0.0.1:0", "--data-dir", "/demo")
    status, cost, said = chat(demo, demo.ready["key"])
    check(what, status == 200 and cost > 0, f"{cost} micro-USD" if status == 200 else said)
    audit = run(*inside, "audit", "--json", "--data-dir", "/demo")
    check("and its books agree", audit.returncode == 0 and json.loads(audit.stdout)["usage_rows"] == 1, audit.stderr)
    demo.stop()

    def command(*args):
        done = run(*inside, *args, "--json", "--data-dir", "/data")
        if done.returncode != 0:
            raise Broken(f"coordinator {' '.join(args)}: {done.stderr}{done.stdout}")
        return json.loads(done.stdout)

    command("account", "create", "owner")
    command("account", "create", "ada")
    command("credit", "ada", "5.00")
    key = command("key", "create", "ada")["key"]
    port = outside.ready["listening"].rsplit(":", 1)[1]
    hosts = root / "etc/hosts"
    for host, with_hosts in [("127.0.0.1", False), ("localhost", False), ("localhost", True), ("lab.internal", True)]:
        if with_hosts:
            hosts.parent.mkdir(exist_ok=True)
            hosts.write_text("127.0.0.1 localhost lab.internal\n")
        command("provider", "add", "up", "--url", f"http://{host}:{port}/v1", "--account", "owner", "--model", MODEL,
                "--api-key", outside.ready["key"], "--no-probe")
        server = Server(inside, "--listen", "127.0.0.1:0", "--data-dir", "/data")
        status, cost, said = chat(server, key)
        server.stop()
        command("provider", "remove", "up")
        name = f"a provider at {host}, {'with' if with_hosts else 'without'} an /etc/hosts"
        if host == "localhost" and not with_hosts and status != 200:
            skip(name, "not found, as the README says")
            continue
        check(name, status == 200 and cost > 0, f"{cost} micro-USD" if status == 200 else said)
    outside.stop()


def the_service():
    what = "the service's exposure is below 2"
    if not shutil.which("systemd-analyze"):
        return skip(what, "there is no systemd-analyze")
    said = run("systemd-analyze", "security", "--offline=true", "--threshold=19", "--no-pager",
               dist / "coordinator.service")
    last = [line for line in said.stdout.splitlines() if "exposure level" in line]
    check(what, said.returncode == 0 and bool(last), last[0].split("service: ")[-1] if last else said.stderr)
    # A word that systemd does not know it leaves out, with a warning. What it would run is not installed here.
    with tempfile.TemporaryDirectory() as scratch:
        unit = Path(scratch) / "coordinator.service"
        unit.write_text((dist / "coordinator.service").read_text().replace("/usr/bin/coordinator ", "/bin/true "))
        said = run("systemd-analyze", "verify", unit)
    check("systemd understands every line of it", said.returncode == 0 and not said.stderr, said.stderr.strip())


def the_sum(scratch):
    done = run("sh", dist / "install.sh", dist, "--to", scratch / "bin")
    check("install.sh installs what fits its sum", done.returncode == 0 and (scratch / "bin/coordinator").exists(),
          done.stdout.strip() + done.stderr.strip())
    other = scratch / "other"
    shutil.copytree(dist, other)
    with open(other / "coordinator", "ab") as binary:
        binary.write(b"x")
    done = run("sh", other / "install.sh", "--to", scratch / "bin2")
    check("and refuses what does not", done.returncode != 0 and not (scratch / "bin2").exists(), done.stderr.strip())


def the_package(scratch, version):
    what = "the package is installed, upgraded and removed"
    if os.geteuid() != 0 or not shutil.which("dpkg"):
        return skip(what, "it takes root and dpkg")
    packages = sorted(dist.glob("coordinator_*.deb"))
    if run("unshare", "-m", "true").returncode != 0:
        return skip(what, "no mount of its own can be made here")
    (scratch / "next").mkdir()
    run("dpkg-deb", "-R", packages[0], scratch / "next/tree")
    control = scratch / "next/tree/DEBIAN/control"
    control.write_text(control.read_text().replace(f"Version: {version}", f"Version: {version}.1"))
    run("dpkg-deb", "-Zgzip", "--build", "--root-owner-group", scratch / "next/tree", scratch / "next.deb")
    done = run("unshare", "-m", "sh", here / "check_package.sh", packages[0], scratch / "next.deb", free_port())
    if done.returncode == 77:
        return skip(what, done.stdout.strip())
    for line in done.stdout.splitlines():
        print(f"        {line}")
    check(what, done.returncode == 0, done.stderr.strip())


def main():
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        scratch.chmod(0o755)
        version = the_binary()
        parts = [lambda: the_sum(scratch), lambda: an_empty_root(scratch), lambda: the_package(scratch, version)]
        for part in [the_service, *(parts if version else [])]:
            try:
                part()
            except Broken as e:
                check("the rest of this part", False, e)
    if failures:
        raise SystemExit(f"{len(failures)} of what was made does not do what it should")


main()
