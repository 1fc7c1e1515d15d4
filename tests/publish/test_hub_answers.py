"""What a person is told when the hub says no, says nothing, or is no hub; and where the token never goes."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from luthier.config.recipe import Recipe
from luthier.floor.errors import LuthierError
from luthier.floor.rundir import RunDir
from luthier.publish.stage import publish
from tests.publish.hub import READ_TOKEN, TOKEN, Handler, Site, hub_site
from tests.publish.published_run import REPO, prepared

pytestmark = pytest.mark.slow  # a tenth of a second each, and there are many
Run = tuple[Recipe, RunDir]


def refused(run: Run, **settings: object) -> LuthierError:
    with pytest.raises(LuthierError) as caught:
        publish(prepared(*run, **settings))
    assert TOKEN not in caught.value.render()
    return caught.value


def status(code: int) -> Callable[[Handler], None]:
    return lambda handler: handler.reply({"error": "because"}, status=code)


def test_an_unknown_token(run: Run, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_" + "NobodyKnowsThisTokenAtAll")
    fault = refused(run)
    assert fault.code == "hub-token"
    assert "(401)" in str(fault)
    assert "NobodyKnows" not in fault.render()
    assert "huggingface.co/settings/tokens" in fault.fix


def test_a_token_that_may_only_read(run: Run, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", READ_TOKEN)
    fault = refused(run)
    assert (fault.code, "may only read" in str(fault)) == ("hub-token", True)
    assert not site.repos


def test_no_token_at_all(run: Run, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", "/nowhere/token")
    fault = refused(run)
    assert (fault.code, site.calls) == ("hub-token", [])
    assert "hf auth login" in fault.fix


def test_an_owner_whom_the_token_may_not_write_for(run: Run, site: Site) -> None:
    fault = refused(run, repo="others/colours")
    assert (fault.code, "(403)" in str(fault)) == ("hub-refused", True)
    assert "--repo OWNER/NAME" in fault.fix


def test_a_repository_that_is_gone_at_the_commit(run: Run, site: Site) -> None:
    site.answers["POST .*/commit/"] = status(404)
    fault = refused(run)
    assert (fault.code, "(404)" in str(fault)) == ("hub-refused", True)
    assert "spelling" in fault.fix


def test_a_hub_that_is_busy_all_the_time(run: Run, site: Site) -> None:
    site.answers["POST /api/repos/create"] = status(503)
    fault = refused(run)
    assert (fault.code, "503" in str(fault)) == ("hub-busy", True)
    assert "not sent again" in fault.fix


def test_a_wait_beyond_the_hubs_windows_is_not_waited_for(run: Run, site: Site) -> None:
    site.answers["GET /api/whoami"] = lambda handler: handler.reply({}, status=429, Retry_After="86400")
    fault = refused(run)
    assert (fault.code, "86,400 s" in str(fault)) == ("hub-busy", True)


def test_a_hub_that_is_not_there(run: Run, monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    with hub_site() as gone:
        address = gone.address
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    fault = refused(run)
    assert fault.code == "env-network"
    assert fault.where == address
    assert "cannot be reached" in str(fault)


@contextmanager
def redirected(site: Site, pattern: str) -> Iterator[Site]:
    """Another host to which the hub sends on whoever asks for this."""
    with hub_site() as other:
        site.answers[pattern] = lambda handler: handler.reply(
            {}, status=307, Location=other.address + handler.path
        )
        yield other


@pytest.mark.parametrize(
    "pattern",
    ["GET /api/whoami", "POST /api/repos/create", "POST .*/objects/batch", "PUT /storage/", "POST .*/commit/", "GET .*/resolve/"],
)  # fmt: skip
def test_a_redirect_to_another_host_never_gets_the_token_or_a_file(
    run: Run, site: Site, pattern: str
) -> None:
    with redirected(site, pattern) as other:
        fault = refused(run)
        assert fault.code == "hub-answer"
        assert "redirects to" in str(fault)
        assert other.calls == []


def test_an_upload_address_of_another_host_gets_the_file_and_never_the_token(run: Run, site: Site) -> None:
    """The hub's storage lies on other hosts: its addresses are signed, and nothing else goes along."""
    seen: list[str | None] = []
    with hub_site() as storage:

        def keep(handler: Handler) -> None:
            seen.append(handler.headers.get("Authorization"))
            site.stored[handler.path.rpartition("/")[2].partition("?")[0]] = handler.body
            handler.reply({})

        storage.answers["PUT /storage/"] = keep

        def batch(handler: Handler) -> None:
            objects = [
                {
                    **wanted,
                    "actions": {"upload": {"href": f"{storage.address}/storage/{wanted['oid']}?X-Sig=1"}},
                }
                for wanted in json.loads(handler.body)["objects"]
            ]
            handler.reply({"transfer": "basic", "objects": objects})

        site.answers["POST .*/objects/batch"] = batch
        publish(prepared(*run))
    assert seen
    assert set(seen) == {None}


@pytest.mark.parametrize("pattern", ["GET .*/tree/", "POST .*/preupload/"])
def test_a_huge_answer_is_not_read_to_its_end(
    run: Run, site: Site, pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.publish.hub.MOST_ANSWER_BYTES", 2**16)
    site.add(REPO)
    for form in ("announced", "chunked"):
        sent: list[int] = []

        def endless(handler: Handler, form: str = form, sent: list[int] = sent) -> None:
            handler.send_response(200)
            header = (
                ("Content-Length", str(2**40)) if form == "announced" else ("Transfer-Encoding", "chunked")
            )
            handler.send_header(*header)
            handler.end_headers()
            handler.close_connection = True
            for _ in range(2**12):
                piece = b" " * 2**14
                handler.wfile.write(b"4000\r\n" + piece + b"\r\n" if form == "chunked" else piece)
                sent.append(len(piece))

        site.answers[pattern] = endless
        fault = refused(run)
        assert fault.code == "hub-answer"
        assert "longer than any of this kind" in str(fault)
        assert sum(sent) < 2**26, "cut off in between"


@pytest.mark.parametrize("answer", [b"<html>Login</html>", b"[]", b"{", b'{"sha": 7}', b"null"])
def test_an_answer_that_is_no_hubs(run: Run, site: Site, answer: bytes) -> None:
    site.add(REPO)
    site.answers["GET /api/models/me/colours$"] = lambda handler: handler.reply(answer)
    fault = refused(run)
    assert fault.code in ("hub-answer", "hub-refused")
    assert "Traceback" not in fault.render()


def test_a_hub_that_keeps_something_else_is_found_out(run: Run, site: Site) -> None:
    ready = prepared(*run)

    def lie(handler: Handler) -> None:
        repo = site.repos[REPO]
        files = repo.files
        if "adapter_model.safetensors" in files:
            files["adapter_model.safetensors"] = files["adapter_model.safetensors"][:-1] + b"?"
        handler._tree(repo, "main")

    site.answers["GET .*/tree/"] = lie
    with pytest.raises(LuthierError) as caught:
        publish(ready)
    assert caught.value.code == "hub-mismatch"
    assert "adapter_model.safetensors has SHA-256" in caught.value.render()
