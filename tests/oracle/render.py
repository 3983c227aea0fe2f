"""Goldens of chat rendering: text, ids and loss masks as transformers computes them.

    render.py                                   rewrites tests/golden/chat and tests/golden/render.jsonl
    render.py --model DIR --data FILE --out OUT [--limit N]
                                                the same lines for a stream of real dialogues

A line of the golden file:
    {"tokenizer", "template", "messages", "prompt", "text", "ids", "response"?, "assistant"?}
The masks are strings of 0 and 1. They come from transformers' own `return_assistant_tokens_mask`, for
which the templates carry {% generation %} blocks around each reply and its end token.

Needs transformers 5 and tokenizers. Shared model folders are looked for beside the repository.
"""

import argparse
import json
import os
import pathlib

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
CHAT = GOLDEN / "chat"
SHARED = [ROOT.parent / "shared" / "models", ROOT / "shared" / "models"]

# Templates in the styles that public models use; names of files in tests/golden/chat.
TEMPLATES = {
    "marks": """\
{%- for message in messages %}
    {%- if loop.first and message['role'] != 'system' %}
        {{- '<|im_start|>system\\nYou help.<|im_end|>\\n' }}
    {%- endif %}
    {%- if message.role == 'assistant' %}
        {{- '<|im_start|>' + message.role + '\\n' }}
        {%- generation %}{{- message.content + '<|im_end|>' }}{%- endgeneration %}
        {{- '\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
""",
    "trimmed": """\
{{- bos_token }}
{#- As Llama 3: headers, trimmed contents. #}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{%- if tools is not none and tools is defined %}{{ raise_exception('no tools here') }}{% endif %}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {%- if message['role'] == 'assistant' %}
        {%- generation %}{{- message['content'] | trim }}{{- eos_token }}{%- endgeneration %}
    {%- else %}
        {{- message['content'] | trim + eos_token }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
""",
    "brackets": """\
{{ bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'].strip() + '\\n\\n' %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set system_message = '' %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- for message in loop_messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
    {%- endif %}
    {%- if loop.index0 == 0 %}{% set content = system_message + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}
    {%- if message['role'] == 'user' %}
        {{- '[INST] ' + content.strip() + ' [/INST]' }}
    {%- elif message['role'] == 'assistant' %}
        {{- ' ' }}{% generation %}{{ content.strip() + eos_token }}{% endgeneration %}
    {%- endif %}
{%- endfor %}
""",
    "lines": """\
{% for message in messages %}
{% if message['role'] == 'user' %}
<|user|>
{{ message['content'] }}
{% elif message['role'] == 'assistant' %}
<|assistant|>
{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}

{% else %}
<|system|>
{{ message['content'] | upper }}
{% endif %}
{% if loop.last and add_generation_prompt %}
<|assistant|>
{% endif %}
{% endfor %}
""",
    "thinks": """\
{%- set ns = namespace(last=messages|length - 1, seen=0) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if message.role == "user" and not ns.seen %}{% set ns.last = index %}{% set ns.seen = 1 %}{% endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == "assistant" %}
        {%- set content = message.content %}
        {%- if '</think>' in content %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {{- '<|im_start|>assistant\\n' }}
        {%- if loop.index0 > ns.last %}{{- '<think>\\n\\n</think>\\n\\n' }}{% endif %}
        {%- generation %}{{- content.lstrip('\\n') + '<|im_end|>' }}{%- endgeneration %}{{- '\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- endif %}
    {%- if message.role == "tool" %}{% continue %}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
""",
}

# How a template of a shared folder is told where the reply is.
GENERATION = {
    "dialogue-5m": (
        "{{ ' ' + m['content'] + eos_token + '\\n' }}",
        "{{ ' ' }}{% generation %}{{ m['content'] + eos_token }}{% endgeneration %}{{ '\\n' }}",
    ),
    "smollm2-tokenizer": (
        "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}",
        "{{'<|im_start|>' + message['role'] + '\n'}}{% if message['role'] == 'assistant' %}"
        "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{% else %}"
        "{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\n'}}",
    ),
}


def turns(*contents, system=None):
    roles = ["user", "assistant"] * len(contents)
    messages = [{"role": r, "content": c} for r, c in zip(roles, contents)]
    return ([{"role": "system", "content": system}] if system is not None else []) + messages


DIALOGUES = [
    turns("Hello", "Hello! How are you?"),
    turns("What is 12 + 30?", "42.", "And  1024  * 2?", "It is  2048.\n\n1. two\n2. three"),
    turns("  spaces before", "and after  ", "\n\nlines\n\n", "\n tab\t\n"),
    turns("naïve café 東京 🙂👩‍👩‍👧", "e\u0301 is é; ﬁ is fi\u200d\u00a0done… «ok»"),
    turns("Be brief.", "Yes.", system="You are  a helpful assistant.\n"),
    turns("q", "", "", "a"),
    turns("def f(x):\n    return {'a': [x, 1.5e-3]}\n", "```python\nf(2)\n```"),
    turns("I'll say don't, we've, THEY'RE", "'s 'T ''"),
    turns("a < b > c && </ s> < |im_end|>", "User: hi\nAssistant: ho {{ x }} {% if %}"),
    turns("Why?", "First I think.\n</think>\n\nBecause.", "Really?", "Hm.</think>Yes."),
    turns("repeat", "repeat", "repeat", "repeat", "repeat", "repeat"),
    turns("one", "two", "three"),
    turns("안녕하세요 مرحبا שלום Привет", "ok " * 20),
]


