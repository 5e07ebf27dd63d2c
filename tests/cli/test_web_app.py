"""`visionflow app` where it cannot begin: one line that says why."""

import pytest

from tests.cli.running import Run
from visionflow.app import server


def test_without_flask_it_says_what_to_install(visionflow: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "find_spec", lambda name: None)
    code, out, err = visionflow("app")
    assert (code, out) == (2, "")
    assert err == "visionflow: the app needs the package flask: pip install 'visionflow[app]'\n"
