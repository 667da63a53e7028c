"""pydantic-ai: streamed without a tool, whole with one."""
import os

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from telling import MODEL, PROMPT, TOOL, note, tell

provider = OpenAIProvider(base_url=os.environ["ROOT"] + "/v1", api_key=os.environ["KEY"])
agent = Agent(OpenAIChatModel(MODEL, provider=provider), tools=[note])


async def turn():
    if TOOL:
        result = await agent.run(PROMPT)
        text, used = result.output, result.usage
    else:
        async with agent.run_stream(PROMPT) as result:
            text, used = await result.get_output(), result.usage
    used = used() if callable(used) else used
    return text, used.input_tokens, used.output_tokens


tell(turn)