def tiny():
    """A byte-level BPE of 400 tokens, trained on the contents above."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|end|>", "<|begin|>", "<|im_start|>", "<|im_end|>", "<|user|>", "<|assistant|>",
               "<|start_header_id|>", "<|end_header_id|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[AddedToken(t, special=True, normalized=False) for t in special],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    texts = [m["content"] for d in DIALOGUES for m in d] + list(TEMPLATES)
    tokenizer.train_from_iterator(texts * 3, trainer)
    tokenizer.add_tokens([AddedToken("[INST]", normalized=False), AddedToken("<think>")])
    folder = CHAT / "tiny"
    folder.mkdir(parents=True, exist_ok=True)
    compact = json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":"))
    (folder / "tokenizer.json").write_text(compact + "\n", encoding="utf-8")
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|begin|>",
              "eos_token": "<|end|>", "clean_up_tokenization_spaces": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")
    return folder


def folder_of(name):
    found = [p / name for p in [CHAT, *SHARED] if (p / name).is_dir()]
    return found[0] if found else None


def golden(tokenizer, name, template, source, messages, prompt):
    marked = source or tokenizer.chat_template
    if source is None:
        old, new = GENERATION[name]
        assert old in marked, name
        marked = marked.replace(old, new)
        plain = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
    else:
        plain = None
    try:
        text = tokenizer.apply_chat_template(
            messages, chat_template=marked, tokenize=False, add_generation_prompt=prompt)
    except Exception as error:  # raise_exception of the template
        assert "alternate" in str(error), error
        return None
    assert plain is None or plain == text
    out = tokenizer.apply_chat_template(
        messages, chat_template=marked, add_generation_prompt=prompt, return_dict=True,
        return_assistant_tokens_mask=True)
    ids, assistant = out["input_ids"], out["assistant_masks"]
    again = tokenizer.apply_chat_template(
        messages, chat_template=marked, add_generation_prompt=prompt, return_dict=False)
    assert ids == again
    assistant[0] = 0
    row = {"tokenizer": name, "template": template, "messages": messages, "prompt": prompt,
           "text": text, "ids": ids}
    replies = sum(message["role"] == "assistant" for message in messages)
    if sum(b > a for a, b in zip(assistant, assistant[1:])) != replies:
        # A tokenizer without byte fallback drops a reply's first character; transformers then finds
        # no token for it and stops marking.
        assert name == "TinyStories-656K", row
        return row
    response = [0] * len(ids)
    if messages[-1]["role"] == "assistant":
        last = max(i for i, bit in enumerate(assistant) if bit)
        while assistant[last]:
            response[last] = 1
            last -= 1
    bits = lambda mask: "".join(map(str, mask))
    return row | {"response": bits(response), "assistant": bits(assistant)}


def write(path, lines):
    with open(path, "w", encoding="utf-8") as file:
        for line in lines:
            file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")
    print(path, os.path.getsize(path), "bytes,", len(lines), "lines")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model")
    parser.add_argument("--template")
    parser.add_argument("--data")
    parser.add_argument("--out")
    parser.add_argument("--limit", type=int, default=1 << 30)
    args = parser.parse_args()
    if args.data:
        folder = pathlib.Path(args.model)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        name = folder.name
        source = TEMPLATES[args.template] if args.template else None
        lines = []
        with open(args.data, encoding="utf-8") as file:
            for text in list(file)[: args.limit]:
                messages = [{k: m[k] for k in ("role", "content")} for m in json.loads(text)["messages"]]
                lines.append(golden(tokenizer, name, args.template, source, messages, False))
        write(args.out, [line for line in lines if line])
        return
    tiny()
    for name, source in TEMPLATES.items():
        (CHAT / f"{name}.jinja").write_text(source, encoding="utf-8")
    cases = [("tiny", template) for template in TEMPLATES]
    cases += [("dialogue-5m", None), ("smollm2-tokenizer", None)]
    cases += [("stories260K", "brackets"), ("TinyStories-656K", "brackets"), ("dialogue-5m", "lines")]
    lines = []
    for name, template in cases:
        folder = folder_of(name)
        if folder is None:
            raise SystemExit(f"{name}: no such folder; the goldens would lack it")
        tokenizer = AutoTokenizer.from_pretrained(folder)
        source = TEMPLATES[template] if template else None
        for messages in DIALOGUES:
            prompt = messages[-1]["role"] == "user"
            lines.append(golden(tokenizer, name, template, source, messages, prompt))
    write(GOLDEN / "render.jsonl", [line for line in lines if line])


if __name__ == "__main__":
    main()
