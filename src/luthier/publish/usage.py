"""The part of a model card that says how to use the model: with Transformers, vLLM and llama.cpp, asked as it was trained.

A prompt that is laid out otherwise than in training is the commonest way to make a good model look bad, so each way shows the very
layout of the run: the guide's plain text, its tags, or the tokenizer's chat template.
"""

from luthier.publish.facts import Facts

QUESTION = "Your question"


def usage_section(facts: Facts, *, repo: str) -> list[str]:
    """The lines of the section, without its heading."""
    lines = [_layout(facts), ""]
    if facts.what == "gguf":
        return [*lines, *_llama_cpp(facts, repo)]
    lines += ["**Transformers**", "", "```python", *_python(facts, repo), "```", ""]
    lines += ["**vLLM**", "", "```sh", *_vllm(facts, repo), "```", ""]
    lines += ["**Ollama and llama.cpp**", "", _without_gguf(facts)]
    return lines


def _layout(facts: Facts) -> str:
    if facts.template == "chat":
        return "The model answers conversations in the form of its tokenizer's chat template."
    if facts.template == "guide_chat":
        return (
            "The model answers conversations written as `<user>Question</user><assistant>`; its answer ends before "
            "`</assistant>`. Do not use a chat template."
        )
    return (
        "The model continues plain text: the prompt, a line break, and then the answer, which ends by itself. "
        "Do not use a chat template: it was trained without one."
    )


def raw_prompt(facts: Facts) -> str:
    """What stands before the answer, as a Python or JSON text would spell it."""
    return f"<user>{QUESTION}</user><assistant>" if facts.template == "guide_chat" else f"{QUESTION}\\n"


def _python(facts: Facts, repo: str) -> list[str]:
    is_adapter = facts.what == "adapter"
    loader = "AutoPeftModelForCausalLM" if is_adapter else "AutoModelForCausalLM"
    imports = (
        ["from peft import AutoPeftModelForCausalLM", "from transformers import AutoTokenizer"]
        if is_adapter
        else ["from transformers import AutoModelForCausalLM, AutoTokenizer"]
    )
    tokens = facts.recipe.evaluate.max_new_tokens
    lines = [
        *(["import torch"] if facts.template != "chat" else []),
        *imports,
        "",
        f'name = "{repo}"',
        "tokenizer = AutoTokenizer.from_pretrained(name)",
        f'model = {loader}.from_pretrained(name, dtype="auto")',
        "",
    ]
    if facts.template == "chat":
        return [
            *lines,
            f'messages = [{{"role": "user", "content": "{QUESTION}"}}]',
            'inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)',
            f"output = model.generate(**inputs, max_new_tokens={tokens}, do_sample=False)",
            'print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))',
        ]
    return [
        *lines,
        "start = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]",
        f'ids = start + tokenizer("{raw_prompt(facts)}", add_special_tokens=False).input_ids',
        f"output = model.generate(input_ids=torch.tensor([ids]), max_new_tokens={tokens}, do_sample=False)",
        "print(tokenizer.decode(output[0, len(ids) :], skip_special_tokens=True))",
    ]


# vLLM serves adapters up to this rank unless told otherwise (docs.vllm.ai, LoRA adapters, max_lora_rank).
VLLM_RANK = 16


def _vllm(facts: Facts, repo: str) -> list[str]:
    name = repo.rpartition("/")[2]
    if facts.what == "adapter" and facts.lora is not None:
        rank = f" --max-lora-rank {_vllm_rank(facts.lora.rank)}" if facts.lora.rank > VLLM_RANK else ""
        serve = f"vllm serve {facts.base_id or 'BASE'} --enable-lora{rank} --lora-modules {name}={repo}"
    else:
        serve = f"vllm serve {repo} --served-model-name {name}"
    return [serve, *_request(facts, name, port=8000)]


def _vllm_rank(rank: int) -> int:
    """The smallest of the ranks that vLLM takes which holds this one."""
    return next((each for each in (32, 64, 128, 256, 320, 512) if each >= rank), rank)


def _request(facts: Facts, name: str, *, port: int) -> list[str]:
    if facts.template == "chat":
        path, body = "chat/completions", f'"messages": [{{"role": "user", "content": "{QUESTION}"}}]'
    else:
        path, body = "completions", f'"prompt": "{raw_prompt(facts)}"'
    tokens = facts.recipe.evaluate.max_new_tokens
    return [
        f"curl http://localhost:{port}/v1/{path} -H 'Content-Type: application/json' \\",
        f'  -d \'{{"model": "{name}", {body}, "max_tokens": {tokens}, "temperature": 0}}\'',
    ]


def _without_gguf(facts: Facts) -> str:
    merge = "Merge the adapter into its base, then convert" if facts.what == "adapter" else "Convert"
    return f"These programs read GGUF files, which are not in this repository. {merge} it with llama.cpp's `convert_hf_to_gguf.py`."


def _llama_cpp(facts: Facts, repo: str) -> list[str]:
    """By type, as both read it behind a colon (huggingface.co/docs/hub/ollama; llama.cpp, tools/server/README.md, -hf)."""
    name = repo.rpartition("/")[2]
    types = [file.type for file in facts.gguf.files] if facts.gguf else []
    tagged = f"{repo}:{types[0]}" if types else repo
    others = [f"Other types, behind the colon: {', '.join(types[1:])}.", ""] if types[1:] else []
    return [
        *others,
        "**llama.cpp**", "", "```sh", f"llama-server -hf {tagged}", *_request(facts, name, port=8080), "```", "",
        "**Ollama**", "", "```sh", *_ollama(facts, f"hf.co/{tagged}"), "```",
    ]  # fmt: skip


def _ollama(facts: Facts, model: str) -> list[str]:
    """Its own template is kept out where the run knows none and none was proven: `raw` (github.com/ollama/ollama, docs/api.md)."""
    if facts.template == "chat" or facts.ollama is not None:
        return [f'ollama run {model} "{QUESTION}"']
    options = f'"options": {{"temperature": 0, "num_predict": {facts.recipe.evaluate.max_new_tokens}}}'
    return [
        f"ollama pull {model}",
        "curl http://localhost:11434/api/generate \\",
        f'  -d \'{{"model": "{model}", "prompt": "{raw_prompt(facts)}", "raw": true, "stream": false, {options}}}\'',
    ]
