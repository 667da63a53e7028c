"""The anthropic SDK of Python."""
import anthropic
from anthropic import Anthropic, beta_tool

from cases import HELLO, KEY, MODEL, POOR_KEY, ROOT, agrees, case, done, native, newest_row, raises, row_after
from counting import counting

client = Anthropic(base_url=ROOT, api_key=KEY, max_retries=0, timeout=60)
ask = {"model": MODEL, "max_tokens": 12, "messages": HELLO}


def prompt(usage):
    return usage.input_tokens + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)


@case
def models():
    assert MODEL in [model.id for model in client.models.list()]


@case
def messages():
    raw = client.messages.with_raw_response.create(**ask, system="Be brief.")
    answer = raw.parse()
    assert answer.content[0].text and answer.stop_reason in ("max_tokens", "end_turn")
    assert 0 < answer.usage.output_tokens <= 12
    agrees(raw.headers["x-request-id"], prompt(answer.usage), answer.usage.output_tokens)


@case
def messages_stream():
    with client.messages.stream(**ask) as stream:
        text = "".join(stream.text_stream)
        answer = stream.get_final_message()
    row = newest_row()
    assert text and answer.stop_reason
    assert (row["prompt_tokens"], row["completion_tokens"]) == (prompt(answer.usage), answer.usage.output_tokens), row


@case
def tool_use():
    tool = {"name": "get_weather", "input_schema": {
        "type": "object", "properties": {"unit": {"type": "string", "enum": ["c", "f"]}}, "required": ["unit"]}}
    answer = client.messages.create(**{**ask, "max_tokens": 300}, tools=[tool], tool_choice={"type": "any"})
    use = next(block for block in answer.content if block.type == "tool_use")
    assert use.name == "get_weather" and use.input["unit"] in ("c", "f"), use


@beta_tool
def get_weather(unit: str) -> str:
    """The weather.

    Args:
        unit: c or f
    """
    return f"20 {unit}"


@case
def a_tool_in_a_stream():
    tool = get_weather.to_dict()
    asked = [{"role": "user", "content": 'Call the tool get_weather {"unit":"c"}'}]
    with client.messages.stream(model=MODEL, max_tokens=300, messages=asked, tools=[tool]) as stream:
        list(stream)
        answer = stream.get_final_message()
    use = next(block for block in answer.content if block.type == "tool_use")
    assert use.input == {"unit": "c"} and answer.stop_reason == "tool_use", answer


@case
def the_tool_runner():
    asked = [{"role": "user", "content": 'Call the tool get_weather {"unit":"c"}'}]
    for streamed in (False, True):
        runner = client.beta.messages.tool_runner(model=MODEL, max_tokens=300, messages=asked, tools=[get_weather],
                                                  stream=streamed)
        answers = []
        for turn in runner:
            if streamed:
                list(turn)
            answers.append(turn.get_final_message() if streamed else turn)
        assert [answer.stop_reason for answer in answers] == ["tool_use", "end_turn"], answers
        assert answers[-1].content[0].text


@native
def count_tokens_is_free_and_agrees():
    before = newest_row()["request_id"]
    count = client.messages.count_tokens(model=MODEL, messages=HELLO).input_tokens
    assert newest_row()["request_id"] == before, "it left a usage row"
    usage = client.messages.create(**ask).usage
    assert count == prompt(usage), (count, usage)


@case
def a_bearer_token_works_too():
    bearer = Anthropic(base_url=ROOT, auth_token=KEY, api_key=None, max_retries=0)
    assert bearer.messages.create(**ask).usage.output_tokens > 0


@case
def leaving_in_mid_stream_is_charged_for_what_came():
    before = newest_row()["request_id"]
    slow = {"ignore_eos": True, "demo_delay_ms": 5}
    with client.messages.stream(**{**ask, "max_tokens": 2000}, extra_body=slow) as stream:
        for at, _ in enumerate(stream):
            if at == 8:
                break
    row = row_after(before)
    assert row["outcome"] == "client_disconnected" and row["cost_micro_usd"] > 0, row


@case
def bad_key():
    bad = Anthropic(base_url=ROOT, api_key="wrong", max_retries=0)
    error = raises(anthropic.AuthenticationError, 401, lambda: bad.messages.create(**ask))
    assert error.body["error"]["type"] == "authentication_error" and error.body["request_id"].startswith("req_")


@case
def unknown_model():
    error = raises(anthropic.NotFoundError, 404, lambda: client.messages.create(**{**ask, "model": "no-such-model"}))
    assert error.body["type"] == "error" and error.body["error"]["type"] == "not_found_error", error.body


@case
def no_credit_is_not_asked_for_again():
    with counting(ROOT) as (root, statuses):
        poor = Anthropic(base_url=root, api_key=POOR_KEY, max_retries=3)
        raises(anthropic.APIStatusError, 402, lambda: poor.messages.create(**ask))
    assert statuses == [402], statuses


done()
