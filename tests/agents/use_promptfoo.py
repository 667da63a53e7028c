"""promptfoo: the Chat API, from a provider in its promptfooconfig.yaml (JSON is YAML)."""
import json

from program import Told, call, failure, npm, version_of

NAME = "promptfoo"
PACKAGE = "promptfoo"
NOTE = {"type": "function", "function": {"name": "note", "parameters": {"type": "object", "properties": {}}}}


def version():
    return version_of(PACKAGE)


def install():
    return npm(PACKAGE) / ".bin" / "promptfoo"


def turn(program, ask):
    config = {"apiBaseUrl": ask.base, "apiKeyEnvar": "COORDINATOR_API_KEY"}
    if ask.tool:
        config["tools"] = [NOTE]
    (ask.work / "promptfooconfig.yaml").write_text(json.dumps({
        "prompts": ["{{said}}"], "providers": [{"id": f"openai:chat:{ask.model}", "config": config}],
        "tests": [{"vars": {"said": ask.prompt("note")},
                   "assert": [{"type": "is-valid-openai-tools-call"}] if ask.tool else []}]}))
    status, out, err = call(
        [program, "eval", "--no-cache", "--no-progress-bar", "--no-table", "--no-write", "--output", "out.json"], ask,
        COORDINATOR_API_KEY=ask.key, PROMPTFOO_DISABLE_TELEMETRY="1", PROMPTFOO_DISABLE_UPDATE="1",
        PROMPTFOO_DISABLE_REMOTE_GENERATION="true", PROMPTFOO_CONFIG_DIR=str(ask.home))
    if not (ask.work / "out.json").exists():
        return Told(error=failure(status or 1, out, err))
    result = json.loads((ask.work / "out.json").read_text())["results"]["results"][0]
    response = result.get("response") or {}
    said = response.get("output")
    told = Told(text=said if isinstance(said, str) else "the demo provider called a tool", error=result.get("error") or "")
    told.ran = result["success"] and isinstance(said, list)
    used = response.get("tokenUsage") or {}
    if used:
        told.add(used["prompt"], used["completion"])
    return told
