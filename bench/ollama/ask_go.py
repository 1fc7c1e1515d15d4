"""Ask Go itself what templates make of values, and keep the answers for the tests of Luthier's reader of Go templates.

    python -m bench.ollama.ask_go GO

GO is the go command (1.24 or later); it needs no module beside its standard library. Writes tests/export/ollama/known.json.
"""

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

from luthier.export.ollama.proof import prove_texts
from tests.export.ollama.cases import DOCUMENTED, MORE, ODD_ONES, OLLAMA, TALK, asked, random_templates
from tests.export.ollama.styles import ALL, dialect

HERE = Path(__file__).parent
KNOWN = HERE.parents[1] / "tests" / "export" / "ollama" / "known.json"
RANDOM = 200


def ask(go: str, cases: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Go's answer to each case: a text, or an error."""
    command = [go, "run", str(HERE / "judge.go")]
    done = subprocess.run(command, input=json.dumps(cases), capture_output=True, text=True, check=True)
    answers: list[dict[str, str]] = json.loads(done.stdout)
    return answers


def main(go: str) -> None:
    plain = [*DOCUMENTED, *ODD_ONES, *random_templates(RANDOM)]
    cases = [asked(template, more=MORE) for template in plain]
    cases += [asked(template, messages=talk) for template in OLLAMA for talk in (TALK, TALK[1:])]
    styles: dict[str, dict[str, Any]] = {}
    for name, style in ALL.items():
        with dialect(style) as found:
            written, _ = prove_texts(found, [])
        answers = ask(go, [asked(found.go, messages=each.messages, tools=each.tools) for each, _ in written])
        wrong = [
            each for (each, text), answer in zip(written, answers, strict=True) if answer.get("text") != text
        ]
        assert not wrong, f"{name}: Go writes otherwise of {wrong[0]}"
        styles[name] = {"template": sha256(found.go.encode()).hexdigest(), "conversations": len(written)}
    answers = [{"text": a["text"]} if "text" in a else {} for a in ask(go, cases)]
    version = subprocess.run([go, "version"], capture_output=True, text=True, check=True).stdout.split()[2]
    known = {"go": version, "plain": answers, "styles": styles}
    KNOWN.write_text(json.dumps(known, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(
        f"{len(answers)} templates, {sum(each['conversations'] for each in styles.values())} conversations, {version}"
    )


if __name__ == "__main__":
    main(sys.argv[1])
