"""Publishing to a real server on loopback: what arrives, what is not sent twice, and what failures in the middle leave."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from luthier.config.recipe import Recipe
from luthier.floor.errors import GateError, Interrupted
from luthier.floor.log import Recorder
from luthier.floor.rundir import RunDir
from luthier.floor.stop import StopFlag
from luthier.publish.stage import Prepared, publish
from luthier.reports.publish import PublishReport
from tests.publish.hub import TOKEN, Call, Fault, Site, digest, hub_site
from tests.publish.published_run import PUBLISH, REPO, prepared

pytestmark = pytest.mark.slow
Run = tuple[Recipe, RunDir]
WEIGHTS = "adapter_model.safetensors"
EVERY: tuple[Fault, ...] = (500, "reset", 429, "half", 503)


def holds_everything(site: Site, ready: Prepared) -> bool:
    files = site.repos[REPO].files
    return all(files.get(upload.path) == upload.read() for upload in ready.uploads)


def is_untouched(site: Site) -> bool:
    """Whether nobody sees anything of the publication."""
    return REPO not in site.repos or set(site.repos[REPO].files) == {".gitattributes"}


def test_one_commit_holds_every_file_and_the_report_says_so(run: Run, site: Site) -> None:
    ready = prepared(*run)
    report = publish(ready)
    repo = site.repos[REPO]
    assert repo.private
    assert len(repo.commits) == 2, "the hub's own first commit, and ours"
    assert holds_everything(site, ready)
    assert (report.commits, report.revision, report.url) == (1, repo.head, f"{site.address}/{REPO}")
    assert PublishReport.read(run[1].report("publish")) == report
    for file in report.files:
        content = repo.files[file.path]
        assert (file.bytes, file.sha256) == (len(content), digest(content))
    assert {WEIGHTS, "adapter_config.json", "tokenizer.json", "README.md", "config_used.yaml"} <= set(
        repo.files
    )


def test_a_repeated_command_sends_nothing_and_makes_no_commit(run: Run, site: Site) -> None:
    first = publish(prepared(*run))
    sent, calls = site.put_bytes, len(site.calls)
    again = publish(prepared(*run))
    assert (again.commits, again.revision) == (0, first.revision)
    assert site.put_bytes == sent
    assert not [call for call in site.calls[calls:] if call.method == "PUT" or "/commit/" in call.path]


def test_only_what_changed_is_sent_again(run: Run, site: Site) -> None:
    publish(prepared(*run))
    sent = site.put_bytes
    report = publish(prepared(*run, card={"summary": "Another word."}))
    assert site.put_bytes == sent, "the weights were there"
    assert report.commits == 1
    assert b"Another word." in site.repos[REPO].files["README.md"]


def fail_once(ready: Prepared, site: Site, number: int, fault: Fault) -> None:
    """A publication to an empty hub whose request of this number fails: it ends in one complete commit all the same."""
    site.repos.clear()
    site.stored.clear()
    site.calls.clear()
    site.faults = lambda call: fault if call.number == number else None
    report = publish(ready)
    assert holds_everything(site, ready), number
    assert len(site.repos[REPO].commits) == 2, f"one commit of ours, whatever happened to request {number}"
    assert report.revision == site.repos[REPO].head


def test_a_failure_at_any_request_ends_in_one_complete_commit(run: Run, site: Site) -> None:
    """Every third request fails, each in another way; and each request that changes something loses its answer, after it was done."""
    ready = prepared(*run)
    publish(ready)
    calls = list(site.calls)
    assert len(calls) > 10
    changing = [call.number for call in calls if call.method in ("POST", "PUT")]
    assert len(changing) > 4
    for number in range(1, len(calls) + 1, 3):
        fail_once(ready, site, number, EVERY[number // 3 % len(EVERY)])
    for number in changing:
        fail_once(ready, site, number, "lost")


def test_an_answer_that_does_not_come_is_asked_for_again(
    run: Run, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.publish.hub.SILENCE_S", 0.2)
    slow: list[Call] = []

    def once(call: Call) -> Fault:
        if call.is_a("PUT", "/storage/") and not slow:
            slow.append(call)
            return "slow"
        return None

    site.faults = once
    ready = prepared(*run)
    publish(ready)
    assert slow
    assert holds_everything(site, ready)


KILLED = """
import sys
from luthier.cli.app import run_command
sys.exit(run_command(sys.argv[1:]))
"""


def settings_on_the_line() -> list[str]:
    return [f"publish.{name}={value}".replace("'", "") for name, value in PUBLISH.items() if name != "repo"]


def test_after_kill_9_in_mid_upload_the_same_command_sends_only_the_rest(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub_site() as site:
        seen: list[Call] = []

        def hang_at_the_second(call: Call) -> Fault:
            if call.is_a("PUT", "/storage/"):
                seen.append(call)
                if len(seen) == 2:
                    time.sleep(5)
                    return "reset"
            return None

        site.faults = hang_at_the_second
        words = [
            "publish",
            *settings_on_the_line(),
            "--run",
            str(run[1].path),
            "--repo",
            REPO,
            "--yes",
            "--json",
        ]
        environment = {
            **os.environ, "HF_ENDPOINT": site.address, "HF_HUB_OFFLINE": "0", "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        command = [sys.executable, "-c", KILLED, *words]
        first = subprocess.Popen(
            command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        deadline = time.monotonic() + 60
        while len(seen) < 2 and time.monotonic() < deadline and first.poll() is None:
            time.sleep(0.02)
        first.send_signal(signal.SIGKILL)
        _, told = first.communicate(timeout=30)
        assert len(seen) == 2, told.decode()
        assert first.returncode == -signal.SIGKILL
        assert is_untouched(site)
        arrived = set(site.stored)
        assert len(arrived) == 1

        site.faults = lambda call: None
        before = len(site.calls)
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        puts = [call.path for call in site.calls[before:] if call.method == "PUT"]
        assert len(puts) == 1, "what had arrived is not sent again"
        assert not [path for path in puts if path.removeprefix("/storage/") in arrived]
        report = json.loads(done.stdout)
        assert report["revision"] == site.repos[REPO].head
        assert len(site.repos[REPO].commits) == 2
        assert TOKEN not in done.stdout + done.stderr


def test_ctrl_c_in_mid_upload_leaves_nothing_to_be_seen_and_is_gone_on_from(run: Run, site: Site) -> None:
    stop = StopFlag()

    def stop_at_a_file(call: Call) -> Fault:
        if call.is_a("PUT", "/storage/"):
            stop.set(signal.SIGINT)
        return None

    site.faults = stop_at_a_file
    ready = prepared(*run)
    with pytest.raises(Interrupted):
        publish(ready, stop=stop)
    assert is_untouched(site)
    site.faults = lambda call: None
    publish(ready)
    assert holds_everything(site, ready)


def test_other_files_of_the_repository_are_told_and_kept(run: Run, site: Site) -> None:
    site.add(REPO, files={"pytorch_model.bin": b"old", "notes.txt": b"mine"})
    listener = Recorder()
    report = publish(prepared(*run), listener=listener)
    assert report.files_kept == ["notes.txt", "pytorch_model.bin"]
    assert site.repos[REPO].files["notes.txt"] == b"mine"
    assert any("keeping 2 other files" in line and "notes.txt" in line for line in listener.warnings)


def test_other_files_go_in_the_same_commit_if_the_recipe_says_so(run: Run, site: Site) -> None:
    site.add(REPO, files={"notes.txt": b"mine"})
    listener = Recorder()
    report = publish(prepared(*run, others="delete"), listener=listener)
    repo = site.repos[REPO]
    assert report.files_deleted == ["notes.txt"]
    assert "notes.txt" not in repo.files
    assert ".gitattributes" in repo.files
    assert len(repo.commits) == 2
    assert any("deleting 1 other files" in line for line in listener.warnings)


def test_a_public_repository_is_written_to_only_if_that_is_said(run: Run, site: Site) -> None:
    site.add(REPO, private=False)
    with pytest.raises(GateError) as caught:
        publish(prepared(*run))
    assert caught.value.code == "publish-public"
    assert "--public" in caught.value.fix
    assert is_untouched(site)
    assert not site.stored
    assert not publish(prepared(*run, private=False)).private


def test_progress_counts_the_bytes_that_left(run: Run, site: Site) -> None:
    class Counting(Recorder):
        def __init__(self) -> None:
            super().__init__()
            self.done: list[int] = []

        def progress(self, label: str, done: int, total: int, detail: str = "") -> None:
            if label.startswith("uploading"):
                self.done.append(done)

    listener = Counting()
    report = publish(prepared(*run), listener=listener)
    assert listener.done == sorted(listener.done)
    assert listener.done[-1] >= (run[1].model / WEIGHTS).stat().st_size
    assert report.bytes_sent >= listener.done[-1]


def test_the_token_is_in_no_file_and_in_nothing_said(run: Run, site: Site) -> None:
    site.answers["POST .*/commit/"] = lambda handler: handler.reply(
        {"error": handler.headers["Authorization"]}, status=403
    )
    listener = Recorder()
    with pytest.raises(Exception, match="the hub refuses the commit") as caught:
        publish(prepared(*run), listener=listener)
    said = "\n".join([*listener.lines, *listener.warnings, caught.value.render()])  # type: ignore[attr-defined]
    assert TOKEN not in said
    site.answers.clear()
    publish(prepared(*run), listener=listener)
    assert TOKEN not in "\n".join([*listener.lines, *listener.warnings])
    files = [path for path in run[1].path.rglob("*") if path.is_file()]
    assert len(files) > 8
    assert not [path for path in files if TOKEN.encode() in path.read_bytes()]
    assert not [body for body in site.bodies if TOKEN.encode() in body], "it travels in one header only"
