"""vLLM's server with visionflow in it, as a process of its own: started, waited for, and seen to prune; or stopped."""

import base64
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from visionflow.errors import VisionFlowError
from visionflow.serving.settings import KEY, SHADOW

CUT = "visionflow:prompts_cut_total"
"""What the model's own process counts."""
FOLLOWING = "visionflow.serving.vllm.middleware.Following"


@dataclass(frozen=True)
class Address:
    """Where the server listens, and what it asks of clients."""

    url: str
    key: str | None

    @classmethod
    def of(cls, arguments: Sequence[str]) -> "Address":
        """As vLLM understands these arguments."""
        parser = ArgumentParser(add_help=False, allow_abbrev=False)
        parser.add_argument("--host")
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument("--api-key", nargs="*")
        known, _ = parser.parse_known_args(list(arguments))
        host = known.host if known.host not in (None, "0.0.0.0", "::") else "127.0.0.1"
        keys = known.api_key or [os.environ.get("VLLM_API_KEY")]
        return cls(f"http://{host}:{known.port}", keys[0])

    def get(self, path: str, content: Any = None, seconds: float = 600) -> str:
        """What the server says at `path`, to `content` where there is some."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        data = None if content is None else json.dumps(content).encode()
        with urlopen(Request(self.url + path, data, headers), timeout=seconds) as answer:
            text: str = answer.read().decode()
        return text


def command(model: str, settings: dict[str, Any], arguments: Sequence[str]) -> list[str]:
    """What starts the server."""
    following = ["--middleware", FOLLOWING] if settings.get("report") or settings.get(SHADOW) else []
    config = ["--additional-config", json.dumps({KEY: settings})]
    return [sys.executable, "-m", "visionflow.serving.vllm", "--model", model, *config, *following, *arguments]


@contextmanager
def running(called: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """The server's process, with a folder in which its processes share their metrics; it ends when this one has to."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="visionflow-metrics-") as folder:
        process = subprocess.Popen(called, env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": folder})
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait()
            signal.signal(signal.SIGTERM, before)


def wait_until_up(process: subprocess.Popen[bytes], address: Address, pause: float = 0.5) -> bool:
    """Wait until the server answers; False where it ended instead."""
    while process.poll() is None:
        try:
            address.get("/health", seconds=5)
            return True
        except (URLError, OSError):
            time.sleep(pause)
    return False


def check_pruning(address: Address) -> str:
    """Send one picture, and see the model's process count a prompt that it has cut; the answer is one token long.

    Returns:
        What was seen, for people.

    Raises:
        VisionFlowError: it was served dense, or not at all.
    """
    model = json.loads(address.get("/v1/models"))["data"][0]["id"]
    before = _counted(address.get("/metrics"), CUT)
    url = "data:image/png;base64," + base64.b64encode(_picture()).decode()
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "What is in the picture?"}]
    try:
        address.get(
            "/v1/chat/completions",
            {"model": model, "max_tokens": 1, "messages": [{"role": "user", "content": content}]},
        )
    except HTTPError as error:
        raise VisionFlowError(f"the server does not answer a question about a picture: {_line(error)}") from error
    metrics = address.get("/metrics")
    if _counted(metrics, CUT) <= before:
        told = [line for line in metrics.splitlines() if line.startswith("visionflow:requests_total")]
        raise VisionFlowError(
            "the server answers, but dense: "
            + (
                "it counted " + "; ".join(told)
                if told
                else "it has no metrics of visionflow, so the plug-in is not in it"
            )
        )
    kept, given = (_counted(metrics, f"visionflow:image_tokens{part}_total") for part in ("_kept", ""))
    return f"a question about a picture was pruned: {kept:.0f} of {given:.0f} image tokens reached the last layer"


def _counted(metrics: str, name: str) -> float:
    """The value of a counter, 0 where it is not there."""
    return sum(float(line.split()[-1]) for line in metrics.splitlines() if line.startswith(f"{name} "))


def _picture() -> bytes:
    """A picture of coloured stripes, as PNG."""
    from PIL import Image

    file = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((336, 336)).save(file, "PNG")
    return file.getvalue()


def _line(error: HTTPError) -> str:
    return " ".join(error.read().decode(errors="replace").split())[:300]


def serve(called: Sequence[str], address: Address, say: Callable[[str], None], *, check: bool) -> int:
    """Run the server until it ends; its exit code.

    Raises:
        VisionFlowError: it does not prune.
    """
    with running(called) as process:
        if check and wait_until_up(process, address):
            say(check_pruning(address))
        return process.wait()
