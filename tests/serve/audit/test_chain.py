"""The audit log's chain: any edit, removal, exchange or insertion is found, and a server that is killed breaks nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.floor.errors import DataError, EnvironmentFault
from luthier.serve.audit.log import AuditLog, anchor_path
from luthier.serve.audit.record import Anchor, make_line, read_line
from luthier.serve.audit.verify import verify_audit

pytestmark = pytest.mark.slow
RECORDS = 8


def write_log(path: Path, records: int = RECORDS) -> list[bytes]:
    with AuditLog(path) as log:
        for number in range(records):
            log.append("asked", {"id": f"chatcmpl-{number}", "key": "shöp", "note": "\ud800 \n \u2028"})
    return path.read_bytes().splitlines(keepends=True)


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return write_log(tmp_path_factory.mktemp("log") / "audit.jsonl")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("changed") / "audit.jsonl"


def broken_line(path: Path, changed: bytes) -> int | None:
    path.write_bytes(changed)
    return verify_audit(path).broken_line


def test_a_log_that_nobody_touched_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    lines = write_log(path)
    report = verify_audit(path)
    assert (report.records, report.broken_line, report.cuts) == (RECORDS, None, 0)
    assert report.events == {"asked": RECORDS}
    assert report.last_hash == json.loads(lines[-1])["hash"]
    assert report.anchors == [f"{RECORDS}:{report.last_hash}"]
    assert path.stat().st_mode & 0o777 == anchor_path(path).stat().st_mode & 0o777 == 0o600


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_single_byte_changed_put_in_or_taken_out_is_found(
    lines: list[bytes], place: Path, data: st.DataObject
) -> None:
    whole = b"".join(lines)
    at = data.draw(st.integers(0, len(whole) - 1))
    new = bytes(data.draw(st.lists(st.integers(0, 255), max_size=3)))
    kept = data.draw(st.integers(0, 1))
    changed = whole[:at] + new + whole[at + 1 - kept :]
    found = broken_line(place, changed)
    if changed == whole:
        assert found is None
    else:
        line = whole[:at].count(b"\n") + 1
        # A newline taken away or put in moves the first wrong line by one at most.
        assert found is not None
        assert abs(found - line) <= 1


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_line_removed_exchanged_repeated_or_moved_is_found(
    lines: list[bytes], place: Path, data: st.DataObject
) -> None:
    changed = list(lines)
    at, to = data.draw(st.integers(0, RECORDS - 2)), data.draw(st.integers(0, RECORDS - 1))
    kind = data.draw(st.sampled_from(("remove", "exchange", "repeat", "move")))
    if kind == "remove":
        del changed[at]
    elif kind == "exchange":
        changed[at], changed[to] = changed[to], changed[at]
    elif kind == "repeat":
        changed.insert(to, changed[at])
    else:
        changed.insert(to, changed.pop(at))
    first = next((n for n, (one, two) in enumerate(zip(changed, lines, strict=False), 1) if one != two), None)
    assert broken_line(place, b"".join(changed)) == (first or (None if changed == lines else RECORDS + 1))


def test_a_record_that_is_forged_with_a_right_hash_of_its_own_is_found(
    lines: list[bytes], place: Path
) -> None:
    before = read_line(lines[2])
    assert before is not None
    forged, _ = make_line(Anchor(3, before["hash"]), time="t", event="asked", facts={"id": "other"})
    assert broken_line(place, b"".join([*lines[:3], forged, *lines[4:]])) == 5
    assert broken_line(place, b"".join([*lines[:3], forged, *lines[3:]])) == 5


def test_an_end_that_is_cut_off_is_found_by_the_anchor_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    lines = write_log(path)
    path.write_bytes(b"".join(lines[:-1]))
    report = verify_audit(path)
    assert report.broken_line == RECORDS
    assert "its end was cut off" in str(report.broken_why)
    with pytest.raises(EnvironmentFault, match="its anchor names record 8"):
        AuditLog(path)


def test_an_end_that_is_cut_off_is_found_by_an_anchor_that_was_kept_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    lines = write_log(path)
    anchor = Anchor.parse(verify_audit(path).anchors[0])
    anchor_path(path).unlink()
    path.write_bytes(b"".join(lines[:-3]))
    assert verify_audit(path).broken_line is None, "the log alone cannot tell"
    assert verify_audit(path, anchors=[anchor]).broken_line == RECORDS - 2
    # Whoever writes another end with right hashes is found by it, too.
    path.unlink()
    write_log(path)
    assert verify_audit(path, anchors=[anchor]).broken_line == RECORDS


@pytest.mark.parametrize("kept", [1, 40, 200, -2])
@pytest.mark.parametrize("records", [1, RECORDS])
def test_a_cut_last_line_is_noted_and_the_chain_goes_on(tmp_path: Path, kept: int, records: int) -> None:
    path = tmp_path / "audit.jsonl"
    lines = write_log(path, records)
    anchor_path(path).unlink()  # as a kill leaves it before the first sync
    path.write_bytes(b"".join([*lines[:-1], lines[-1][:kept]]))
    assert verify_audit(path).broken_line == records, "until a server goes on with it"
    with AuditLog(path) as log:
        log.append("asked", {"id": "after"})
    report = verify_audit(path)
    assert (report.broken_line, report.cuts, report.records) == (None, 1, records + 1)
    note = json.loads(path.read_bytes().splitlines()[records])
    assert (note["event"], note["cut_bytes"]) == ("cut", len(lines[-1][:kept]))
    # What was cut is under the chain's protection as well.
    changed = path.read_bytes().replace(
        lines[-1][:kept] + b"\n", lines[-1][: kept - 1] + b"?\n" if kept > 1 else b"?\n"
    )
    assert broken_line(path, changed) == records


def test_a_record_that_lacks_its_newline_only_is_a_record(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    lines = write_log(path)
    anchor_path(path).unlink()
    path.write_bytes(b"".join(lines)[:-1])
    AuditLog(path).close()
    assert path.read_bytes() == b"".join(lines)
    assert verify_audit(path).cuts == 0


def test_a_note_that_was_itself_cut_is_noted_with_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    lines = write_log(path)
    anchor_path(path).unlink()
    for torn in (b"\n" + lines[0][:30], b"\n"):
        path.write_bytes(b"".join([*lines[:-1], lines[-1][:50], torn]))
        AuditLog(path).close()
        assert verify_audit(path).broken_line is None
        anchor_path(path).unlink()


def test_a_full_disk_cuts_a_line_and_the_chain_goes_on_once_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.jsonl"
    write = os.write
    with AuditLog(path) as log:
        log.append("asked", {"id": "1"})
        room = [25]

        def write_while_there_is_room(file: int, text: bytes) -> int:
            if not room[0]:
                raise OSError(28, "No space left on device")
            written = write(file, text[: room[0]])
            room[0] -= written
            return written

        monkeypatch.setattr(os, "write", write_while_there_is_room)
        for _ in range(3):
            with pytest.raises(EnvironmentFault, match="No space left"):
                log.append("asked", {"id": "2"})
        room[0] = 60  # enough for the newline and a part of the note
        with pytest.raises(EnvironmentFault):
            log.append("asked", {"id": "2"})
        monkeypatch.undo()
        log.append("asked", {"id": "2"})
    report = verify_audit(path)
    assert (report.broken_line, report.events) == (None, {"asked": 2, "cut": 1})


def test_two_servers_do_not_write_one_log(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    with AuditLog(path), pytest.raises(EnvironmentFault, match="another server"):
        AuditLog(path)
    AuditLog(path).close()


def test_what_is_no_log_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    for text in (b"Dear diary\n", b"\x00" * 3000, b'{"seq":2,"time":"x"}\n'):
        path.write_bytes(text)
        with pytest.raises(EnvironmentFault, match="does not end in a record"):
            AuditLog(path)
        assert path.read_bytes() == text
        assert verify_audit(path).broken_line == 1
    (tmp_path / "link").symlink_to(path)
    os.mkfifo(tmp_path / "pipe")
    for other in (tmp_path, tmp_path / "link", tmp_path / "pipe"):
        with pytest.raises(EnvironmentFault):
            AuditLog(other)
    for missing in (tmp_path / "none", tmp_path):
        with pytest.raises(DataError):
            verify_audit(missing)


KILLED = """
import sys
from pathlib import Path
from luthier.serve.audit.log import AuditLog
log = AuditLog(Path(sys.argv[1]))
number = 0
while True:
    number += 1
    log.append("asked", {"id": number, "filler": "x" * 500})
    print(number, flush=True)
"""


def test_a_kill_loses_no_record_that_was_written(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    for kill in (1, 2):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.15)
        process.send_signal(signal.SIGKILL)
        told = len(process.stdout.read().splitlines())
        process.wait()
        process.stdout.close()
        AuditLog(path).close()
        report = verify_audit(path)
        assert report.broken_line is None
        assert report.events["asked"] >= told * kill / 2
