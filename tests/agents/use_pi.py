"""pi: the Chat API, from its models.json (it speaks the other two as well)."""
import json

from program import MADE, Told, call, documents, failure, npm, version_of

NAME = "pi"
PACKAGE = "@mariozechner/pi-coding-agent"


def version():
    return version_of(PACKAGE)


def install():
    return npm(PACKAGE) / ".bin" / "pi"


def turn(program, ask):
    models = ask.home / ".pi" / "agent" / "models.json"
    models.parent.mkdir(parents=True)
    models.write_text(json.dumps({"providers": {"coordinator": {
        "baseUrl": ask.base, "api": "openai-completions", "apiKey": "COORDINATOR_API_KEY",
        "models": [{"id": ask.model}]}}}))
    status, out, err = call(
        [program, "-p", "--mode", "json", "--provider", "coordinator", "--model", ask.model,
         ask.prompt("bash", {"command": f"touch {MADE}"})], ask,
        COORDINATOR_API_KEY=ask.key, PI_OFFLINE="1", PI_TELEMETRY="0")
    told = Told(ran=(ask.work / MADE).exists())
    for event in documents(out):
        message = event.get("message", {})
        if event.get("type") != "message_end" or message.get("role") != "assistant":
            continue
        told.error = message.get("errorMessage") or ""
        told.text = "".join(part.get("text", "") for part in message["content"])
        used = message["usage"]
        told.add(used["input"] + used["cacheRead"] + used["cacheWrite"], used["output"])
    told.error = told.error or failure(status, err)
    return told
