"""pydantic-ai: streamed without a tool, whole with one."""
import os

from pydantic_ai import Agent
from telling import MODEL, PROMPT, TOOL, note, tell

if os.environ["DIALECT"] == "anthropic":
    from anthropic import AsyncAnthropic
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.providers.anthropic import AnthropicProvider
    client = AsyncAnthropic(base_url=os.environ["ROOT"], api_key=os.environ["KEY"])
    model = AnthropicModel(MODEL, provider=AnthropicProvider(anthropic_client=client))
else:
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider
    provider = OpenAIProvider(base_url=os.environ["ROOT"] + "/v1", api_key=os.environ["KEY"])
    kind = OpenAIResponsesModel if os.environ["DIALECT"] == "responses" else OpenAIChatModel
    model = kind(MODEL, provider=provider)
agent = Agent(model, tools=[note])


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
