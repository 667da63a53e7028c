"""mlx_lm.server, as it is installed, with a small model of random weights whose logits are forced: it calls the tool
that the user names ("Call the tool NAME {…}"), and says a sentence otherwise. Everything else is the server's own: its
HTTP, its streams, its template and parser of tool calls, its cache of prompts, its counts.

    scripted_mlx_lm.py FOLDER PORT

The model is made in FOLDER/model. What the server said that each answer used is appended to FOLDER/said, a line each.
"""
import json
import re
import sys
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm import server
from mlx_lm.models.llama import Model, ModelArgs
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

#: What it says where it calls nothing; `served_faults` looks for two words of it.
SAID = "Hello. Here speaks no demo provider, but mlx_lm.server."
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
#: As Qwen's: the server knows by it how calls are written.
TEMPLATE = """\
{%- if tools %}<|im_start|>system
# Tools
{%- for tool in tools %}
{{ tool | tojson }}
{%- endfor %}
Call one so: <tool_call>
{"name": <name>, "arguments": <arguments>}
</tool_call><|im_end|>
{% endif %}
{%- for message in messages %}<|im_start|>{{ message.role }}
{{ message.content if message.content is string else '' }}
{%- for tool_call in message.tool_calls or [] %}{% set tool_call = tool_call.function or tool_call %}
<tool_call>
{"name": "{{ tool_call.name }}", "arguments": {{ tool_call.arguments | tojson }}}
</tool_call>
{%- endfor %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
CONFIG = {"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128,
          "num_attention_heads": 2, "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "vocab_size": 2048}


def make_model(folder):
    """Writes a tiny model, and a tokenizer that was trained on the sources beside this file."""
    folder.mkdir()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    texts = (path.read_text() for path in sorted(Path(__file__).parent.glob("*.py")))
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=CONFIG["vocab_size"], special_tokens=list(SPECIAL), show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in SPECIAL])
    tokenizer.save(str(folder / "tokenizer.json"))
    written = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": SPECIAL[0], "eos_token": SPECIAL[2],
               "chat_template": TEMPLATE, "clean_up_tokenization_spaces": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(written))
    config = {**CONFIG, "eos_token_id": tokenizer.token_to_id(SPECIAL[2])}
    (folder / "config.json").write_text(json.dumps(config))
    mx.random.seed(7)
    model = Model(ModelArgs.from_dict(config))
    mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(model.parameters())), {"format": "mlx"})
    return tokenizer


def answer_to(prompt):
    """What the model is to say: `prompt` is all that it was told, up to the mark of its own turn."""
    turns = prompt.split(SPECIAL[1])[1:]
    asked = []
    for turn in reversed(turns[:-1]):
        role = turn.split("\n", 1)[0]
        if role == "tool":
            return SAID
        if role == "assistant":
            break
        asked.append(turn)
    for turn in asked:
        found = re.search(r'Call the tool (\w+)( \{)?', turn) if turn.startswith("user\n") else None
        if found:
            arguments = json.JSONDecoder().raw_decode(turn[found.end() - 1:])[0] if found[2] else {}
            return f'<tool_call>\n{json.dumps({"name": found[1], "arguments": arguments})}\n</tool_call>'
    return SAID


class Script:
    """A logits processor, of one answer: nothing but its next token is possible."""

    def __init__(self, tokenizer):
        self.tokenizer, self.answer = tokenizer, None

    def __call__(self, tokens, logits):
        if self.answer is None:
            prompt = self.tokenizer.decode(tokens.tolist(), skip_special_tokens=False)
            self.answer = self.tokenizer.encode(answer_to(prompt), add_special_tokens=False).ids
            self.answer.append(self.tokenizer.token_to_id(SPECIAL[2]))
        # What comes after the end is not asked for.
        wanted = self.answer.pop(0) if len(self.answer) > 1 else self.answer[0]
        return mx.where(mx.arange(logits.shape[-1]) == wanted, 0.0, -mx.inf)[None]


def main():
    folder, port = Path(sys.argv[1]), sys.argv[2]
    tokenizer = make_model(folder / "model")
    server._make_logits_processors = lambda args: [Script(tokenizer)]
    handler = server.APIHandler
    told, whole = handler.completion_usage_response, handler.generate_response

    def note(made):
        if "usage" in made:
            with (folder / "said").open("a") as said:
                said.write(json.dumps(made["usage"]) + "\n")
        return made

    handler.completion_usage_response = lambda *args, **named: note(told(*args, **named))
    handler.generate_response = lambda *args, **named: note(whole(*args, **named))
    sys.argv[1:] = ["--model", str(folder / "model"), "--host", "127.0.0.1", "--port", port]
    server.main()


if __name__ == "__main__":
    main()
