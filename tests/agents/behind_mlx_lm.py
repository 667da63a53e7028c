"""The coordinator with mlx_lm.server as its only provider: it speaks chat alone, so all that others are told is translated."""
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request

from program import HERE, INSTALLED, venv
from server import Server

MODEL = "scripted"


class BehindMlxLm(Server):
    """As the demo, but what answers is mlx_lm.server itself."""

    def __init__(self, binary, folder):
        super().__init__(binary, folder)
        self.folder = folder
        self.address = free_address()

    @staticmethod
    def install():
        """Where a network is."""
        return venv("requirements-mlx_lm")

    def __enter__(self):
        self.behind = start(self.install() / "python", self.folder, self.address)
        try:
            self.command("account", "create", "owner")
            self.command("price", "set", MODEL, "--input", "0.10", "--output", "0.78")
            self.command("provider", "add", "mlx-lm", "--url", f"http://{self.address}/v1", "--account", "owner",
                         "--model", f"{MODEL}=default_model")
            super().__enter__()
            self.model = MODEL
            return self
        except BaseException:
            self.end_behind()
            raise

    def __exit__(self, *ended):
        super().__exit__(*ended)
        self.end_behind()

    def end_behind(self):
        self.behind.kill()
        self.behind.wait()

    def how(self):
        return []

    def said(self):
        """What the server said of each answer: prompt, cached, completion."""
        lines = self.folder / "said"
        usages = map(json.loads, lines.read_text().splitlines()) if lines.exists() else []
        return [(u["prompt_tokens"], u["prompt_tokens_details"]["cached_tokens"], u["completion_tokens"]) for u in usages]


def free_address():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{sock.getsockname()[1]}"


def start(python, folder, address):
    """Starts it, and waits until it answers."""
    cache = INSTALLED / "no-hub"
    (cache / "hub").mkdir(parents=True, exist_ok=True)
    with (folder / "mlx-lm.log").open("wb") as log:
        child = subprocess.Popen([python, HERE / "scripted_mlx_lm.py", folder, address.rpartition(":")[2]],
                                 stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                 env={**os.environ, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "1"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(600):
        try:
            opener.open(f"http://{address}/health", timeout=5).close()
            return child
        except (urllib.error.URLError, OSError):
            if child.poll() is not None:
                break
            time.sleep(0.1)
    child.kill()
    raise SystemExit(f"mlx_lm.server did not start: {(folder / 'mlx-lm.log').read_text()[-500:]}")
