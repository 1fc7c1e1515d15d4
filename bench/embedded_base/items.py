"""Small supervised rows as plain text: questions, claims, queries, calls and chats, each in a few natural layouts.

One row becomes a list of renderings with the same words. A pass over the corpus takes one of them, so that a source
that is read three times is not read three times alike; the layouts (labelled lines, lettered choices, JSON) are there
because the model has to learn later that an answer follows its question in a shape that the prompt sets.
"""

import bz2
import io
import json
import lzma
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Item:
    """One row: a key that tells it from all others, the group it may share a document with, its layouts."""

    key: str
    group: str
    layouts: list[str]


def read_trivia(folder: Path) -> Iterator[Item]:
    for row in read_jsonl(folder / "opentriviaqa/trivia.jsonl.xz"):
        question, answer, choices = row["question"].strip(), row["answer"].strip(), row["choices"]
        lettered = "\n".join(
            f"{letter}. {choice}" for letter, choice in zip("ABCDEFGH", choices, strict=False)
        )
        as_json = json.dumps(
            {"question": question, "answer": answer, "topic": row["category"]}, ensure_ascii=False
        )
        layouts = [
            f"Q: {question}\nA: {answer}",
            f"Question: {question}\n{lettered}\nAnswer: {answer}",
            f"Topic: {row['category']}\n{question}\n{answer}",
            as_json,
        ]
        yield Item(question, row["category"], layouts)


def read_gsm8k(folder: Path) -> Iterator[Item]:
    for row in read_jsonl(folder / "gsm8k/train.jsonl"):
        worked, _, result = re.sub(r"<<[^>]*>>", "", row["answer"]).partition("\n#### ")
        question = row["question"].strip()
        layouts = [
            f"Question: {question}\nAnswer: {worked}\nThe answer is {result}.",
            f"{question}\n{worked}\nResult: {result}",
        ]
        yield Item(question, "gsm8k", layouts)


def read_flan(folder: Path) -> Iterator[Item]:
    for name in ("strategyqa", "creak"):
        for line in (folder / f"flan-cot/{name}_train.tsv").read_text(encoding="utf-8").splitlines():
            question, answer, reason = line.replace("\\n", "\n").split("\t")[:3]
            layouts = [
                f"{question}\n{reason}\nAnswer: {answer}",
                f"Question: {question}\nAnswer: {answer}\nReason: {reason}",
                f"{reason}\n{question}\n{answer}",
            ]
            yield Item(question, name, layouts)


CONDITION = re.compile(r"(?:TABLEalias0\.)?([^\s=<>]+)_FIELD (=|<|>) \"?(var\d+)\"?")
SELECTED = re.compile(r"^SELECT (?:(COUNT|MAX|MIN|SUM|AVG) )?(?:TABLEalias0\.)?(.+?)_FIELD FROM")


def read_wikisql(folder: Path) -> Iterator[Item]:
    """The training questions of WikiSQL with their query: short questions whose values must be copied out."""
    rows = json.loads(bz2.decompress((folder / "text2sql/wikisql.json.bz2").read_bytes()))
    for row in rows:
        selected = SELECTED.match(row["sql"][0])
        for sentence in row["sentences"]:
            conditions = CONDITION.findall(row["sql"][0])
            if sentence["question-split"] != "train" or not selected or not conditions:
                continue
            item = wikisql_item(sentence, selected, conditions)
            if item is not None:
                yield item


