"""The page as one file: the template, the style, the scripts and the libraries of `page/`, filled with data.

The libraries are D3 7.9.2 and Observable Plot 0.6.17 as npm has them (dist/d3.min.js, dist/plot.umd.min.js), both under
the ISC licence: page/LICENSES.txt.
"""

import base64
import json
from collections.abc import Sequence
from functools import cache
from html import escape
from importlib.resources import files
from io import BytesIO
from string import Template
from typing import Any

import numpy as np
from PIL import Image

MOST_NUMBERS = 500_000
"""Numbers of attention that the page carries, 2.7 MB: of large models it has the maps of the first answer tokens."""
SHARPEST = 900  # longer side of a picture on the page, in pixels
MOST_PIXELS = 4_000_000  # of all pictures on the page, some 1.5 MB: many have fewer each
DIGITS = 4

_ELEMENTS = "elements.js"
COMMON = (_ELEMENTS, "looks.js")
"""Joined in this order: what the page has once."""
SCRIPTS = (
    "data.js",
    "words.js",
    "charts.js",
    "picture.js",
    "answers.js",
    "kept.js",
    "reads.js",
    "lens.js",
    "flows.js",
    "cost.js",
    "page.js",
)
"""What each look has, in this order: what all sections have, a script for each, and last the one that draws them."""

_PARTS = {"style": "page.css", "d3": "d3.min.js", "plot": "plot.umd.min.js"}


def page_of(data: dict[str, Any], pictures: Sequence[Image.Image]) -> str:
    """One self-contained HTML document, which asks nothing of the network.

    Args:
        data: as `visionflow.report.look.report` describes it.
        pictures: the originals.
    """
    from visionflow.report.look.report import plain

    looks = [data, *data["against"]]
    views = [view for look in looks for view in look["views"]]
    content = plain({"shown": _shown(views, pictures), "looks": _packed_looks(looks)}, DIGITS)
    filled = {name: _part(file) for name, file in _PARTS.items()}
    title = f"{data['question'] or 'one prompt'} · visionflow look"
    return Template(_part("page.html")).substitute(
        filled,
        title=escape(title),
        common="\n".join(map(_part, COMMON)),
        script="\n".join(map(_part, SCRIPTS)),
        data=json.dumps(content, separators=(",", ":")).replace("<", "\\u003c"),
    )


def _packed_looks(looks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same with as many maps as there is room for on the page, packed."""
    room = MOST_NUMBERS // len(looks)
    packed = []
    for look in looks:
        reads = [_packed(numbers) for numbers in _fitting(look["runs"], room)]
        runs = [{**run, "reads": fitting} for run, fitting in zip(look["runs"], reads, strict=True)]
        packed.append({**look, "against": [], "runs": runs})
    return packed


def _packed(numbers: np.ndarray[Any, Any]) -> dict[str, Any]:
    """fp32 numbers as text, half as long as their digits would be."""
    content = np.ascontiguousarray(numbers, "<f4").tobytes()
    return {"shape": list(numbers.shape), "fp32": base64.b64encode(content).decode()}


def style() -> str:
    """The style sheet of the page, for what is to look like it."""
    return _part(_PARTS["style"])


def elements() -> str:
    """The script with which the page makes its elements, for what does so, too."""
    return _part(_ELEMENTS)


def _fitting(runs: Sequence[dict[str, Any]], room: int) -> list[np.ndarray[Any, Any]]:
    """The maps of as many answer tokens as there is room for, in numbers, the same number of each run."""
    reads = [run["reads"] for run in runs]
    longest = max(map(len, reads))
    numbers = sum(int(np.prod(each.shape[1:])) for each in reads)
    return [each[: max(1, min(longest, room // max(1, numbers)))] for each in reads]


def _shown(views: Sequence[dict[str, Any]], pictures: Sequence[Image.Image]) -> list[str]:
    """Each picture as a data URL, no larger than it can be seen; "" for one that no view lies over."""
    seen = {view["picture"] for view in views}
    longest = min(SHARPEST, int((MOST_PIXELS / max(1, len(seen))) ** 0.5))
    return [_url(picture, longest) if place in seen else "" for place, picture in enumerate(pictures)]


def _url(picture: Image.Image, longest: int) -> str:
    small = picture.copy()
    small.thumbnail((longest, longest))
    content = BytesIO()
    photo = picture.width * picture.height > 128**2
    small.save(content, "JPEG" if photo else "PNG", **({"quality": 85} if photo else {}))
    kind = "jpeg" if photo else "png"
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"


@cache
def _part(name: str) -> str:
    return files("visionflow.report.look").joinpath("page", name).read_text(encoding="utf-8")
