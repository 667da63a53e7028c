"""opencode: the Chat API, from a provider in its opencode.json."""
import json

from program import MADE, Told, call, documents, failure, npm, version_of

NAME = "opencode"
PACKAGE = "opencode-ai"


def version():
    return version_of(PACKAGE)


def install():
    # The package's own command is put in place by a script that is not run here.
    programs = sorted((npm(PACKAGE)).glob("opencode-*/bin/opencode"), key=lambda path: "baseline" in str(path), reverse=True)
    return programs[0]


def turn(program, ask):
    config = ask.home / ".config" / "opencode" / "opencode.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({
        "$schema": "https://opencode.ai/config.json",
        "model": f"coordinator/{ask.model}", "small_model": f"coordinator/{ask.model}",
        "permission": {"bash": "allow"}, "autoupdate": False, "share": "disabled",
        "provider": {"coordinator": {
            "npm": "@ai-sdk/openai-compatible", "name": "Coordinator",
            "options": {"baseURL": ask.base, "apiKey": "{env:COORDINATOR_API_KEY}"},
            "models": {ask.model: {}}}}}))
    run = {"command": f"touch {MADE}", "description": "Make a file"}
    status, out, err = call(
        # A word an argument: it puts quotes around one with spaces in it, and a backslash before its quotes.
        # A title of its own: making one up is a request that its events do not show.
        [program, "run", "--format", "json", "--title", "a turn", *ask.prompt("bash", run).split(" ")], ask,
        COORDINATOR_API_KEY=ask.key, OPENCODE_DISABLE_MODELS_FETCH="1", OPENCODE_DISABLE_AUTOUPDATE="1",
        OPENCODE_DISABLE_LSP_DOWNLOAD="1", OPENCODE_DISABLE_DEFAULT_PLUGINS="1")
    told = Told(ran=(ask.work / MADE).exists())
    said = []
    for event in documents(out):
        part = event.get("part", {})
        if event.get("type") == "text":
            told.text = part["text"]
        if event.get("type") == "step_finish":
            tokens = part["tokens"]
            cached = tokens.get("cache", {})
            told.add(tokens["input"] + cached.get("read", 0) + cached.get("write", 0),
                     tokens["output"] + tokens.get("reasoning", 0))
        if event.get("type") == "error":
            said.append(json.dumps(event["error"]))
    told.error = said[-1] if said else failure(status, out, err)
    return told
