"""Each kind of message of an export: kept as it was seen, or left out for the reason that names its kind."""

from typing import Any

import pytest

from luthier.data.convert.chatgpt_message import Said, read_message
from luthier.text.dialects.turns import Choices
from tests.data.convert.converting import message

DROP, AS_TEXT = Choices(), Choices(tools="text")
IMAGE = {"content_type": "image_asset_pointer", "asset_pointer": "file:///etc/passwd"}


def content(kind: str, **fields: Any) -> dict[str, Any]:
    return {"content": {"content_type": kind, **fields}}


HIDDEN = {"metadata": {"is_visually_hidden_from_conversation": True}}
ABOUT = {
    **HIDDEN,
    **content("user_editable_context", user_profile="I am Sam.", user_instructions="Be brief."),
}


@pytest.mark.parametrize(
    "value, reason",
    [
        (None, "no message in the node"),
        ("text", "no message in the node"),
        (message("user", "x", **HIDDEN), "hidden from the conversation"),
        (message("user", "x", **ABOUT), "custom instructions"),
        (message("system", "x", metadata={"is_user_system_message": True}), "custom instructions"),
        (message("assistant", "x", weight=0), "weight 0"),
        (message("assistant", "x", **content("thoughts", thoughts=[{"content": "hm"}])), "reasoning"),
        (message("assistant", "x", **content("reasoning_recap", content="Thought")), "reasoning"),
        (message("assistant", "x", channel="analysis"), "reasoning"),
        (message("assistant", "x", recipient="browser"), "tool call"),
        (message("assistant", "x", recipient="python", **content("code", text="1+1")), "tool call"),
        (message("tool", "x"), "tool output"),
        (message("assistant", "x", **content("execution_output", text="2")), "tool output"),
        (message("gremlin", "x"), "speaker not known"),
        (message("user", "x", author=None), "speaker not known"),
        (message("user", "x", **content("brand_new", parts=["x"])), "kind of content not known"),
        (message("user", ""), "empty"),
        (message("system", " \n"), "empty"),
        (message("user", "x", **content("multimodal_text", parts=[IMAGE])), "only an image, sound or file"),
    ],
)
def test_a_message_is_left_out_for_its_reason(value: Any, reason: str) -> None:
    assert read_message(value, DROP) == reason


def test_parts_of_a_text_are_put_together_as_they_were() -> None:
    parts = content("text", parts=["left by ", "a quarter."])
    assert read_message(message("assistant", "", **parts), DROP) == Said("assistant", "left by a quarter.")


def test_speech_is_kept_and_pictures_are_counted() -> None:
    heard = {"content_type": "audio_transcription", "text": "draw a kite"}
    found = read_message(message("user", "", **content("multimodal_text", parts=[IMAGE, heard, "red"])), DROP)
    assert found == Said("user", "draw a kite\nred", ("image, sound or file left out of a message",))


@pytest.mark.parametrize(
    "text, expected",
    [
        ("-2 °C【0†source】.", "-2 °C."),
        ("a【12:3†x.pdf】b【4†y】", "ab"),
        ("seen \ue200cite\ue202turn0search1\ue201here", "seen here"),
        ("a stray \ue202 mark", "a stray  mark"),
        ("【a title】 stays", "【a title】 stays"),
    ],
)
def test_citation_marks_go_from_answers(text: str, expected: str) -> None:
    found = read_message(message("assistant", text), DROP)
    assert isinstance(found, Said)
    assert found.text == expected
    assert bool(found.notes) == (text != expected)
    assert read_message(message("user", text), DROP) == Said("user", text), "a user's text is theirs"


def test_what_was_asked_for_is_kept() -> None:
    assert read_message(message("user", "x", **HIDDEN), Choices(keep=frozenset({"hidden"}))) == Said(
        "user", "x"
    )
    asked = Choices(keep=frozenset({"instructions"}))
    assert read_message(message("user", "", **ABOUT), asked) == Said("system", "I am Sam.\n\nBe brief.")
    told = {"is_user_system_message": True, "user_context_message_data": {"about_model_message": "Short."}}
    assert read_message(message("system", "", metadata=told), asked) == Said("system", "Short.")


def test_tools_become_text_on_request() -> None:
    call = message("assistant", "", recipient="python", **content("code", text='print("2")'))
    assert read_message(call, AS_TEXT) == Said("call", '{"name": "python", "arguments": "print(\\"2\\")"}')
    assert read_message(message("tool", "2"), AS_TEXT) == Said("tool", "2")
    browsed = message("tool", "", **content("tether_browsing_display", result="# Oslo", summary=None))
    assert read_message(browsed, AS_TEXT) == Said("tool", "# Oslo")
