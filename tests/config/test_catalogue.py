"""The catalogue of hostile and mistaken recipes, one case a line: each ends with one clear message, and in no traceback.

The numbers are those of the design's catalogue of bad configurations (44 items); an item may need several cases.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest

from luthier.config.compose import load_recipe
from tests.config.recipes import BASE, fault_of, write_recipe

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Case:
    number: int
    text: str | bytes
    code: str
    parts: tuple[str, ...]
    words: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.number}-{self.code}-{'-'.join(self.words)[:30]}"


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)
REFUSED = [
    Case(1, BASE + "train:\n  lrr: 1e-4\n", "cfg-unknown", ("train.lrr is not a setting; did you mean train.lr?", "mine.yaml:3")),
    Case(2, BASE, "cfg-unknown", ("lr2", "did you mean lr?", "command line"), ("+lr2=1",)),
    Case(3, BASE + "lr: 1e-4\nepochs: 1\nlr: 2e-4\n", "cfg-syntax", ("lr is given twice", "line 2", "mine.yaml:4")),
    Case(4, BASE + "lr: abc\n", "cfg-type", ("lr = 'abc'", "must be a number", "mine.yaml:2")),
    Case(5, BASE + "lr: .nan\n", "cfg-range", ("lr = nan", "must be")),
    Case(6, BASE + "lr: .inf\n", "cfg-range", ("lr = inf", "finite")),
    Case(6, BASE + 'lr: "1e999"\n', "cfg-range", ("finite",)),
    Case(7, BASE + "lr: -1\n", "cfg-range", ("lr = -1", "greater than 0")),
    Case(8, BASE + "lr: 0\n", "cfg-range", ("lr = 0", "greater than 0")),
    Case(10, BASE + "save_steps: 1.5\n", "cfg-type", ("save_steps = 1.5", "whole number")),
    Case(11, BASE + "save_steps: 1e3\n", "cfg-type", ("save_steps = 1000.0", "whole number")),
    Case(12, BASE + "save_steps: true\n", "cfg-type", ("save_steps = true", "whole number")),
    Case(13, BASE + "save_steps: -1\n", "cfg-range", ("save_steps = -1", "at least 0")),
    Case(13, BASE + "logging_steps: 0\n", "cfg-range", ("logging_steps = 0", "greater than 0")),
    Case(14, BASE + f"save_steps: 1{'0' * 30}\n", "cfg-range", ("save_steps = 1000", "at most 1099511627776")),
    Case(14, BASE + f"save_steps: {'9' * 5000}\n", "cfg-type", ("save_steps = ", "whole number")),
    Case(15, BASE + 'bf16: "yes"\n', "cfg-type", ("bf16 = 'yes'", "true or false")),
    Case(15, BASE + "bf16: yes\n", "cfg-type", ("bf16 = 'yes'", "true or false")),
    Case(15, BASE + "train:\n  packing: on\n", "cfg-type", ("train.packing = 'on'", "true or false")),
    Case(16, BASE + "gradient_checkpointing: no\n", "cfg-type", ("gradient_checkpointing = 'no'", "true or false")),
    Case(17, BASE + "train:\n  seed: 010\n", "cfg-type", ("train.seed = 010", "octal", "10", "mine.yaml:3")),
    Case(18, BASE + "warmup_ratio: 1:30\n", "cfg-type", ("warmup_ratio = '1:30'", "must be a number")),
    Case(19, BASE + "lr: null\n", "cfg-type", ("lr = null", "must be a number")),
    Case(19, BASE + "train:\n", "cfg-type", ("train is empty", "mine.yaml:2")),
    Case(20, BASE + "lr: ???\n", "cfg-missing", ("lr is left open", "mine.yaml:2")),
    Case(20, "lr: 1e-4\n", "cfg-missing", ("model.name is missing",)),
    Case(21, BASE + "lr: ${epochs}\nepochs: ${lr}\n", "recipe", ("lr = ", "epochs = ", "leads back to itself")),
    Case(21, BASE + "train:\n  lr: ${train}\n", "cfg-syntax", ("train.lr", "leads back to itself")),
    Case(22, BASE + "lr: ${train.nope}\n", "cfg-syntax", ("lr = '${train.nope}'", "train.nope", "not found", "mine.yaml:2")),
    Case(22, BASE + "lr: ${\n", "cfg-syntax", ("lr = '${'", "mine.yaml:2")),
    Case(22, BASE + "lora_target_modules: [[{a: '${'}]]\n", "cfg-syntax", ("lora_target_modules", "not readable")),
    Case(22, BASE + "lora_target_modules: [[{a: '${nope}'}]]\n", "cfg-syntax", ("lora_target_modules", "not found")),
    Case(23, "model_name: ${oc.env:HF_TOKEN}\n", "cfg-secret", ("${oc.env:HF_TOKEN}", "mine.yaml:1")),
    Case(23, BASE, "cfg-secret", ("oc.env",), ("train.log.project=${oc.env:HF_TOKEN}",)),
    Case(23, BASE + "lora_target_modules: [a, '${ oc.decode:x}']\n", "cfg-secret", ("mine.yaml:2",)),
    Case(24, "model_name: ${oc.env:NOPE}\n", "cfg-secret", ("${oc.env:NOPE}",)),
    Case(25, BASE + "lr: !!python/object/apply:os.system [id]\n", "cfg-target", ("!!python/object/apply:os.system", "mine.yaml:2")),
    Case(25, BASE + "lr: !mine 5\n", "cfg-syntax", ("!mine", "mine.yaml:2")),
    Case(25, BASE + "lr: !!float 5\n", "cfg-syntax", ("!!float", "mine.yaml:2")),
    Case(26, LAUGHS, "cfg-size", ("aliases", "mine.yaml:")),
    Case(26, "a: &a [*a]\n", "cfg-syntax", ("alias *a",)),
    Case(27, BASE + "lr: " + "[" * 2000 + "]" * 2000 + "\n", "cfg-size", ("deeper than 50", "mine.yaml:2")),
    Case(28, "# " + "x" * 10_000_000 + "\n" + BASE, "cfg-size", ("1,000,000 bytes",)),
    Case(28, BASE + "a:\n" + "- x\n" * 6_000, "cfg-size", ("5,000 values",)),
    Case(29, "", "cfg-syntax", ("empty", "mine.yaml")),
    Case(29, "# only a comment\n---\n", "cfg-syntax", ("empty", "mine.yaml")),
    Case(30, "42\n", "cfg-syntax", ("the single value 42",)),
    Case(31, "- lr\n- epochs\n", "cfg-syntax", ("a list",)),
    Case(32, "train:\n\tlr: 1e-4\n", "cfg-syntax", ("mine.yaml:2:1",)),
    Case(32, "train: [1, 2\n", "cfg-syntax", ("mine.yaml:2:1",)),
    Case(33, "model_name: M\xfcller\n".encode("latin-1"), "cfg-syntax", ("not UTF-8", "0xfc", "mine.yaml:1")),
    Case(33, "model_name: a\n".encode("utf-16"), "cfg-syntax", ("not UTF-8", "mine.yaml:1")),
    Case(35, b"model_name: a\0b\n", "cfg-syntax", ("NUL", "mine.yaml:1")),
    Case(35, 'model_name: "a\\0b"\n', "cfg-range", ("model_name", "control characters", "mine.yaml:1")),
    Case(35, b"model_name: a\x07b\n", "cfg-syntax", ("mine.yaml",)),
    Case(36, "model:\n  _target_: os.system\n", "cfg-target", ("model._target_", "mine.yaml:2")),
    Case(37, BASE, "cfg-target", ("_target_",), ("train._target_=builtins.open",)),
    Case(37, BASE, "cfg-target", ("_target_",), ("train={_target_: torch.load}",)),
    Case(37, BASE + "train: {_target_: torch.hub.load}\n", "cfg-target", ("train._target_",)),
    Case(38, BASE, "cfg-unknown", ("hydra.run.dir",), ("hydra.run.dir=../../x",)),
    Case(38, BASE + "hydra:\n  run:\n    dir: /tmp/x\n", "cfg-unknown", ("hydra.run.dir", "mine.yaml:4")),
    Case(39, BASE + "output_dir: /etc\n", "cfg-unknown", ("output_dir is not a setting", "mine.yaml:2")),
    Case(39, BASE + 'data:\n  cache_path: ""\n', "cfg-range", ("data.cache_path = ''", "must not be empty")),
    Case(39, BASE + 'data:\n  cache_path: "a\\nb"\n', "cfg-range", ("control characters",)),
    Case(40, BASE + "method: {kind: full, bits: 4}\n", "cfg-conflict", ("method.bits belongs to method.kind qlora", "is full", "~method.bits")),
    Case(40, BASE + "method: {kind: scratch}\n", "cfg-conflict", ("scratch", "model.name", "mine.yaml")),
    Case(40, BASE + "train: {tokens_per_step: 4096, packing: false}\n", "cfg-conflict", ("packing", "mine.yaml:2")),
    Case(40, BASE + "train: {padding: fixed}\n", "cfg-conflict", ("padding fixed", "packing: false", "mine.yaml:2")),
    Case(41, BASE + "train: {tokens_per_step: 4096, batch_size: 2}\n", "cfg-conflict", ("tokens_per_step", "batch_size")),
    Case(42, BASE + "lora_r: 0\n", "cfg-range", ("lora_r = 0", "greater than 0")),
    Case(42, BASE + "lora_r: -4\n", "cfg-range", ("lora_r = -4", "greater than 0")),
    Case(42, BASE + "lora_r: 1000000000\n", "cfg-range", ("lora_r = 1000000000", "at most 8192")),
    Case(43, BASE + "warmup_ratio: 1.5\n", "cfg-range", ("warmup_ratio = 1.5", "at most 1")),
    Case(43, BASE + "train: {validation: {every_steps: -1}}\n", "cfg-range", ("train.validation.every_steps = -1",)),
    Case(44, "model_name: http://example.org/model\n", "cfg-range", ("model_name", "not an address")),
    Case(44, "model_name: file:///etc/passwd\n", "cfg-range", ("model_name", "not an address")),
    Case(44, 'model_name: " gpt "\n', "cfg-range", ("model_name", "space")),
]  # fmt: skip
ACCEPTED = {9, 34}


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_a_bad_recipe_is_refused_with_its_word_value_and_place(case: Case, tmp_path: Path) -> None:
    before = write_recipe(tmp_path, case.text)
    fault = fault_of(before, case.words)
    message = fault.render()
    assert fault.code == case.code, message
    assert [part for part in case.parts if part not in message] == []
    assert fault.exit_code == 2
    assert len(message) < 2000, "a message is read by people"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"], "nothing is written"


def test_a_number_may_come_as_text(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, BASE + 'lr: "1e-4"\n')  # item 9
    assert load_recipe(path).recipe.train.lr == 1e-4


def test_a_byte_order_mark_is_no_part_of_the_recipe(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, b"\xef\xbb\xbfmodel_name: embedded\n")  # item 34
    assert load_recipe(path).recipe.model.name == "embedded"


def test_every_item_of_the_catalogue_has_a_case() -> None:
    assert {case.number for case in REFUSED} | ACCEPTED == set(range(1, 45))
