"""The app over HTTP: what it answers, whom it refuses, what it lets a page do."""

from io import BytesIO
from typing import Any

import pytest

from tests.app.test_session import FORM, PICTURE
from visionflow import VisionFlowError
from visionflow.app import asking
from visionflow.app.server import app_of, server_of
from visionflow.app.session import Session


@pytest.fixture
def client(session: Session) -> Any:
    return app_of(session).test_client()


def sent(**more: str) -> dict[str, Any]:
    return {"data": {**FORM, **more, "picture": (BytesIO(PICTURE[0][1]), "wide.png")}}


def test_a_look_is_made_listed_and_shown(client: Any) -> None:
    made = client.post("/looks", **sent(method="dense"))
    assert (made.status_code, made.json["number"], list(made.json["answers"])) == (200, 1, ["dense"])
    assert client.get("/looks").json == [made.json]
    page = client.get("/looks/1")
    assert page.text.startswith("<!doctype html>")
    assert page.headers["Content-Security-Policy"] == "sandbox allow-scripts; frame-ancestors 'self'"
    assert client.get("/step").json == {"step": ""}


def test_the_form_and_what_it_is_made_of(client: Any) -> None:
    front = client.get("/")
    assert front.mimetype == "text/html"
    assert "default-src 'none'" in front.headers["Content-Security-Policy"]
    assert client.get("/look.css").mimetype == client.get("/page/app.css").mimetype == "text/css"
    assert client.get("/elements.js").mimetype == client.get("/page/app.js").mimetype == "text/javascript"
    assert client.get("/offers").json["model"]["name"] == "tiny"
    scene = client.get("/scenes/3").json
    assert scene["picture"].startswith("data:image/png;base64,")
    assert scene["question"].endswith("?") or scene["question"]


def test_errors_are_sentences(client: Any, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = client.post("/looks", data={"question": "w12"})
    assert (refused.status_code, refused.json) == (400, {"error": "there is no picture: drop one, or choose a file"})
    assert client.get("/looks/9").json["error"].startswith("look 9 is not there")
    monkeypatch.setattr(session, "look", lambda asked: 1 / 0)
    broken = client.post("/looks", **sent())
    assert broken.status_code == 500
    assert broken.json["error"] == "unexpected ZeroDivisionError: division by zero; the terminal has more"


def test_too_many_bytes_are_refused(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "MOST_BYTES", 1000)
    refused = app_of(session).test_client().post("/looks", **sent(question="w12 " * 300))
    assert refused.status_code == 413
    assert refused.json["error"].endswith("MiB in all: make the pictures smaller")


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Host": "elsewhere.example"}, 400),
        ({"Origin": "http://elsewhere.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost"}, 200),
    ],
    ids=["host", "origin", "sandboxed", "own"],
)
def test_other_sites_are_refused(client: Any, headers: dict[str, str], code: int) -> None:
    answer = client.get("/offers", headers=headers)
    assert answer.status_code == code
    assert ("error" in answer.json) == (code != 200)


def test_a_port_that_is_taken_is_named(session: Session) -> None:
    with server_of(session, 0) as server:
        assert server.server_address[0] == "127.0.0.1"
        with pytest.raises(
            VisionFlowError, match=rf"cannot listen on port {server.port} \(.+\): choose another --port"
        ):
            server_of(session, server.port)
