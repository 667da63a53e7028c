"""A Python library under test: a script of `say/`, run where the library is installed, that prints what it was told."""
import json

from program import HERE, Told, call, failure


def say(name, python, ask, **variables):
    """Runs `say/say_NAME.py`, which finds what to ask in its environment."""
    status, out, err = call([python / "python", HERE / "say" / f"say_{name}.py"], ask, MODEL=ask.model, ROOT=ask.root,
                            KEY=ask.key, PROMPT=ask.prompt("note"), TOOL="1" if ask.tool else "", **variables)
    try:
        return Told(**json.loads(out.splitlines()[-1]))
    except (ValueError, IndexError, TypeError):
        return Told(error=failure(status or 1, out, err))
