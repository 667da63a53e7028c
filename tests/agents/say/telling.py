"""What the scripts beside this one share: what to ask, and how to tell what came of it."""
import asyncio
import json
import os

MODEL, PROMPT, TOOL = os.environ["MODEL"], os.environ["PROMPT"], bool(os.environ["TOOL"])
ran = []


def note() -> str:
    """Makes a note."""
    ran.append(True)
    return "noted"


def tell(turn):
    """Runs a turn that returns its text, prompt tokens and completion tokens."""
    try:
        text, prompt, completion = asyncio.run(turn())
    except Exception as error:  # noqa: BLE001: it is what the test looks at
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}))
    else:
        print(json.dumps({"text": text, "prompt": prompt, "completion": completion, "ran": bool(ran)}))
