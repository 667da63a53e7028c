"""LlamaIndex: the Chat API."""
from library import say
from program import pinned, venv

NAME = "LlamaIndex"


def version():
    return pinned("requirements-llama_index", "llama-index-core")


def install():
    return venv("requirements-llama_index")


def turn(python, ask):
    return say("llama_index", python, ask)
