"""Translate published chat templates, prove each as an export would, and ask Go itself what the translations write.

    python -m bench.ollama.published FOLDER GO

FOLDER holds *.jinja files, such as models/templates of llama.cpp; GO is the go command. No tokenizer comes along, so control tokens are
what looks like one, and BOS and EOS are stand-ins. Writes bench/ollama/published.json.
"""

import json
import re
import subprocess
import sys
from collections import Counter
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from bench.ollama.ask_go import ask
from luthier.export.ollama import dialect
from luthier.export.ollama.proof import prove_texts
from luthier.floor.errors import GateError
from luthier.text.template import TemplateRenderer
from tests.export.ollama.cases import asked

RESULT = Path(__file__).with_name("published.json")
CONTROL = re.compile(r"<[^<>\s]{1,40}>|\[/?[A-Z_]+\]")
STAND_INS = {"bos_token": "<BOS>", "eos_token": "<EOS>", "pad_token": "<PAD>", "unk_token": "<UNK>"}


def look_at(file: Path, go: str) -> dict[str, Any]:
    """What becomes of one template."""
    text = file.read_text(encoding="utf-8")
    facts: dict[str, Any] = {"sha256": sha256(text.encode()).hexdigest()}
    tokenizer: Any = SimpleNamespace(
        chat_template=text,
        special_tokens_map=STAND_INS,
        bos_token=STAND_INS["bos_token"],
        name_or_path=file.name,
    )
    try:
        with TemplateRenderer(tokenizer) as renderer:
            found = dialect.dialect_of("chat", tokenizer, renderer, puts_bos=False)
            written, proof = prove_texts(found, [])
    except GateError as fault:
        return {**facts, "refused": fault.what}
    answers = ask(go, [asked(found.go, messages=each.messages, tools=each.tools) for each, _ in written])
    same = sum(answer.get("text") == text for (_, text), answer in zip(written, answers, strict=True))
    style = found.name.removeprefix("the run's chat template, ")
    told = {
        "style": style,
        "trims": list(found.trims),
        "without_tools": found.tools,
        "writes_day": found.writes_day,
    }
    return {
        **facts,
        **told,
        "conversations": proof.conversations,
        "same_in_go": same,
        "has_later_system": proof.has_later_system,
    }


def main(folder: str, go: str) -> None:
    with mock.patch.object(dialect, "control_pattern", return_value=CONTROL):
        templates = {file.stem: look_at(file, go) for file in sorted(Path(folder).glob("*.jinja"))}
    version = subprocess.run([go, "version"], capture_output=True, text=True, check=True).stdout.split()[2]
    translated = [each for each in templates.values() if "style" in each]
    summary = {
        "templates": len(templates),
        "translated": len(translated),
        "with_tools": sum(not each["without_tools"] for each in translated),
        "with_later_system_texts": sum(each["has_later_system"] for each in translated),
        "styles": dict(Counter(each["style"] for each in translated)),
        "conversations": sum(each["conversations"] for each in translated),
        "same_in_go": sum(each["same_in_go"] for each in translated),
        "go": version,
    }
    RESULT.write_text(
        json.dumps({"summary": summary, "templates": templates}, indent=1) + "\n", encoding="utf-8"
    )
    print(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
