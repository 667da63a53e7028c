"""Qwen Code: the Chat API, from OpenAI's variables."""
import json

from program import MADE, Told, call, failure, npm, version_of

NAME = "Qwen Code"
PACKAGE = "@qwen-code/qwen-code"


def version():
    return version_of(PACKAGE)


def install():
    return npm(PACKAGE) / ".bin" / "qwen"


def turn(program, ask):
    settings = ask.home / ".qwen" / "settings.json"
    settings.parent.mkdir()
    settings.write_text(json.dumps({
        "general": {"enableAutoUpdate": False}, "privacy": {"usageStatisticsEnabled": False}, "telemetry": {"enabled": False}}))
    run = {"command": f"touch {MADE}", "is_background": False}
    status, out, err = call(
        [program, "--auth-type", "openai", "--yolo", "--output-format", "json", ask.prompt("run_shell_command", run)], ask,
        OPENAI_BASE_URL=ask.base, OPENAI_API_KEY=ask.key, OPENAI_MODEL=ask.model)
    told = Told(ran=(ask.work / MADE).exists())
    result = {}
    try:
        result = next((e for e in reversed(json.loads(out)) if e.get("type") == "result"), {})
    except ValueError:
        told.error = failure(status or 1, out, err)
    told.text = str(result.get("result", ""))
    used = result.get("usage", {})
    if used:
        told.add(used["input_tokens"], used["output_tokens"])
    if told.text.startswith("[API Error"):
        # It says so and exits with 0.
        told.error = told.text
    elif status != 0 or result.get("is_error"):
        told.error = json.dumps(result.get("error")) if result.get("error") else failure(status or 1, out, err)
    return told
