"""The coordinator under test, on a free port and a database of its own; its log, its rows, its books."""
import json
import subprocess
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass


@dataclass
class Account:
    """Of one program: a key with credit, and one of an account without."""
    key: str
    key_id: str
    poor_key: str


class Server:
    """`serve --demo` while a `with` lasts."""

    def __init__(self, binary, folder, imitate="plain"):
        self.binary, self.data, self.imitate = binary, folder / "data", imitate
        self.log = folder / "log"

    def __enter__(self):
        command = [self.binary, "--data-dir", self.data, "--json", "serve", "--listen", "127.0.0.1:0", "--log", "info",
                   *self.how()]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL)
        ready = self.process.stdout.readline()
        if not ready:
            raise SystemExit(f"the server did not start: {self.log.read_text()[-500:]}")
        self.root = "http://" + json.loads(ready)["listening"]
        self.model = self.get("/v1/pricing")["prices"][0]["model"]
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def how(self):
        return ["--demo", "--imitate", self.imitate]

    def said(self):
        """What the provider said of each answer, where it is asked: prompt, cached, completion."""
        return None

    def command(self, *words):
        """One command line on the same data, answered in JSON."""
        done = subprocess.run([self.binary, "--data-dir", self.data, "--json", *words], capture_output=True, text=True,
                              timeout=60, check=False)
        return json.loads(done.stdout) if done.stdout.strip() else {"ok": False, "problems": [done.stderr.strip()]}

    def account(self, name):
        """An account with $1.00, and one with nothing."""
        poor = f"{name}-poor"
        self.command("account", "create", name)
        self.command("credit", name, "1.00")
        self.command("account", "create", poor)
        key = self.command("key", "create", name)
        return Account(key["key"], key["id"], self.command("key", "create", poor)["key"])

    def get(self, path, key=None):
        headers = {"authorization": f"Bearer {key}"} if key else {}
        # No proxy: the address is this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(urllib.request.Request(self.root + path, headers=headers), timeout=30) as response:
            return json.load(response)

    def rows(self, key):
        """The usage rows of an account, by id."""
        return {row["request_id"]: row for row in self.get("/v1/payments/usage?limit=1000", key)}

    def audit(self):
        """What is wrong with the books: empty if they are whole."""
        said = self.command("audit")
        return "" if said.get("ok") else "; ".join(map(str, said.get("problems", ["no answer"])))[:200]

    def mark(self):
        """Where the log ends now."""
        return self.log.stat().st_size

    def requests(self, mark):
        """The requests logged since a mark: `METHOD path status`, how often, in the order of their first."""
        # A request that its client left is logged when it is settled.
        time.sleep(0.2)
        with self.log.open("rb") as log:
            log.seek(mark)
            lines = log.read().decode(errors="replace").splitlines()
        seen = Counter()
        for line in lines:
            entry = json.loads(line) if line.startswith("{") else {}
            if entry.get("message") != "request" or "status" not in entry:
                continue
            path = entry.get("path") or entry.get("endpoint")
            if path.startswith("/v1/payments/"):
                continue  # ours
            seen[f"{entry.get('method', 'POST')} {path} {entry['status']}"] += 1
        return seen
