"""LangChain: streamed without a tool; with one, an agent."""
import os

from langchain.agents import create_agent
from telling import MODEL, PROMPT, TOOL, note, tell

if os.environ["DIALECT"] == "anthropic":
    from langchain_anthropic import ChatAnthropic
    chat = ChatAnthropic(model=MODEL, base_url=os.environ["ROOT"], api_key=os.environ["KEY"])
else:
    from langchain_openai import ChatOpenAI
    chat = ChatOpenAI(model=MODEL, base_url=os.environ["ROOT"] + "/v1", api_key=os.environ["KEY"], stream_usage=True,
                      use_responses_api=os.environ["DIALECT"] == "responses")


async def turn():
    if TOOL:
        said = (await create_agent(chat, [note]).ainvoke({"messages": [("user", PROMPT)]}))["messages"]
        answers = [message for message in said if message.type == "ai"]
    else:
        whole = None
        async for chunk in chat.astream(PROMPT):
            whole = chunk if whole is None else whole + chunk
        answers = [whole]
    used = [answer.usage_metadata for answer in answers]
    return answers[-1].text, sum(u["input_tokens"] for u in used), sum(u["output_tokens"] for u in used)


tell(turn)
