"""The pages in a real Chromium: `make look` has it and playwright; elsewhere nothing here is collected."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.report.look.pages import (
    dynamic_report,
    hybrid_report,
    plain_report,
    tiled_report,
    two_models_report,
    video_report,
)

CHROMIUM = Path("/usr/bin/chromium")
PAGES = {
    "plain": plain_report,
    "tiles": tiled_report,
    "dynamic": dynamic_report,
    "video": video_report,
    "hybrid": hybrid_report,
    "models": two_models_report,
}
OPTIONS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync")

collect_ignore_glob = [] if find_spec("playwright") and CHROMIUM.exists() else ["test_*.py"]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=[*OPTIONS])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each page as a file."""
    folder = tmp_path_factory.mktemp("pages")
    return {name: report().save(folder / f"{name}.html") for name, report in PAGES.items()}
