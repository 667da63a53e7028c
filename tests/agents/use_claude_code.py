"""Claude Code: the Messages API. Its base URL is without /v1; it may send a stored login beside the key."""
import json

from program import MADE, Told, call, documents, failure, npm, version_of

NAME = "Claude Code"
PACKAGE = "@anthropic-ai/claude-code"


def version():
    return version_of(PACKAGE)


def install():
    return npm(PACKAGE) / PACKAGE / "cli-wrapper.cjs"


def turn(program, ask):
    run = {"command": f"touch {MADE}", "description": "Make a file"}
    status, out, err = call(
        ["node", program, "-p", "--output-format", "json", "--allowedTools", "Bash", "--", ask.prompt("Bash", run)], ask,
        ANTHROPIC_BASE_URL=ask.root, ANTHROPIC_AUTH_TOKEN=ask.key, ANTHROPIC_MODEL=ask.model,
        ANTHROPIC_DEFAULT_HAIKU_MODEL=ask.model, CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1", DISABLE_AUTOUPDATER="1")
    result = next((d for d in documents(out) if d.get("type") == "result"), {})
    told = Told(text=str(result.get("result", "")), ran=(ask.work / MADE).exists())
    for used in result.get("modelUsage", {}).values():
        told.add(used["inputTokens"] + used["cacheReadInputTokens"] + used["cacheCreationInputTokens"],
                 used["outputTokens"])
    if status != 0 or result.get("is_error"):
        told.error = told.text or failure(status or 1, json.dumps(result), err)
    return told
