"""Saving, loading, rotating and sweeping checkpoints, and every damage of RELIABILITY's section D (F40 to F53)."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from luthier.floor import files
from luthier.floor.errors import CheckpointError, EnvironmentFault, UnhealthyError
from luthier.train import checkpoint, manifest
from luthier.train.checkpoint import (
    has_checkpoints,
    list_checkpoints,
    load_newest,
    load_step,
    rotate,
    save_checkpoint,
    step_of,
    sweep,
)

IDENTITY = {"base": "abc", "train.seed": "42"}


def save(root: Path, step: int) -> Path:
    """A checkpoint whose every number says which step it is of."""
    tensors = {
        "weights": {"a": torch.full((3, 4), float(step)), "b": torch.full((5,), -float(step))},
        "optimizer": {"a.exp_avg": torch.full((3, 4), step / 3), "step": torch.tensor(float(step))},
        "random": {"torch": torch.arange(16, dtype=torch.uint8)},
    }
    return save_checkpoint(
        root, step=step, tensors=tensors, facts={"identity": IDENTITY, "progress": {"step": step}}
    )


def assert_is_step(loaded: checkpoint.Loaded, step: int) -> None:
    assert loaded.step == step
    assert loaded.facts["progress"]["step"] == step
    assert torch.equal(loaded.tensors["weights"]["a"], torch.full((3, 4), float(step)))
    assert torch.equal(loaded.tensors["optimizer"]["a.exp_avg"], torch.full((3, 4), step / 3))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Checkpoints of steps 1, 2 and 3."""
    for step in (1, 2, 3):
        save(tmp_path / "checkpoints", step)
    return tmp_path / "checkpoints"


def edit_json(path: Path, change: Callable[[dict], None]) -> None:
    body = json.loads(path.read_text())
    change(body)
    path.write_text(json.dumps(body))


def flip_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 0x10
    path.write_bytes(data)


def drop_tensor(path: Path) -> None:
    named = load_file(path)
    named.pop(min(named))
    save_file(named, path)


# What unpickling would run: os.system("touch poisoned").
POISON = b"cos\nsystem\n(S'touch poisoned'\ntR."

DAMAGES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "F40 optimizer missing": ("optimizer.safetensors", Path.unlink, "optimizer.safetensors is missing"),
    "F42 random state missing": ("random.safetensors", Path.unlink, "random.safetensors is missing"),
    "F43 facts missing": ("facts.json", Path.unlink, "facts.json is missing"),
    "F44 facts truncated": (
        "facts.json",
        lambda path: os.truncate(path, 30),
        "facts.json has 30 bytes instead of",
    ),
    "F44 manifest truncated": (
        "manifest.json",
        lambda path: os.truncate(path, 30),
        "manifest.json is no manifest",
    ),
    "F45 optimizer truncated": (
        "optimizer.safetensors",
        lambda path: os.truncate(path, 64),
        "has 64 bytes instead of",
    ),
    "F45 optimizer empty": (
        "optimizer.safetensors",
        lambda path: os.truncate(path, 0),
        "has 0 bytes instead of",
    ),
    "F46 weights truncated": (
        "weights.safetensors",
        lambda path: os.truncate(path, 64),
        "has 64 bytes instead of",
    ),
    "F46 weights empty": ("weights.safetensors", lambda path: os.truncate(path, 0), "has 0 bytes instead of"),
    "F47 bit flipped in weights": ("weights.safetensors", flip_bit, "another sha256"),
    "F48 bit flipped in optimizer": ("optimizer.safetensors", flip_bit, "another sha256"),
    "bit flipped in facts": ("facts.json", flip_bit, "another sha256"),
    "F49 a tensor missing": ("weights.safetensors", drop_tensor, "weights.safetensors has"),
    "F50 manifest absent": ("manifest.json", Path.unlink, "manifest.json is missing"),
    "F50 empty folder": (
        ".",
        lambda folder: [path.unlink() for path in folder.iterdir()],
        "manifest.json is missing",
    ),
    "F52 pickle in place of weights": (
        "weights.safetensors",
        lambda path: path.write_bytes(POISON),
        "weights.safetensors has",
    ),
    "F52 pickle in place of the manifest": (
        "manifest.json",
        lambda path: path.write_bytes(POISON),
        "no manifest of ours",
    ),
    "manifest step changed": (
        "manifest.json",
        lambda path: edit_json(path, lambda body: body.update(step=7)),
        "changed after it was written",
    ),
    "manifest forgets a file": (
        "manifest.json",
        lambda path: edit_json(path, lambda body: body["files"].pop("optimizer.safetensors")),
        "changed after it was written",
    ),
    "manifest names a file outside": (
        "manifest.json",
        lambda path: edit_json(
            path, lambda body: body["files"].update({"../x.json": body["files"]["facts.json"]})
        ),
        "no manifest of ours",
    ),
    "manifest nested a million deep": (
        "manifest.json",
        lambda path: path.write_text("[" * 1_000_000),
        "no manifest of ours",
    ),
    "manifest of a gigabyte": (
        "manifest.json",
        lambda path: os.truncate(path, 1 << 30),
        "larger than any manifest",
    ),
    "folder in place of a file": (
        "weights.safetensors",
        lambda path: (path.unlink(), path.mkdir()),
        "weights.safetensors is missing",
    ),
}


