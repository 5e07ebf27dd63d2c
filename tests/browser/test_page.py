"""Every control moved, at two widths, dark and light: no error, no request, nothing that axe finds, nothing cut off."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image

from tests.report.look.pages import plain_report, video_report

SHOTS = Path("build/look")  # to be looked at
looks = pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")], ids=lambda value: str(value)
)
looked = pytest.mark.parametrize(
    ("name", "of"),
    [("plain", ""), ("tiles", ""), ("dynamic", ""), ("video", ""), ("models", ""), ("models", "-2")],
    ids=["plain", "tiles", "dynamic", "video", "first model", "second model"],
)


@contextmanager
def opened(chromium: Any, file: Path, width: int = 1280, scheme: str = "light") -> Iterator[Any]:
    """The page from disk; at its end nothing was said on the console and nothing asked of any network."""
    said: list[str] = []
    page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda asked: said.append(asked.url) if not asked.url.startswith(("data:", "file:")) else None)
    page.goto(file.as_uri())
    yield page
    page.close()
    assert said == []


def overflow(page: Any) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


@looks
@pytest.mark.parametrize("name", ["plain", "tiles", "dynamic", "video", "hybrid", "models"])
def test_it_fits_is_accessible_and_is_pictured(
    name: str, width: int, scheme: str, chromium: Any, files: dict[str, Path]
) -> None:
    with opened(chromium, files[name], width, scheme) as page:
        assert overflow(page) == 0
        found = Axe().run(page).response["violations"]
        assert [(each["id"], [node["html"][:200] for node in each["nodes"][:3]]) for each in found] == []
        SHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SHOTS / f"{name}-{width}-{scheme}.png", full_page=True)


@looked
def test_every_control_moves_what_it_names(name: str, of: str, chromium: Any, files: dict[str, Path]) -> None:
    """And nothing of another model: `of` is at the end of the names of all that is of one."""
    with opened(chromium, files[name]) as page:
        others = page.locator(f"#reads{'' if of else '-2'}, #kept{'' if of else '-2'}")
        before = others.evaluate_all("all => all.map((each) => each.outerHTML)")
        runs = page.locator(f"#run{of} option").count()
        for run in range(runs):
            page.select_option(f"#run{of}", str(run))
            for token in range(page.locator(f"#token{of} option").count()):
                page.select_option(f"#token{of}", str(token))
                assert f"token {token + 1} " in page.inner_text(f"#reads-what{of}")
        layers = int(page.get_attribute(f"#layer{of}", "max") or 0) + 1
        seen = set()
        for layer in range(layers):
            page.locator(f"#thumbs{of} button").nth(layer).click()
            assert page.inner_text(f"#layer-number{of}") == page.input_value(f"#layer{of}") == str(layer)
            seen.add(page.inner_html(f"#reads{of}"))
        assert len(seen) == layers
        for card in range(runs):
            page.locator(f"#answers{of} .card").nth(card).locator("button").first.click()
            assert (page.input_value(f"#run{of}"), page.input_value(f"#token{of}")) == (str(card), "0")
        flows = page.locator(f"#knocked{of} select").first
        said = set()
        for flow in range(flows.locator("option").count()):
            flows.select_option(str(flow))
            for place in (1, 2):
                select = page.locator(f"#knocked{of} select").nth(place)
                select.select_option(index=select.locator("option").count() - 1)
            said.add(page.inner_html(f"#knocked{of}"))
        assert len(said) == page.locator(f"#knocked{of} select").first.locator("option").count()
        assert others.evaluate_all("all => all.map((each) => each.outerHTML)") == before
        assert len(before) == (2 if name == "models" else 0)
        for details in page.locator("details").all():
            details.locator("summary").click()
            assert details.locator("tbody tr").count() > 0
        page.set_viewport_size({"width": 500, "height": 900})
        assert overflow(page) == 0


def test_a_layer_without_attention_says_so_where_its_map_would_be(chromium: Any, files: dict[str, Path]) -> None:
    with opened(chromium, files["hybrid"]) as page:
        assert page.input_value("#layer") == "4"
        page.locator("#thumbs button").nth(3).click()
        assert page.inner_text("#reads-what").startswith("Layer 3 has no attention")
        assert page.inner_text("#reads") == ""
        assert page.locator("#thumbs button").all_inner_texts()[3].split("\n") == ["no map", "layer 3"]
        page.locator("#thumbs button").nth(1).click()
        assert page.locator("#reads svg").count() == 1


def test_frames_are_drawn_when_they_come_into_sight(chromium: Any, files: dict[str, Path]) -> None:
    """And the slider goes through them."""
    with opened(chromium, files["video"], 390) as page:
        assert page.inner_text("#part-label").split() == ["Frame", "1"]
        for strip in ("#kept-parts", "#reads-parts"):
            frames = page.locator(f"{strip} .strip button")
            assert frames.count() == 8
            assert page.locator(f"{strip} .strip svg").count() == 0
            frames.nth(5).scroll_into_view_if_needed()
            frames.nth(5).locator("svg").wait_for()
            frames.nth(5).click()
            assert (page.input_value("#part"), page.inner_text("#part-number")) == ("5", "11")
            assert page.evaluate("document.activeElement.dataset.part") == "5"
            page.fill("#part", "0")
        kept = video_report().data["runs"][1]["stages"][0]["kept"]
        seen = page.locator("#kept-parts .strip button").all_inner_texts()
        assert [int(text.split(": ")[1].split()[0]) for text in seen] == [
            sum(token // 16 == step for token in kept) for step in range(8)
        ]


def test_the_keyboard_alone_will_do(chromium: Any, files: dict[str, Path]) -> None:
    with opened(chromium, files["plain"]) as page:
        page.focus("#layer")
        before = int(page.input_value("#layer"))
        page.keyboard.press("ArrowLeft")
        assert page.inner_text("#layer-number") == str(before - 1)
        page.locator("#answers button").nth(1).focus()
        page.keyboard.press("Enter")
        assert (page.input_value("#run"), page.input_value("#token")) == ("0", "1")
        assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"


def test_a_patch_tells_rank_and_score_where_the_mouse_is(chromium: Any, files: dict[str, Path]) -> None:
    with opened(chromium, files["plain"]) as page:
        picture = page.locator("#kept svg").first
        box = picture.bounding_box()
        picture.hover(position={"x": 0.4 * box["width"], "y": 0.5 * box["height"]})
        told = picture.text_content()
        assert "row " in told
        assert "rank " in told
        assert "score" in told


def test_two_models_stand_side_by_side_and_on_a_phone_one_below_the_other(
    chromium: Any, files: dict[str, Path]
) -> None:
    for width, beside in ((1280, True), (390, False)):
        with opened(chromium, files["models"], width) as page:
            first, second = (page.locator(f"#{part}").bounding_box() for part in ("kept", "kept-2"))
            assert (first["y"] == second["y"], first["x"] < second["x"]) == (beside, beside)
            groups = page.locator("main .models, #controls .models").count()
            assert page.locator(".model-name:visible").count() == 2 * groups


@pytest.mark.parametrize(("across", "down"), [(0.1, 0.1), (0.9, 0.1), (0.1, 0.9)], ids=["first", "end", "below"])
def test_a_token_lies_where_its_row_and_column_are(
    across: float, down: float, chromium: Any, files: dict[str, Path]
) -> None:
    """Rows go from the top down, as they do in the picture."""
    side = plain_report().data["views"][0]["rows"]
    said = f"row {int(down * side) + 1}, column {int(across * side) + 1}"
    with opened(chromium, files["plain"]) as page:
        for picture in (page.locator("#kept svg").first, page.locator("#reads svg").first):
            box = picture.bounding_box()
            left, _, right, _ = plain_report().data["views"][0]["box"]
            place = (left + across * (right - left)) / plain_report().data["pictures"][0]["width"]
            picture.hover(position={"x": place * box["width"], "y": down * box["height"]})
            assert said in picture.text_content()


def test_small_maps_are_upright(chromium: Any, files: dict[str, Path]) -> None:
    """The brightest square of a map is at the image token that is read most; what has none is dark on dark paper."""
    data = plain_report().data
    view = data["views"][0]
    with opened(chromium, files["plain"], scheme="dark") as page:
        for layer in range(data["model"]["layers"]):
            read = data["runs"][1]["reads"][0, layer][data["prompt"]["image_columns"]]
            shown = Image.open(BytesIO(page.locator("#thumbs svg").nth(layer).screenshot())).convert("L")
            squares = np.asarray(shown.resize((view["columns"], view["rows"]), Image.Resampling.BOX))
            assert squares.argmax() == np.nanargmax(read)


def test_it_prints_on_white(chromium: Any, files: dict[str, Path]) -> None:
    with opened(chromium, files["plain"], 800, "dark") as page:
        page.emulate_media(media="print")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert overflow(page) == 0
        assert page.pdf()[:5] == b"%PDF-"
