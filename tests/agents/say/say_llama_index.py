"""LlamaIndex: streamed without a tool; with one, a call and its result by hand, so that each answer's usage is seen."""
import os

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from telling import MODEL, PROMPT, TOOL, note, tell

llm = OpenAILike(model=MODEL, api_base=os.environ["ROOT"] + "/v1", api_key=os.environ["KEY"], is_chat_model=True,
                 is_function_calling_model=True, additional_kwargs={"stream_options": {"include_usage": True}})
whole = OpenAILike(model=MODEL, api_base=os.environ["ROOT"] + "/v1", api_key=os.environ["KEY"], is_chat_model=True,
                   is_function_calling_model=True)


async def turn():
    said, used = [ChatMessage(role="user", content=PROMPT)], []
    if not TOOL:
        answer = None
        async for answer in await llm.astream_chat(said):
            if answer.raw.usage:
                used.append(answer.raw.usage)
        return answer.message.content, used[-1].prompt_tokens, used[-1].completion_tokens
    tool = FunctionTool.from_defaults(note)
    while True:
        answer = await whole.achat_with_tools([tool], chat_history=said)
        used.append(answer.raw.usage)
        said.append(answer.message)
        calls = whole.get_tool_calls_from_response(answer, error_on_no_tool_call=False)
        if not calls:
            return answer.message.content, sum(u.prompt_tokens for u in used), sum(u.completion_tokens for u in used)
        for call in calls:
            said.append(ChatMessage(role="tool", content=str(tool.call(**call.tool_kwargs)),
                                    additional_kwargs={"tool_call_id": call.tool_id}))


tell(turn)
