"""The pictures of docs/look.md and of the README, made anew with the embedded model as it is: `make look-pictures`.

Look at each before it is committed: a page is cut where the text says that something is to be seen.
"""

from collections.abc import Callable
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

import visionflow
from tests.browser.conftest import CHROMIUM, OPTIONS
from tests.report.look.pages import dynamic_report
from tests.tiny_processor import tiny_llava_next_processor
from tests.zoo import ZOO
from visionflow import LookReport
from visionflow.app.server import server_of
from visionflow.app.session import Session
from visionflow.loading.models import Loaded, load_model
from visionflow.loading.pictures import read_picture

DOCS = Path("docs")
QUESTION = "How many red objects are there?"
MARGIN = 20

Opened = Callable[..., Any]
"""The page of a report in a window of some width and colours."""


def photograph() -> Image.Image:
    """scikit-learn's china.jpg."""
    found = find_spec("sklearn")
    if found is None or found.origin is None:
        raise SystemExit("the photograph is scikit-learn's: pip install scikit-learn")
    return read_picture(str(Path(found.origin).parent / "datasets" / "images" / "china.jpg"))


def cut(page: Any, top: float, height: float) -> Image.Image:
    """So many pixels of the whole page from `top` on."""
    width = page.viewport_size["width"]
    clip = {"x": 0, "y": top, "width": width, "height": height}
    return Image.open(BytesIO(page.screenshot(full_page=True, clip=clip)))


def place(page: Any, what: str) -> tuple[float, float]:
    """Where the first such element begins and ends, in pixels from the top of the page."""
    box = page.locator(what).first.bounding_box()
    return box["y"], box["y"] + box["height"]


def keep(picture: Image.Image, name: str) -> None:
    """In the 256 colours that suit it best: a third of the bytes. Without k-means small things take others' colours."""
    few = picture.convert("RGB").quantize(256, kmeans=4)
    few.save(DOCS / name, optimize=True)


def of_scene(opened: Opened, embedded: Loaded, scene: Image.Image) -> Image.Image:
    model, processor, name = embedded
    asked = {"processor": processor, "pictures": scene, "question": QUESTION, "name": name}
    with opened(visionflow.look(model, method=["himap", "fastv"], **asked), 1100) as page:
        return cut(page, 0, place(page, "#kept")[1] + MARGIN)


def of_phone(opened: Opened, embedded: Loaded, photo: Image.Image) -> Image.Image:
    model, processor, name = embedded
    asked = {"processor": processor, "pictures": photo, "question": "Describe the picture.", "max_new_tokens": 24}
    with opened(visionflow.look(model, name=name, **asked), 390, "dark") as page:
        both = Image.new("RGB", (820, 1500), "white")
        both.paste(cut(page, 0, 1500), (0, 0))
        both.paste(cut(page, place(page, "section:has(#reads)")[0], 1500), (430, 0))
        return both


def of_dynamic(opened: Opened, photo: Image.Image, scene: Image.Image) -> Image.Image:
    with opened(dynamic_report(photo, scene), 1120) as page:
        top, bottom = place(page, "section:has(#kept)")
        return cut(page, top, bottom - top)


def of_models(opened: Opened, embedded: Loaded, scene: Image.Image) -> Image.Image:
    asked: dict[str, Any] = {"method": "fastv", "pictures": scene, "question": QUESTION, "blocks": 1}
    model, processor, name = embedded
    one = visionflow.look(model, processor=processor, name=name, **asked)
    tiles = ZOO["llava_next"].build()
    other = visionflow.look(
        tiles, processor=tiny_llava_next_processor(), name="tiny LLaVA-NeXT", max_new_tokens=3, **asked
    )
    with opened(one.against(other), 1280) as page:
        return cut(page, 0, place(page, "section:has(#kept)")[1])


def of_app(browser: Any, embedded: Loaded) -> Image.Image:
    server = server_of(Session(embedded), 0)
    Thread(target=server.serve_forever).start()
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"http://127.0.0.1:{server.port}/")
    page.click("#scene")
    page.wait_for_selector("#shown img")
    page.click("#look")
    page.wait_for_selector("#look:not([disabled])", timeout=600_000)
    page.frame_locator("#page").locator("#kept svg").first.wait_for()
    page.evaluate("scrollTo(0, 0)")
    shown = page.screenshot()
    page.close()
    server.shutdown()
    return Image.open(BytesIO(shown))


def main() -> None:
    """Write all of them to docs/."""
    embedded = load_model()
    scene, photo = read_picture("examples/scene.png"), photograph()
    with sync_playwright() as playwright, TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=[*OPTIONS])

        def opened(report: LookReport, width: int, scheme: str = "light") -> Any:
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page.goto(report.save(Path(folder) / "page.html").as_uri())
            return page

        keep(of_scene(opened, embedded, scene), "look.png")
        keep(of_phone(opened, embedded, photo), "look-phone.png")
        keep(of_dynamic(opened, photo, scene), "look-dynamic.png")
        keep(of_models(opened, embedded, scene), "look-models.png")
        keep(of_app(browser, embedded), "look-app.png")
        browser.close()


if __name__ == "__main__":
    main()
