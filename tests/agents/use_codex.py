"""Codex: the Responses API, from a provider in its config.toml."""
from program import MADE, Told, call, documents, failure, npm, version_of

NAME = "Codex"
PACKAGE = "@openai/codex"
#: It asks six times, whatever the status but 400, and does not read `x-should-retry`.
TRIES = 6
CONFIG = """\
model = "{model}"
model_provider = "coordinator"

[model_providers.coordinator]
name = "Coordinator"
base_url = "{base}"
env_key = "COORDINATOR_API_KEY"
wire_api = "responses"
"""


def version():
    return version_of(PACKAGE)


def install():
    return npm(PACKAGE) / ".bin" / "codex"


def turn(program, ask):
    config = ask.home / ".codex" / "config.toml"
    config.parent.mkdir()
    config.write_text(CONFIG.format(model=ask.model, base=ask.base))
    status, out, err = call(
        [program, "exec", "--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox",
         ask.prompt("exec_command", {"cmd": f"touch {MADE}"})], ask, COORDINATOR_API_KEY=ask.key)
    told = Told(ran=(ask.work / MADE).exists())
    said = []
    for event in documents(out):
        item = event.get("item", {})
        if item.get("type") == "agent_message":
            told.text = item["text"]
        if event.get("type") == "turn.completed":
            told.add(event["usage"]["input_tokens"], event["usage"]["output_tokens"])
        if event.get("type") in ("error", "turn.failed"):
            said.append(event.get("message") or event["error"]["message"])
    told.error = (said[-1] if said else failure(status, err)) if status != 0 else ""
    return told
