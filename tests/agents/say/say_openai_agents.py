"""OpenAI Agents SDK: streamed without a tool, whole with one."""
from agents import Agent, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI
from telling import MODEL, PROMPT, TOOL, note, tell

set_tracing_disabled(True)


async def turn():
    # OPENAI_BASE_URL and OPENAI_API_KEY say where. A bare name would do for a model that has no slash in it.
    agent = Agent(name="demo", model=OpenAIResponsesModel(MODEL, AsyncOpenAI()), tools=[function_tool(note)])
    if TOOL:
        result = await Runner.run(agent, PROMPT)
    else:
        result = Runner.run_streamed(agent, PROMPT)
        async for _ in result.stream_events():
            pass
    used = result.context_wrapper.usage
    return result.final_output, used.input_tokens, used.output_tokens


tell(turn)
