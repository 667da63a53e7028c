"""aider: the Chat API, from OpenAI's variables and `openai/` before the model. It calls no tools: it edits by text."""
import re

from program import Told, call, failure, pinned, venv

NAME = "aider"
#: It asks for about two minutes at 402, whatever the answer says.
TRIES = 9
WITHOUT = {"tool turn": "it calls no tools: models answer it with edits as text"}


def version():
    return pinned("requirements-aider", "aider-chat")


def install():
    return venv("requirements-aider") / "aider"


def turn(program, ask):
    status, out, err = call(
        # Whole: in a stream it shows its own count, not what it was told.
        [program, "--no-stream", "--model", f"openai/{ask.model}", "--no-git", "--yes-always", "--no-check-update", "--analytics-disable",
         "--no-show-model-warnings", "--no-show-release-notes", "--no-pretty", "--message", ask.prompt()], ask,
        OPENAI_API_BASE=ask.base, OPENAI_API_KEY=ask.key, LITELLM_LOCAL_MODEL_COST_MAP="True")
    told = Told(text=out, rounded=True)
    shown = re.search(r"Tokens: ([\d.]+)(k?) sent, ([\d.]+)(k?) received", out)
    if shown:
        sent, k, received, l = shown.groups()
        told.add(round(float(sent) * (1000 if k else 1)), round(float(received) * (1000 if l else 1)))
    refused = re.search(r"(litellm\.\w+Error.*|.*(?:401|402).*)", out + err)
    told.error = refused[1] if refused and not shown else failure(status, out, err)
    return told
