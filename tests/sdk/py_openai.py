"""The openai SDK of Python."""
import json

import openai
from openai import OpenAI
from pydantic import BaseModel

from cases import HELLO, KEY, MODEL, POOR_KEY, ROOT, agrees, case, done, native, newest_row, raises, row_after
from counting import counting

BASE = f"{ROOT}/v1"
client = OpenAI(base_url=BASE, api_key=KEY, max_retries=0, timeout=60)
chat = client.chat.completions
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": {
    "type": "object", "properties": {"unit": {"type": "string", "enum": ["c", "f"]}}, "required": ["unit"]}}}


class Person(BaseModel):
    name: str
    age: int


@case
def models():
    ids = [model.id for model in client.models.list()]
    assert MODEL in ids and client.models.retrieve(MODEL).id == MODEL


@case
def chat_and_its_receipt():
    raw = chat.with_raw_response.create(model=MODEL, messages=HELLO, max_tokens=12)
    answer = raw.parse()
    usage = answer.usage
    assert answer.choices[0].message.content and 0 < usage.completion_tokens <= 12
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert int(raw.headers["x-cost-micro-usd"]) == usage.cost_micro_usd
    agrees(raw.headers["x-request-id"], usage.prompt_tokens, usage.completion_tokens)


@case
def chat_stream_with_usage():
    raw = chat.with_raw_response.create(
        model=MODEL, messages=HELLO, max_tokens=12, stream=True, stream_options={"include_usage": True})
    chunks = list(raw.parse())
    usages = [chunk.usage for chunk in chunks if chunk.usage]
    assert len(usages) == 1 and chunks[-1].usage, "one usage chunk, the last"
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert usages[0].cost_micro_usd > 0
    agrees(raw.headers["x-request-id"], usages[0].prompt_tokens, usages[0].completion_tokens)


@case
def chat_stream_without_usage():
    for chunk in chat.create(model=MODEL, messages=HELLO, max_tokens=5, stream=True):
        assert chunk.usage is None and chunk.choices, "a chunk that nobody asked for"
    assert newest_row()["completion_tokens"] == 5


@case
def streamed_or_not_it_counts_the_same():
    ask = {"model": MODEL, "messages": HELLO, "max_tokens": 30, "temperature": 0, "seed": 11}
    whole = chat.create(**ask).usage
    stream = chat.create(**ask, stream=True, stream_options={"include_usage": True})
    streamed = [chunk.usage for chunk in stream if chunk.usage][-1]
    assert whole.prompt_tokens == streamed.prompt_tokens
    assert whole.completion_tokens == streamed.completion_tokens


@case
def tool_call():
    answer = chat.create(model=MODEL, messages=HELLO, max_tokens=300, tools=[WEATHER], tool_choice="required")
    call = answer.choices[0].message.tool_calls[0].function
    assert call.name == "get_weather" and json.loads(call.arguments)["unit"] in ("c", "f")
    assert answer.choices[0].finish_reason == "tool_calls"


@case
def tool_call_in_a_stream():
    name = arguments = ""
    stream = chat.create(
        model=MODEL, messages=HELLO, max_tokens=300, tools=[WEATHER], tool_choice="required", stream=True)
    for chunk in stream:
        for call in chunk.choices[0].delta.tool_calls or []:
            name += call.function.name or ""
            arguments += call.function.arguments or ""
    assert name == "get_weather" and json.loads(arguments)["unit"] in ("c", "f")


@case
def structured_output():
    answer = chat.parse(model=MODEL, messages=HELLO, max_tokens=400, response_format=Person)
    assert isinstance(answer.choices[0].message.parsed, Person)


@case
def completions():
    usage = client.completions.create(model=MODEL, prompt="Once upon a time", max_tokens=6).usage
    assert 0 < usage.completion_tokens <= 6 and usage.prompt_tokens > 0


@native
def embeddings():
    answer = client.embeddings.create(model=MODEL, input=["hello world", "bye"])
    assert len(answer.data) == 2 and answer.data[0].embedding and answer.usage.prompt_tokens > 0