def wikisql_item(
    sentence: dict[str, Any], selected: re.Match[str], conditions: list[tuple[str, str, str]]
) -> Item | None:
    """One question, its values put back; None where the question lacks a value of the query."""
    question, values = sentence["original"].strip(), sentence["variables"]
    if any(variable not in values for *_, variable in conditions):
        return None
    if any(str(values[variable]).lower() not in question.lower() for *_, variable in conditions):
        return None
    wanted = field_name(selected.group(2))
    facts = [
        (field_name(field), operator, cased(values[variable], question))
        for field, operator, variable in conditions
    ]
    where = " AND ".join(f'{field} {operator} "{value}"' for field, operator, value in facts)
    amount = (selected.group(1) or "").lower()
    target = f"{amount}({wanted})" if amount else wanted
    layouts = [
        f"{question}\nSELECT {target} WHERE {where}",
        question + "\n" + json.dumps({"find": target} | {f: v for f, _, v in facts}, ensure_ascii=False),
        question + "\n" + ", ".join(f"{field}[{value}]" for field, _, value in facts) + f", find[{target}]",
        f"Question: {question}\nWanted: {target}\n" + "\n".join(f"{f}: {value}" for f, _, value in facts),
    ]
    return Item(question, "wikisql", layouts)


def field_name(raw: str) -> str:
    return raw.replace("_", " ").lower()


def cased(value: str, question: str) -> str:
    """The value as the question spells it."""
    start = question.lower().find(str(value).lower())
    return question[start : start + len(str(value))]


def read_tldr(folder: Path) -> Iterator[Item]:
    for row in read_jsonl(folder / "tldr/tldr-en.jsonl.xz"):
        described = re.sub(r"\[([^\]])\]", r"\1", row["description"])
        command = re.sub(r"\{\{(.*?)\}\}", r"\1", row["command"])
        yield Item(row["path"] + row["command"], row["platform"], [f"{described}:\n{command}"])


def read_toolformer(folder: Path) -> Iterator[Item]:
    path = folder / "gpteacher/toolformer-similarity-0.7-dataset.json.xz"
    for row in json.loads(lzma.decompress(path.read_bytes())):
        task = row["instruction"].rsplit("\n", 1)[-1]
        given = f"{task}\n{row['input']}" if row["input"] else task
        # The group lets calls of one kind share a document; the tool's description is not repeated in it.
        group = row["instruction"].split("\n")[1][:60]
        yield Item(
            given, group, [f"{given}\n{row['response']}", f"Input: {given}\nOutput: {row['response']}"]
        )


def read_chats(folder: Path) -> Iterator[Item]:
    """Instructions and conversations, written as a play is: in a text row a control token would be mere letters."""
    path = folder / "gpteacher/roleplay-simple-deduped-roleplay-instruct.json.xz"
    for row in json.loads(lzma.decompress(path.read_bytes())):
        yield chat(
            [("user", f"{row['instruction']}\n{row['input']}".strip()), ("assistant", row["response"])]
        )
    for name in ("seed_tasks", "user_oriented_instructions"):
        for row in read_jsonl(folder / f"self-instruct/{name}.jsonl"):
            for instance in row["instances"]:
                asked = f"{row['instruction']}\n{instance['input']}".strip()
                yield chat([("user", asked), ("assistant", instance["output"])])
    for row in read_jsonl(folder / "oasst-sample/en_100_tree.jsonl"):
        yield chat(list(first_branch(row["prompt"])))
    roles = {"human": "user", "gpt": "assistant", "function_call": "assistant", "observation": "tool"}
    for row in json.loads((folder / "formats/sharegpt_tools_glaive.json").read_text(encoding="utf-8")):
        yield chat([(roles[turn["from"]], turn["value"]) for turn in row["conversations"]])


def first_branch(node: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The turns of a message tree along its best-ranked replies."""
    yield ("user" if node["role"] == "prompter" else "assistant", node["text"])
    replies = sorted(node["replies"], key=lambda reply: (reply.get("rank") is None, reply.get("rank")))
    if replies:
        yield from first_branch(replies[0])


def chat(turns: list[tuple[str, str]]) -> Item:
    text = "\n\n".join(f"{role.capitalize()}: {content.strip()}" for role, content in turns)
    return Item(text, "chat", [text])


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    content = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
    for line in io.StringIO(content.decode("utf-8")):
        yield json.loads(line)
