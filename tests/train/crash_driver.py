"""Imports torch once, then forks a child for every line on stdin, so that strace can attach to it before it works.

A line is JSON: {"action": "save" | "load", "root": folder, "mutant": name or ""}. The child stops itself, and works once it is
continued; its exit status says how it ended. Answers, one a line: the child's pid, then its wait status.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch

from luthier.floor import files
from luthier.floor.errors import LuthierError
from luthier.train import checkpoint, manifest, tensor_file

IDENTITY = {"base": "abc"}


def tensors_of(step: int) -> dict[str, dict[str, torch.Tensor]]:
    """State whose every number says which step it is of; large enough for more than one write."""
    return {
        "weights": {"a": torch.full((64, 33), float(step)), "b": torch.full((512, 530), -float(step))},
        "optimizer": {"a.exp_avg": torch.full((64, 33), step / 3), "a.step": torch.tensor(float(step))},
    }


def save(root: Path, step: int) -> None:
    facts = {"identity": IDENTITY, "progress": {"step": step}}
    checkpoint.save_checkpoint(root, step=step, tensors=tensors_of(step), facts=facts)


def save_and_rotate(root: Path) -> None:
    """What training does after step 3: save, and delete what is no longer wanted."""
    save(root, 3)
    checkpoint.rotate(root, keep=[2, 3])


def load(root: Path) -> None:
    checkpoint.load_newest(root, identity=IDENTITY)


def mutate(name: str) -> None:
    """Break the saver in one way; the tests must notice each."""
    if name == "files are not synced":
        tensor_file.sync_file = manifest.sync_file = lambda path: None
    elif name == "folder is not synced":
        checkpoint.sync_folder = lambda path: None
    elif name == "written in place":
        checkpoint.TEMPORARY_PREFIX = ""
    elif name == "pointer first":
        rename = os.rename

        def point_and_rename(old: Path, new: Path) -> None:
            if new.name.startswith("step-"):
                files.replace_symlink(new.parent / "newest", new.name)
            rename(old, new)

        checkpoint.os.rename = point_and_rename
    elif name == "deleted under its own name":
        checkpoint.rotate = lambda root, keep: [
            checkpoint.shutil.rmtree(folder)
            for folder in checkpoint.list_checkpoints(root)
            if checkpoint.step_of(folder) not in keep
        ]
    else:
        assert name == "", f"there is no mutant {name!r}"


def work(request: dict[str, str]) -> int:
    """The child's exit status: 0 done, else the exit code of the error that was raised."""
    mutate(request["mutant"])
    os.kill(os.getpid(), signal.SIGSTOP)
    try:
        {"save": save_and_rotate, "load": load}[request["action"]](Path(request["root"]))
    except LuthierError as fault:
        return fault.exit_code
    return 0


def answer(line: str | int) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    torch.set_num_threads(1)
    # Warm: nothing is imported or allocated for the first time inside a traced child.
    save(Path(sys.argv[1]), 1)
    answer("ready")
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os._exit(work(json.loads(line)))
        answer(pid)
        answer(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    main()
