"""HTTP on this machine's own address: the form, the looks and their pages. Nothing here asks anything of a network."""

import logging
import socket
import traceback
from base64 import b64encode
from importlib.util import find_spec
from io import BytesIO
from typing import TYPE_CHECKING, Any

from visionflow.app import asking
from visionflow.app.offers import offers
from visionflow.app.session import Session
from visionflow.errors import VisionFlowError
from visionflow.report.look import page as look_page

if TYPE_CHECKING:
    from flask import Flask

HOST = "127.0.0.1"

_FORM_MAY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "frame-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
_PAGE_MAY = "sandbox allow-scripts; frame-ancestors 'self'"  # beside what the page forbids itself
_HEADERS = {
    "Content-Security-Policy": _FORM_MAY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def check_flask() -> None:
    """Refuse to go on without Flask, which only the app needs.

    Raises:
        VisionFlowError: it is not installed.
    """
    if find_spec("flask") is None:
        raise VisionFlowError("the app needs the package flask: pip install 'visionflow[app]'")


def app_of(session: Session) -> "Flask":
    """The app as WSGI servers and Flask's test client take it."""
    import flask

    app = flask.Flask(__name__, static_folder="page", static_url_path="/page")
    app.config.update(MAX_CONTENT_LENGTH=asking.MOST_BYTES, TRUSTED_HOSTS=[HOST, "localhost"])
    app.json.sort_keys = False
    offered = offers(session.loaded)

    def front() -> Any:
        return app.send_static_file("app.html")

    def style() -> Any:
        return flask.Response(look_page.style(), mimetype="text/css")

    def elements() -> Any:
        return flask.Response(look_page.elements(), mimetype="text/javascript")

    def ask() -> Any:
        asked = asking.read(flask.request.form, _files("picture"), _files("plan"))
        return session.look(asked).told()

    def page(number: int) -> Any:
        return flask.Response(session.page(number), headers={"Content-Security-Policy": _PAGE_MAY})

    for address, name, method, view in (
        ("/", "front", "GET", front),
        ("/look.css", "style", "GET", style),
        ("/elements.js", "elements", "GET", elements),
        ("/offers", "offers", "GET", lambda: offered),
        ("/scenes/<int:number>", "scene", "GET", _scene),
        ("/step", "step", "GET", lambda: {"step": session.step}),
        ("/looks", "looks", "GET", lambda: [each.told() for each in session.looked]),
        ("/looks", "ask", "POST", ask),
        ("/looks/<int:number>", "page", "GET", page),
    ):
        app.add_url_rule(address, name, view, methods=[method])
    app.before_request(_refuse_strangers)
    app.after_request(_guarded)
    app.register_error_handler(Exception, _refused)
    return app


def server_of(session: Session, port: int) -> Any:
    """A server that listens on this machine's own address, and nowhere else; `serve_forever` has it answer.

    Args:
        session: whose app it is.
        port: where; 0 for any that is free, which is then its `port`.

    Raises:
        VisionFlowError: the port cannot be had.
    """
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # not a line for each request
    try:
        listening = socket.create_server((HOST, port))  # werkzeug's own would end the process
    except OSError as error:
        raise VisionFlowError(
            f"cannot listen on port {port} ({error.strerror}): choose another --port, or 0 for any that is free"
        ) from error
    with listening:
        return make_server(HOST, port, app_of(session), threaded=True, fd=listening.fileno())


def _scene(number: int) -> dict[str, str]:
    """A drawn scene and a question about it, which the embedded model was trained for."""
    from visionflow.scenes import draw, sample_item

    scene, item = sample_item("open", "test", number)
    content = BytesIO()
    draw(scene).save(content, "PNG")
    return {"picture": f"data:image/png;base64,{b64encode(content.getvalue()).decode()}", "question": item.prompt}


def _files(name: str) -> list[tuple[str, bytes]]:
    import flask

    return [(each.filename or "", each.read()) for each in flask.request.files.getlist(name) if each.filename]


def _refuse_strangers() -> None:
    """A page of another site may not use the app from the browser that it is open in."""
    import flask

    asked = flask.request
    if asked.origin and asked.origin != asked.host_url.rstrip("/"):
        flask.abort(403, "another site may not use this app")


def _guarded(response: Any) -> Any:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _refused(error: Exception) -> Any:
    """What went wrong, in a sentence."""
    from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

    if isinstance(error, VisionFlowError):
        return {"error": str(error)}, 400
    if isinstance(error, RequestEntityTooLarge):
        return {"error": f"this is more than {asking.MOST_BYTES // 2**20} MiB in all: make the pictures smaller"}, 413
    if isinstance(error, HTTPException):
        return {"error": error.description or error.name}, error.code or 500
    traceback.print_exception(error)
    return {"error": f"unexpected {type(error).__name__}: {' '.join(str(error).split())}; the terminal has more"}, 500
