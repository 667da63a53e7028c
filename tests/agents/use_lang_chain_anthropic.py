"""LangChain: the Messages API."""
from library import say
from program import pinned, venv

NAME = "LangChain (Anthropic)"


def version():
    return pinned("requirements-lang_chain", "langchain-anthropic")


def install():
    return venv("requirements-lang_chain")


def turn(python, ask):
    return say("lang_chain", python, ask, DIALECT="anthropic")