@case
def responses():
    raw = client.responses.with_raw_response.create(model=MODEL, input="Say hello.", max_output_tokens=16)
    answer = raw.parse()
    assert answer.status in ("completed", "incomplete") and answer.output_text
    agrees(raw.headers["x-request-id"], answer.usage.input_tokens, answer.usage.output_tokens)


@case
def responses_stream():
    raw = client.responses.with_raw_response.create(
        model=MODEL, input="Say hello.", max_output_tokens=16, stream=True)
    events = list(raw.parse())
    assert events[0].type == "response.created"
    assert events[-1].type in ("response.completed", "response.incomplete"), events[-1].type
    usage = events[-1].response.usage
    agrees(raw.headers["x-request-id"], usage.input_tokens, usage.output_tokens)


FLAT = {"type": "function", "name": "get_weather", "strict": True, "parameters": {
    "type": "object", "properties": {"unit": {"type": "string", "enum": ["c", "f"]}}, "required": ["unit"],
    "additionalProperties": False}}


@case
def responses_stream_accumulates():
    with client.responses.stream(model=MODEL, input="Say hello.", max_output_tokens=300) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        answer = stream.get_final_response()
    row = newest_row()
    assert text == answer.output_text and answer.status == "completed", answer
    assert (row["prompt_tokens"], row["completion_tokens"]) == (answer.usage.input_tokens, answer.usage.output_tokens)


@case
def responses_tool_turn_in_streams():
    asked = [{"role": "user", "content": 'Call the tool get_weather {"unit":"c"}'}]
    with client.responses.stream(model=MODEL, input=asked, tools=[FLAT]) as stream:
        list(stream)
        answer = stream.get_final_response()
    call = next(item for item in answer.output if item.type == "function_call")
    assert call.parsed_arguments == {"unit": "c"}, call
    said = [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in answer.output]
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "20"}
    with client.responses.stream(model=MODEL, input=[*asked, *said, result], tools=[FLAT]) as stream:
        list(stream)
        assert stream.get_final_response().output_text


@case
def responses_parse():
    answer = client.responses.parse(model=MODEL, input="Say hello.", text_format=Person)
    assert isinstance(answer.output_parsed, Person), answer.output_text


@case
def leaving_in_mid_stream_is_charged_for_what_came():
    before = newest_row()["request_id"]
    ask = {"ignore_eos": True, "demo_delay_ms": 5}
    stream = chat.create(model=MODEL, messages=HELLO, max_tokens=2000, stream=True, extra_body=ask)
    for at, _ in enumerate(stream):
        if at == 5:
            break
    stream.close()
    row = row_after(before)
    assert row["outcome"] == "client_disconnected" and row["cost_micro_usd"] > 0, row
    assert 0 < row["completion_tokens"] < 1000, row


@case
def bad_key():
    bad = OpenAI(base_url=BASE, api_key="sk-db-wrong", max_retries=0)
    for stream in (False, True):
        error = raises(openai.AuthenticationError, 401,
                       lambda: bad.chat.completions.create(model=MODEL, messages=HELLO, stream=stream))
        assert error.code == "invalid_api_key", error.code
    raises(openai.AuthenticationError, 401, bad.models.list)


@case
def unknown_model():
    error = raises(openai.NotFoundError, 404, lambda: chat.create(model="no-such-model", messages=HELLO))
    assert error.code == "model_not_found" and error.param == "model", error.body


@case
def wrong_type():
    error = raises(openai.BadRequestError, 400, lambda: chat.create(model=MODEL, messages=HELLO, max_tokens="many"))
    assert error.param == "max_tokens", error.body


@case
def no_credit_is_not_asked_for_again():
    with counting(ROOT) as (root, statuses):
        poor = OpenAI(base_url=f"{root}/v1", api_key=POOR_KEY, max_retries=3)
        error = raises(openai.APIStatusError, 402,
                       lambda: poor.chat.completions.create(model=MODEL, messages=HELLO))
        assert error.code == "insufficient_quota", error.body
    assert statuses == [402], statuses


done()
