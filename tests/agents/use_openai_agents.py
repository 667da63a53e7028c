"""OpenAI Agents SDK: the Responses API."""
from library import say
from program import pinned, venv

NAME = "OpenAI Agents SDK"


def version():
    return pinned("requirements-openai_agents", "openai-agents")


def install():
    return venv("requirements-openai_agents")


def turn(python, ask):
    return say("openai_agents", python, ask, OPENAI_BASE_URL=ask.base, OPENAI_API_KEY=ask.key)
