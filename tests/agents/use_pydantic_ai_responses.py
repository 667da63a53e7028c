"""pydantic-ai: the Responses API."""
from library import say
from program import pinned, venv

NAME = "pydantic-ai (Responses)"


def version():
    return pinned("requirements-pydantic_ai", "pydantic-ai-slim")


def install():
    return venv("requirements-pydantic_ai")


def turn(python, ask):
    return say("pydantic_ai", python, ask, DIALECT="responses")
