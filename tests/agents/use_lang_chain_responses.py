"""LangChain: the Responses API."""
from library import say
from program import pinned, venv

NAME = "LangChain (Responses)"


def version():
    return pinned("requirements-lang_chain", "langchain-openai")


def install():
    return venv("requirements-lang_chain")


def turn(python, ask):
    return say("lang_chain", python, ask, DIALECT="responses")
