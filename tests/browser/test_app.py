"""`visionflow app` in Chromium: scenes drawn and asked about, settings moved, pages kept; no other host is asked."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser.test_page import SHOTS, looks, overflow
from tests.report.look.pages import gradient
from visionflow.app.server import server_of
from visionflow.app.session import Session
from visionflow.loading.models import load_model
from visionflow.methods import PlanFile, method


@pytest.fixture(scope="module")
def app() -> Iterator[str]:
    """The address of the app with the embedded model."""
    server = server_of(Session(load_model()), 0)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@contextmanager
def opened(chromium: Any, app: str, width: int = 1280, scheme: str = "light", refused: int = 0) -> Iterator[Any]:
    """The app; at its end no other host was asked, and nothing was said on the console but of so many refusals."""
    said: list[str] = []
    page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda sent: said.append(sent.url) if not sent.url.startswith((app, "data:", "blob:")) else None)
    page.goto(app)
    page.wait_for_selector("#settings input")
    yield page
    page.close()
    assert len([each for each in said if "400 (BAD REQUEST)" in each]) == len(said) == refused, said


def answered(page: Any) -> None:
    """Press the button and wait for what comes of it."""
    page.click("#look")
    page.wait_for_selector("#look:not([disabled])", timeout=120_000)


def shown_page(page: Any) -> Any:
    frame = page.frame_locator("#page")
    frame.locator("#kept svg").first.wait_for()
    return frame


@looks
def test_a_scene_is_looked_into(width: int, scheme: str, chromium: Any, app: str) -> None:
    with opened(chromium, app, width, scheme) as page:
        page.click("#scene")
        page.wait_for_selector("#shown img")
        question = page.input_value("#question")
        answered(page)
        assert page.inner_text("#wrong") == page.inner_text("#said") == ""
        frame = shown_page(page)
        assert frame.locator("#question").inner_text() == question
        assert question in page.locator("#history button").first.inner_text()
        assert overflow(page) == 0
        found = Axe().run(page).response["violations"]
        assert [(each["id"], [node["html"][:200] for node in each["nodes"][:3]]) for each in found] == []
        SHOTS.mkdir(parents=True, exist_ok=True)
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=SHOTS / f"app-{width}-{scheme}.png", full_page=width < 1000)


def test_every_setting_goes_where_it_says(chromium: Any, app: str, tmp_path: Path) -> None:
    gradient(60, 40).save(tmp_path / "wide.png")
    with opened(chromium, app) as page:
        page.set_input_files("#picture", tmp_path / "wide.png")
        page.fill("#question", "What is this?")
        page.fill("#max_new_tokens", "3")
        page.uncheck("#knock")
        page.select_option("#method", "fastv")
        page.locator('[name="set.k"]').fill("3")
        page.locator('[name="set.r"]').fill("0.25")
        answered(page)
        assert "FastV(k=3, r=0.25)" in page.locator("#history button").first.inner_text()
        assert shown_page(page).locator("#knocked").inner_text() == "There is none here: it was left out."
        page.check("#budget-on")
        page.fill("#budget", "0.4")
        assert page.is_disabled('[name="set.r"]')
        answered(page)
        assert "FastV(k=3, r=0.25)" not in page.locator("#history button").first.inner_text()
        page.select_option("#method", "dense")
        answered(page)
        assert page.locator("#history button").first.locator("small").count() == 2  # the time, and one answer
        page.locator("#history button").last.click()
        assert page.locator("#history button").last.get_attribute("aria-pressed") == "true"
        with page.expect_download() as saved:
            page.click("#save")
        assert saved.value.path().read_text().startswith("<!doctype html>")


def test_a_plan_file_is_a_method(chromium: Any, app: str, tmp_path: Path) -> None:
    PlanFile.of(method("vtw:k=5"), 8, "llava").write(tmp_path / "plan.json")
    with opened(chromium, app, refused=1) as page:
        page.click("#scene")
        page.wait_for_selector("#shown img")
        page.select_option("#method", "plan")
        answered(page)
        assert page.inner_text("#wrong").startswith("there is no plan file: choose one")
        page.set_input_files("#plan", tmp_path / "plan.json")
        answered(page)
        assert page.inner_text("#wrong") == ""
        assert "VTW(k=5)" in page.locator("#history button").first.inner_text()


def test_what_is_wrong_is_said_in_the_page(chromium: Any, app: str, tmp_path: Path) -> None:
    (tmp_path / "words.png").write_text("no picture")
    with opened(chromium, app, refused=3) as page:
        answered(page)
        assert page.inner_text("#wrong") == "the question is empty: ask something about the picture"
        page.fill("#question", "What is this?")
        page.set_input_files("#picture", tmp_path / "words.png")
        answered(page)
        assert page.inner_text("#wrong") == "words.png is not a picture that can be read: give a PNG, JPEG, WebP, ..."
        page.click("#scene")
        page.wait_for_selector("#shown img[alt^=scene]")
        page.locator('[name="set.k1"]').fill("5")
        answered(page)
        assert page.inner_text("#wrong") == "k1 must be smaller than k2, not k1=5 and k2=4"
