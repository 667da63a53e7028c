"""What a program under test is: how it is installed, what it is asked, what it was told."""
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
INSTALLED = HERE.parent.parent / "target" / "agents"
#: The file that a tool of a coding agent is asked to make.
MADE = "made-by-a-tool"
#: Set where there is no network: the reasons of what could not be installed.
INSIDE = "AGENTS_WITHOUT_NETWORK"
#: A proxy that nobody runs.
CLOSED = "http://127.0.0.1:9"
#: Seconds for an installation, and for one turn.
INSTALL_SECONDS, TURN_SECONDS = 900, 120


class CannotInstall(Exception):
    """This machine cannot have the program: the reason."""


@dataclass
class Ask:
    """One turn: where, with which key, what, and a HOME and a folder of its own."""
    root: str
    key: str
    model: str
    home: Path
    work: Path
    tool: bool = False
    #: What the program may need beside its own HOME.
    extra: dict = field(default_factory=dict)

    @property
    def base(self):
        """The base URL of OpenAI's clients. Anthropic's take `root`."""
        return self.root + "/v1"

    def prompt(self, tool="", arguments=None):
        """What is said to the demo provider, which calls a tool when it is told to."""
        if not self.tool:
            return "Say hello."
        if arguments is None:
            return f"Call the tool {tool}."
        return f"Call the tool {tool} {json.dumps(arguments)}"


@dataclass
class Told:
    """What the program showed of a turn."""
    text: str = ""
    error: str = ""
    #: Tokens, where the program shows them.
    prompt: int | None = None
    completion: int | None = None
    #: It ran the tool; None where it has none.
    ran: bool | None = False
    #: The counts are rounded by the program to so many digits.
    rounded: bool = False

    def add(self, prompt, completion):
        self.prompt = (self.prompt or 0) + prompt
        self.completion = (self.completion or 0) + completion


def environment(ask, **more):
    """Nothing of the caller's but PATH. Where there is a network, whatever is not on this machine is a closed port."""
    made = {"PATH": os.environ["PATH"], "HOME": str(ask.home), "LANG": "C.UTF-8", "TERM": "dumb", "NO_COLOR": "1",
            "TMPDIR": str(ask.home), "DO_NOT_TRACK": "1", "CI": "1"}
    if INSIDE not in os.environ:
        for name, value in (("HTTP_PROXY", CLOSED), ("HTTPS_PROXY", CLOSED), ("NO_PROXY", "127.0.0.1,localhost")):
            made |= {name: value, name.lower(): value}
    return {**made, **more}


def call(command, ask, seconds=TURN_SECONDS, **more):
    """Runs a program to its end, or ends it: exit status, standard output, standard error."""
    child = subprocess.Popen(
        [str(part) for part in command], cwd=ask.work, env=environment(ask, **more), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True)
    try:
        out, err = child.communicate(timeout=seconds)
        return child.returncode, out, err
    except subprocess.TimeoutExpired:
        end_group(child)
        out, err = child.communicate()
        return -1, out, f"{err}\ngave no answer in {seconds} s"
    finally:
        # What it left running.
        end_group(child)


def end_group(child):
    """Ends a child that leads its own group, and all that it started there."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


def documents(text):
    """Every JSON document that is a line of its own."""
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            document = json.loads(line)
            if isinstance(document, dict):
                yield document


def failure(status, *texts):
    """What a program said of why it failed: the lines that speak of it. Empty if it did not fail."""
    if status == 0:
        return ""
    lines = [line.strip() for text in texts for line in text.splitlines() if line.strip()]
    speaking = [line for line in lines if re.search(r"error|invalid|credit|balance|401|402|gave no answer", line, re.I)]
    return " / ".join((speaking or lines)[-3:])[:600] or f"exit {status}"


def version_of(name):
    """The version that package.json pins."""
    return json.loads((HERE / "package.json").read_text())["dependencies"][name]


def npm(name):
    """Installs a pinned package of npm into a folder of its own, without running its scripts: the folder."""
    wanted = {"private": True, "dependencies": {name: version_of(name)}}
    into = INSTALLED / re.sub(r"\W+", "-", name).strip("-")
    stamp = into / "done"
    text = json.dumps(wanted)
    if not (stamp.exists() and stamp.read_text() == text):
        if shutil.which("npm") is None:
            raise CannotInstall("there is no npm")
        shutil.rmtree(into, ignore_errors=True)
        into.mkdir(parents=True)
        (into / "package.json").write_text(text)
        install(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"], into)
        stamp.write_text(text)
    return into / "node_modules"


def venv(requirements):
    """Makes a virtual environment with what a list of this folder pins: its `bin`."""
    listed = HERE / f"{requirements}.txt"
    into = INSTALLED / f"venv-{requirements}"
    stamp = into / "done"
    text = listed.read_text()
    if not (stamp.exists() and stamp.read_text() == text):
        shutil.rmtree(into, ignore_errors=True)
        into.parent.mkdir(parents=True, exist_ok=True)
        install([sys.executable, "-m", "venv", into], HERE)
        pip = [into / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        install([*pip, "--only-binary", ":all:", "-r", listed], HERE)
        stamp.write_text(text)
    return into / "bin"


def install(command, folder):
    """Runs one step of an installation."""
    try:
        done = subprocess.run([str(part) for part in command], cwd=folder, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, errors="replace", timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise CannotInstall(f"not installed in {INSTALL_SECONDS} s") from None
    if done.returncode != 0:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise CannotInstall(" / ".join(said[-3:])[:400] or f"exit {done.returncode}")


def pinned(requirements, name):
    """The version of a package that a list of this folder pins."""
    found = re.search(rf"^{re.escape(name)}==(\S+)", (HERE / f"{requirements}.txt").read_text(), re.M | re.I)
    return found[1] if found else "?"
