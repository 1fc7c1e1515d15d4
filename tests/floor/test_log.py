"""What stages tell goes to whoever listens, and to nobody else."""

import pytest

from luthier.floor.log import Listener, Recorder, Silent


@pytest.mark.parametrize("kind", [Silent, Recorder])
def test_no_listener_of_the_floor_writes_to_the_terminal(
    capfd: pytest.CaptureFixture[str], kind: type[Silent]
) -> None:
    listener: Listener = kind()
    listener.say("a fact")
    listener.warn("a doubt")
    listener.progress("training", 1, 2, "loss 1.0")
    assert capfd.readouterr() == ("", "")


def test_a_recorder_keeps_facts_and_warnings_apart() -> None:
    recorder = Recorder()
    recorder.say("a fact")
    recorder.warn("a doubt")
    assert (recorder.lines, recorder.warnings) == (["a fact"], ["a doubt"])
