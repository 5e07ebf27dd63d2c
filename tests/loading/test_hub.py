"""A Hub that does not answer is asked once, for a bounded time; what its cache holds is loaded without it."""

import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError

from tests.tiny_processor import save_tiny
from visionflow.cost import load_shape
from visionflow.errors import VisionFlowError
from visionflow.loading import waiting
from visionflow.loading.hub import place_of
from visionflow.loading.models import load_model

REFUSED = r"cannot load the model owner/name: there is no such directory, and nothing came from the Hub \({}"


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[socket.socket]:
    """The Hub is a server that takes connections and never answers, and its cache is empty."""
    server = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", constants.ENDPOINT + "/{repo_id}/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.2)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with server:
        yield server


def test_a_hub_that_never_answers_is_given_up(
    nobody: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(waiting, "_PATIENCE_S", 0.1)
    for load in (place_of, load_model, load_shape):
        caplog.clear()
        with pytest.raises(VisionFlowError, match=REFUSED.format("")) as caught:
            load("owner/name")
        assert "\n" not in str(caught.value)
        assert f"asking {constants.ENDPOINT} for owner/name (0.2 s at most)" in caplog.messages


def test_a_hub_that_is_not_there_is_asked_once(
    nobody: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = []

    def refuse(url: str, **_: object) -> None:
        asked.append(url)
        raise ConnectionRefusedError("connection refused")

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", refuse)
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 60)
    with pytest.raises(VisionFlowError, match=REFUSED.format("connection refused")):
        load_model("owner/name")
    assert len(asked) == 1
    assert not [said for said in caplog.records if said.levelno >= logging.WARNING]


def test_a_busy_hub_is_left_to_its_client(
    nobody: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def busy(url: str, **_: object) -> None:
        raise HfHubHTTPError("503 Server Error", response=SimpleNamespace(status_code=503, headers={}, request=None))

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", busy)
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 60)
    assert place_of("owner/name") == "owner/name"
    assert "the Hub is busy (503 Server Error): it is asked again" in caplog.text


def test_what_the_cache_holds_is_loaded_without_the_hub(nobody: socket.socket, tmp_path: Path) -> None:
    repo = tmp_path / "cache" / "models--owner--name"
    save_tiny(repo / "snapshots" / "0123abc")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("0123abc")
    assert place_of("owner/name") == str(repo / "snapshots" / "0123abc")
    assert load_model("owner/name").name == "owner/name"
    assert load_shape("owner/name").num_layers


def test_a_directory_needs_no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", None)
    assert place_of(str(tmp_path)) == str(tmp_path)
