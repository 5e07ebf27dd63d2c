"""A server is left alone only when it was seen to prune; here one of our own plays its part."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import PackageNotFoundError
from typing import Any

import psutil
import pytest

from visionflow.cli import main
from visionflow.errors import VisionFlowError
from visionflow.serving import launch, versions
from visionflow.serving.launch import Address

NO_VLLM = "vLLM is not installed here"


class Fake(HTTPServer):
    """Answers as vLLM does, and counts as the plug-in does.

    Attributes:
        counts: the outcome under which it counts a question about a picture; None where no plug-in is in it.
        cuts: its model counts what it cuts.
        asked: what it was asked.
    """

    counts: str | None = "pruned"
    cuts = True
    status = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[Any] = []


class _Handler(BaseHTTPRequestHandler):
    server: Fake

    def do_GET(self) -> None:
        pages = {
            "/health": "",
            "/v1/models": json.dumps({"data": [{"id": "tiny"}]}),
            "/metrics": self._metrics(),
        }
        self._say(pages[self.path])

    def do_POST(self) -> None:
        self.server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self._say("{}" if self.server.status == 200 else "no template", self.server.status)

    def _metrics(self) -> str:
        if self.server.counts is None or not self.server.asked:
            return "vllm:other 1.0\n"
        return (
            f'visionflow:requests_total{{outcome="{self.server.counts}"}} {len(self.server.asked)}.0\n'
            f"visionflow:prompts_cut_total {len(self.server.asked) if self.server.cuts else 0}.0\n"
            "visionflow:image_tokens_total 16.0\nvisionflow:image_tokens_kept_total 2.0\n"
        )

    def _say(self, text: str, status: int = 200) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[Fake]:
    """It runs."""
    fake = Fake()
    threading.Thread(target=fake.serve_forever, daemon=True).start()
    yield fake
    fake.shutdown()
    fake.server_close()


def address(server: Fake) -> Address:
    return Address.of(["--port", str(server.server_port)])


def test_a_server_that_prunes_is_left_alone(server: Fake) -> None:
    assert "2 of 16 image tokens" in launch.check_pruning(address(server))
    picture, question = server.asked[0]["messages"][0]["content"]
    assert picture["image_url"]["url"].startswith("data:image/png;base64,")
    assert question["text"]


@pytest.mark.parametrize(
    ("counts", "why"),
    [
        ("too_long", 'outcome="too_long"'),
        ("pruned", 'outcome="pruned"'),  # so it was planned
        (None, "no metrics of visionflow"),
    ],
)
def test_a_server_that_answers_dense_is_found_out(server: Fake, counts: str | None, why: str) -> None:
    server.counts, server.cuts = counts, False
    with pytest.raises(VisionFlowError, match=why):
        launch.check_pruning(address(server))


def test_a_server_that_takes_no_pictures_is_found_out(server: Fake) -> None:
    server.status = 400
    with pytest.raises(VisionFlowError, match="no template"):
        launch.check_pruning(address(server))


def test_a_dense_server_is_stopped(server: Fake) -> None:
    server.counts = None
    waits = [sys.executable, "-c", "import time; time.sleep(600)"]
    with pytest.raises(VisionFlowError, match="dense"):
        launch.serve(waits, address(server), print, check=True)


@pytest.mark.slow
def test_the_server_ends_when_the_command_is_told_to() -> None:
    waits = "[sys.executable, '-c', 'import os, time; print(os.getpid(), flush=True); time.sleep(600)']"
    serves = f"launch.serve({waits}, launch.Address.of(['--port', '9']), print, check=False)"
    code = f"import sys; from visionflow.serving import launch; {serves}"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as command:
        assert command.stdout is not None
        server = int(command.stdout.readline())
        command.terminate()
        assert command.wait(60) == 128 + signal.SIGTERM
        assert not psutil.pid_exists(server)


def test_the_exit_code_is_the_servers() -> None:
    ends = [sys.executable, "-c", "import os, sys; sys.exit(3 if os.environ['PROMETHEUS_MULTIPROC_DIR'] else 0)"]
    assert launch.serve(ends, Address.of(["--port", "9"]), print, check=True) == 3


def test_the_address_is_the_one_that_vllm_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    assert Address.of([]) == Address("http://127.0.0.1:8000", None)
    given = Address.of(["--host", "0.0.0.0", "--port=81", "--api-key", "a", "b", "--seed", "1"])
    assert given == Address("http://127.0.0.1:81", "a")


def test_the_settings_go_to_vllm_as_json() -> None:
    called = launch.command("MODEL", {"method": {"name": "fastv", "k": 2, "r": 0.5}}, ["--seed", "1"])
    assert called[1:5] == ["-m", "visionflow.serving.vllm", "--model", "MODEL"]
    assert json.loads(called[called.index("--additional-config") + 1])["visionflow"]["method"]["name"] == "fastv"
    assert called[-2:] == ["--seed", "1"]
    assert launch.FOLLOWING not in called


@pytest.mark.parametrize("settings", [{"report": True}, {"shadow": 0.1}], ids=["report", "shadow"])
def test_who_reports_or_compares_follows_each_request(settings: dict[str, Any]) -> None:
    called = launch.command("MODEL", {"method": "fastv"} | settings, [])
    assert called[called.index("--middleware") + 1] == launch.FOLLOWING


@pytest.mark.parametrize(
    ("found", "why"), [("0.31.0", "up to, and without, 0.34"), ("0.34.1", "0.34.1"), (None, NO_VLLM)]
)
def test_other_versions_of_vllm_are_refused(monkeypatch: pytest.MonkeyPatch, found: str | None, why: str) -> None:
    def version(name: str) -> str:
        if found is None:
            raise PackageNotFoundError(name)
        return found

    monkeypatch.setattr(versions, "version", version)
    with pytest.raises(VisionFlowError, match=why):
        versions.check_version()


def test_a_plugin_that_vllm_would_leave_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    named = type("Entry", (), {"name": "visionflow"})
    monkeypatch.setattr(versions, "entry_points", lambda group: [named])
    monkeypatch.delenv("VLLM_PLUGINS", raising=False)
    versions.check_plugin()
    monkeypatch.setenv("VLLM_PLUGINS", "visionflow,other")
    versions.check_plugin()
    monkeypatch.setenv("VLLM_PLUGINS", "")
    with pytest.raises(VisionFlowError, match="leaves visionflow out"):
        versions.check_plugin()
    monkeypatch.setattr(versions, "entry_points", lambda group: [])
    with pytest.raises(VisionFlowError, match="install visionflow again"):
        versions.check_plugin()


def test_the_command_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(versions, "installed", lambda: "0.1.0")
    monkeypatch.setattr(sys, "argv", ["visionflow", "serve", "embedded"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "vLLM 0.1.0 is installed" in capsys.readouterr().err