def test_what_is_saved_comes_back_bit_for_bit(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    matrix = torch.randn(7, 5, generator=generator)
    tensors = {
        "weights": {
            "fp32": matrix,
            "transposed": matrix.T,
            "view": matrix[2:4],
            "bf16": matrix.bfloat16(),
            "fp16": matrix.half(),
            "parameter": torch.nn.Parameter(matrix),
            "empty": torch.zeros(0, 3),
        },
        "optimizer": {
            "scalar": torch.tensor(0.1),
            "bytes": torch.arange(9, dtype=torch.uint8),
            "long": torch.tensor([2**62]),
        },
    }
    facts = {"identity": IDENTITY, "float": 0.1 + 0.2, "text": "héllo", "none": None, "list": [[1.5, 2]]}
    path = save_checkpoint(tmp_path, step=5, tensors=tensors, facts=facts)
    loaded = load_newest(tmp_path, identity=IDENTITY)
    assert loaded.path == path == tmp_path / "step-00000005"
    assert loaded.facts == facts
    assert loaded.notes == ()
    for stem, named in tensors.items():
        assert set(loaded.tensors[stem]) == set(named)
        for name, tensor in named.items():
            found = loaded.tensors[stem][name]
            assert found.dtype == tensor.dtype
            assert torch.equal(found, tensor)


def test_newest_points_to_the_last_save(root: Path) -> None:
    assert os.readlink(root / "newest") == "step-00000003"
    assert_is_step(load_newest(root, identity=IDENTITY), 3)


def test_nothing_temporary_is_left_by_a_save(root: Path) -> None:
    assert sorted(path.name for path in root.iterdir()) == [
        "newest",
        "step-00000001",
        "step-00000002",
        "step-00000003",
    ]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_taken(root: Path, damage: str) -> None:
    name, break_it, reason = DAMAGES[damage]
    break_it(root / "step-00000003" / name)
    loaded = load_newest(root, identity=IDENTITY)
    assert_is_step(loaded, 2)
    assert len(loaded.notes) == 1
    assert reason in loaded.notes[0]
    assert "step-00000003" in loaded.notes[0]
    assert (root / ".bad-step-00000003").is_dir()
    assert not (root / "step-00000003").exists()
    assert os.readlink(root / "newest") == "step-00000002"
    assert not Path("poisoned").exists()


@pytest.mark.parametrize("damage", DAMAGES)
def test_when_all_are_damaged_each_is_listed_and_nothing_starts_at_zero(root: Path, damage: str) -> None:
    name, break_it, reason = DAMAGES[damage]
    for step in (1, 2, 3):
        break_it(root / f"step-0000000{step}" / name)
    # The second start must say the same: it finds only what the first one set aside.
    for _ in range(2):
        with pytest.raises(CheckpointError) as caught:
            load_newest(root, identity=IDENTITY)
        assert caught.value.code == "ckpt-bad"
        assert caught.value.exit_code == 7
        assert len(caught.value.problems) == 3
        assert all(reason in problem for problem in caught.value.problems)
        assert has_checkpoints(root)


def test_two_damaged_checkpoints_are_both_passed_over(root: Path) -> None:
    flip_bit(root / "step-00000003" / "weights.safetensors")
    (root / "step-00000002" / "facts.json").unlink()
    loaded = load_newest(root, identity=IDENTITY)
    assert_is_step(loaded, 1)
    assert len(loaded.notes) == 2


def test_foreign_folders_are_noted_and_left_alone(root: Path) -> None:
    for name in ("checkpoint-abc", "checkpoint-999", "step-abc", "step-7"):
        (root / name).mkdir()
    (root / "step-00000009").write_text("a file")
    loaded = load_newest(root, identity=IDENTITY)
    assert_is_step(loaded, 3)
    assert [note.split(":")[0] for note in loaded.notes] == [
        "checkpoint-999",
        "checkpoint-abc",
        "step-00000009",
        "step-7",
        "step-abc",
    ]
    assert (root / "checkpoint-abc").is_dir()


def test_a_symlinked_checkpoint_is_not_followed(root: Path) -> None:
    (root / "step-00000008").symlink_to(root / "step-00000001")
    assert_is_step(load_newest(root, identity=IDENTITY), 3)


def test_a_symlinked_file_inside_a_checkpoint_is_not_followed(root: Path) -> None:
    shutil.move(root / "step-00000003" / "weights.safetensors", root.parent / "elsewhere")
    (root / "step-00000003" / "weights.safetensors").symlink_to(root.parent / "elsewhere")
    assert_is_step(load_newest(root, identity=IDENTITY), 2)


def test_a_checkpoint_under_the_name_of_another_step_is_refused(root: Path) -> None:
    shutil.copytree(root / "step-00000001", root / "step-00000009")
    loaded = load_newest(root, identity=IDENTITY)
    assert_is_step(loaded, 3)
    assert "of step 1 under another name" in loaded.notes[0]


def test_the_newest_step_is_taken_when_the_pointer_lags_or_dangles(root: Path) -> None:
    for target in ("step-00000002", "step-00000077", None):
        (root / "newest").unlink()
        if target is not None:
            (root / "newest").symlink_to(target)
        assert_is_step(load_newest(root, identity=IDENTITY), 3)
        assert os.readlink(root / "newest") == "step-00000003"


def test_times_of_files_play_no_part(root: Path) -> None:
    for age, folder in enumerate(list_checkpoints(root)):
        os.utime(folder, (1e9 - age * 1000, 1e9 - age * 1000))
    rotate(root, keep=[3])
    assert_is_step(load_newest(root, identity=IDENTITY), 3)


def test_a_checkpoint_of_another_recipe_is_refused_with_both_values(root: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        load_newest(root, identity={"base": "xyz", "train.lr": "0.1", "train.seed": "42"})
    assert caught.value.code == "ckpt-mismatch"
    assert caught.value.exit_code == 7
    assert caught.value.problems == (
        "base: saved with abc, now xyz",
        "train.lr: saved with nothing, now 0.1",
    )
    assert len(list_checkpoints(root)) == 3, "a mismatch is no damage: nothing may be set aside"
    with pytest.raises(CheckpointError, match="belongs to another recipe"):
        load_step(root, 2, identity={"base": "xyz"})


def test_no_checkpoint_at_all_is_told_apart_from_damaged_ones(tmp_path: Path) -> None:
    for root in (tmp_path / "nothing", tmp_path):
        with pytest.raises(CheckpointError) as caught:
            load_newest(root, identity=IDENTITY)
        assert caught.value.code == "ckpt-none"
        assert not has_checkpoints(root)


def test_a_read_error_passes_over_a_checkpoint_without_setting_it_aside(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> str:
        if path.parent.name in unreadable:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return files.sha256_of(path)

    monkeypatch.setattr(manifest, "sha256_of", refuse)
    unreadable = {"step-00000003"}
    loaded = load_newest(root, identity=IDENTITY)
    assert_is_step(loaded, 2)
    assert "Input/output error" in loaded.notes[0]
    unreadable = {"step-00000001", "step-00000002", "step-00000003"}
    with pytest.raises(EnvironmentFault) as caught:
        load_newest(root, identity=IDENTITY)
    assert caught.value.exit_code == 5
    assert len(caught.value.problems) == 3
    unreadable = set()
    assert_is_step(load_newest(root, identity=IDENTITY), 3)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_tensor_that_is_not_finite_is_never_saved(root: Path, value: float, dtype: torch.dtype) -> None:
    broken = torch.zeros(4, 4, dtype=dtype)
    broken[1, 2] = value
    with pytest.raises(UnhealthyError, match=r"lora_A \(weights\) is not finite after step 4") as caught:
        save_checkpoint(root, step=4, tensors={"weights": {"lora_A": broken}}, facts={"identity": IDENTITY})
    assert caught.value.exit_code == 6
    assert_is_step(load_newest(root, identity=IDENTITY), 3)


def test_a_second_save_of_a_step_leaves_the_first_untouched(root: Path) -> None:
    before = (root / "step-00000003" / "manifest.json").read_bytes()
    again = save(root, 3)
    assert again.name == "step-00000003-2"
    assert (root / "step-00000003" / "manifest.json").read_bytes() == before
    assert step_of(again) == 3
    assert load_newest(root, identity=IDENTITY).path == again
    rotate(root, keep=[3])
    assert list_checkpoints(root) == [again]


def test_a_full_disk_is_refused_before_anything_is_written(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "free_bytes", lambda path: 1000)
    with pytest.raises(EnvironmentFault, match=r"a checkpoint needs .* and 1000 B are free") as caught:
        save(root, 4)
    assert caught.value.code == "env-disk"
    assert_is_step(load_newest(root, identity=IDENTITY), 3)


def test_rotation_keeps_the_named_steps_and_the_newest(root: Path) -> None:
    rotate(root, keep=[1])
    assert [step_of(folder) for folder in list_checkpoints(root)] == [1, 3]
    assert not [path for path in root.iterdir() if path.name.startswith(".tmp-")]


def test_sweeping_removes_what_a_crash_left_and_nothing_else(root: Path) -> None:
    shutil.copytree(root / "step-00000003", root / ".tmp-step-00000004-77")
    shutil.copytree(root / "step-00000003", root / ".tmp-del-step-00000001-77")
    (root / ".tmp-newest-77").symlink_to("step-00000003")
    (root / ".bad-step-00000002").mkdir()
    assert sweep(root) == [".tmp-del-step-00000001-77", ".tmp-newest-77", ".tmp-step-00000004-77"]
    assert sorted(path.name for path in root.iterdir()) == [
        ".bad-step-00000002",
        "newest",
        "step-00000001",
        "step-00000002",
        "step-00000003",
    ]
    assert sweep(root / "nothing") == []


def test_an_interrupt_in_a_save_leaves_no_half_checkpoint(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "write_manifest", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(root, 4)
    assert sorted(path.name for path in root.iterdir()) == [
        "newest",
        "step-00000001",
        "step-00000002",
        "step-00000003",
    ]


def test_the_best_step_is_loaded_by_its_number_or_refused(root: Path) -> None:
    assert_is_step(load_step(root, 2, identity=IDENTITY), 2)
    with pytest.raises(CheckpointError, match="step 5 cannot be used: it is not there"):
        load_step(root, 5, identity=IDENTITY)
    flip_bit(root / "step-00000001" / "weights.safetensors")
    with pytest.raises(CheckpointError, match="another sha256"):
        load_step(root, 1, identity=IDENTITY)


def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("in the way")
    with pytest.raises(EnvironmentFault) as caught:
        save(tmp_path / "checkpoints", 1)
    assert caught.value.exit_code == 5


def test_saving_and_loading_leak_no_file_descriptor(tmp_path: Path) -> None:
    save(tmp_path, 1)
    before = len(os.listdir("/proc/self/fd"))
    for step in range(2, 60):
        save(tmp_path, step)
        rotate(tmp_path, keep=[step])
        load_newest(tmp_path, identity=IDENTITY)
    # Fewer may be open: what an earlier test left is closed whenever its garbage is collected.
    assert len(os.listdir("/proc/self/fd")) <= before
