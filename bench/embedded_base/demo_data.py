"""Make the bundled demo task: the rows of E2E whose sentence says exactly what their record says.

    python bench/embedded_base/demo_data.py --source DIR --out DIR

`--source` holds train.jsonl and test.jsonl ({"prompt": sentence, "completion": record}) made from E2E's development and
test sets. E2E's writers were free to leave facts out, so in most rows the record knows more than the sentence tells, and
no model could extract it. A row is kept if and only if, for every slot, what the sentence says (wording.py) is what the
record has, silence included. The rule is the same for training and test rows, labels are never changed, and demo.report.json
beside the rows counts what each slot's rule dropped.
"""

import argparse
import json
import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

from wording import AREAS, FOODS, PLACES, UNCLEAR, fold, said_choice, said_family, said_price, said_rating

SLOT_ORDER = ("name", "eatType", "food", "priceRange", "customer rating", "area", "familyFriendly", "near")
SLOT = re.compile(r"([A-Za-z ]+)\[([^\]]*)\](?:, |$)")

READERS: dict[str, Callable[[str], str | None]] = {
    "eatType": lambda sentence: said_choice(sentence, PLACES),
    "food": lambda sentence: said_choice(sentence, FOODS),
    "priceRange": said_price,
    "customer rating": said_rating,
    "area": lambda sentence: said_choice(sentence, AREAS),
    "familyFriendly": said_family,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Keep the rows of E2E whose sentence and record agree.")
    parser.add_argument("--source", type=Path, required=True, help="folder with train.jsonl and test.jsonl")
    parser.add_argument("--out", type=Path, required=True, help="folder for train.jsonl and eval/test.jsonl")
    arguments = parser.parse_args()
    raw = {split: read_rows(arguments.source / f"{split}.jsonl") for split in ("train", "test")}
    names = place_names(raw["train"] + raw["test"])
    train, train_report = keep_faithful(raw["train"], names, taken=set())
    test, test_report = keep_faithful(
        raw["test"], names, taken={prompt_key(row["prompt"]) for row in raw["train"]}
    )
    write_rows(arguments.out / "train.jsonl", train)
    write_rows(arguments.out / "eval/test.jsonl", test)
    report = {"train": train_report, "test": test_report}
    (arguments.out / "demo.report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    print(json.dumps(report, indent=1, ensure_ascii=False))


def keep_faithful(
    rows: list[dict[str, str]], names: set[str], *, taken: set[str]
) -> tuple[list[dict[str, str]], dict[str, object]]:
    """The faithful rows, each prompt once and none of `taken`, with the counts of what went and why."""
    kept: list[dict[str, str]] = []
    dropped: Counter[str] = Counter()
    seen: set[str] = set()
    for row in rows:
        sentence, record = " ".join(row["prompt"].split()), parse_record(row["completion"])
        key = prompt_key(sentence)
        fault = first_fault(sentence, record, names)
        if key in taken:
            dropped["prompt occurs in train"] += 1
        elif fault is not None:
            dropped[fault] += 1
        elif key in seen:
            dropped["prompt repeats"] += 1
        else:
            seen.add(key)
            kept.append({"prompt": sentence, "completion": render_record(record)})
    return kept, {"read": len(rows), "kept": len(kept), "dropped": dict(dropped.most_common())}


def first_fault(sentence: str, record: dict[str, str], names: set[str]) -> str | None:
    """Why the sentence does not say the record, as `slot: reason`; None for a faithful row."""
    folded = fold(sentence)
    rest = folded
    for slot in ("name", "near"):
        if slot in record:
            if not name_pattern(record[slot]).search(rest):
                return f"{slot}: not said"
            rest = name_pattern(record[slot]).sub(" # ", rest)
    if any(name_pattern(name).search(rest) for name in names):
        return "near: said, not in the record"
    for slot, read in READERS.items():
        said, has = read(rest), record.get(slot)
        if said != has:
            return f"{slot}: {fault_between(said, has)}"
    return None


def fault_between(said: str | None, has: str | None) -> str:
    if said == UNCLEAR:
        return "unclear wording"
    if said is None:
        return "not said"
    return "said, not in the record" if has is None else "said otherwise"


@cache
def name_pattern(name: str) -> re.Pattern[str]:
    """A name as whole words; its leading article may be missing or added."""
    bare = fold(name).removeprefix("the ")
    return re.compile(rf"\b(?:the )?{re.escape(bare)}\b")


def place_names(rows: list[dict[str, str]]) -> set[str]:
    """Every name of a restaurant or neighbour in the records."""
    records = [parse_record(row["completion"]) for row in rows]
    return {record[slot] for record in records for slot in ("name", "near") if slot in record}


def prompt_key(prompt: str) -> str:
    """The prompt with case, punctuation and spaces folded: equal keys are the same sentence to a reader."""
    return re.sub(r"[^\w]+", " ", fold(prompt)).strip()


def parse_record(completion: str) -> dict[str, str]:
    return {slot.strip(): value for slot, value in SLOT.findall(completion)}


def render_record(record: dict[str, str]) -> str:
    """The record as E2E writes it, slots in E2E's order."""
    return ", ".join(f"{slot}[{record[slot]}]" for slot in SLOT_ORDER if slot in record)


def read_rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
