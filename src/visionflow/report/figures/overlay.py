"""The overlay: each picture once as the model sees it, and once per stage with what was kept in the clear."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, floor

from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageStat

from visionflow.report.figures.framing import Box, Framing

Place = tuple[int, int, int, int]  # left, top, right, bottom, in pixels of a panel

SIDE = 420  # longer side of a panel's picture: small ones are enlarged until single patches can be told apart
MARGIN, TITLE, SMALL = 20, 17, 13
PAPER, INK, SOFT = (255, 255, 255), (24, 27, 33), (96, 102, 112)
SHADE, UNSEEN, HATCH, PADDING = (26, 29, 36), (238, 240, 243), (196, 200, 207), (128, 134, 145)
OUTLINE, FAINT = (255, 196, 0), 90


@dataclass(frozen=True)
class Panel:
    """One picture at one moment.

    Attributes:
        title: one short line above it.
        note: a second, softer line.
        kept: numbers of the patches in the clear; None for all of them, with the grid drawn over them.
    """

    title: str
    note: str
    kept: Collection[int] | None = None


def draw_overlay(rows: Sequence[tuple[Image.Image, Framing, int, Sequence[Panel]]], heading: str) -> Image.Image:
    """One row of panels per picture.

    Args:
        rows: an RGB picture, its framing, the side of a patch in pixels of the model's input, and its panels.
        heading: one line above everything.
    """
    strips = [_strip(picture, framing, patch, panels) for picture, framing, patch, panels in rows]
    top, bottom = MARGIN + TITLE + 12, 2 * SMALL + MARGIN
    width = max(*(strip.width for strip in strips), 760) + 2 * MARGIN
    sheet = Image.new("RGB", (width, top + sum(s.height + MARGIN for s in strips) + bottom), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN), heading, INK, _font(TITLE))
    for strip in strips:
        sheet.paste(strip, (MARGIN, top))
        top += strip.height + MARGIN
    _legend(sheet, top, rows[0][0], _out_of_view(rows))
    return sheet


def _out_of_view(rows: Sequence[tuple[Image.Image, Framing, int, Sequence[Panel]]]) -> tuple[bool, bool]:
    """Whether patches of some picture leave out a part of it, and whether some reach beyond it."""
    cut = padded = False
    for picture, framing, patch, _ in rows:
        boxes = framing.patch_boxes(patch)
        (left, top), (right, bottom) = boxes[0][:2], boxes[-1][2:]
        beyond = left, top, picture.width - right, picture.height - bottom  # half a pixel is no part
        cut, padded = cut or max(beyond) >= 0.5, padded or min(beyond) <= -0.5
    return cut, padded


def _strip(picture: Image.Image, framing: Framing, patch: int, panels: Sequence[Panel]) -> Image.Image:
    canvas = _Canvas(picture, framing)
    boxes = [canvas.place(box) for box in framing.patch_boxes(patch)]
    drawn = [_panel(canvas, boxes, panel.kept) for panel in panels]
    head = TITLE + SMALL + 14
    width, height = drawn[0].size
    widths = [max(width, _text_width(panel)) for panel in panels]
    strip = Image.new("RGB", (sum(widths) + MARGIN * (len(panels) - 1), head + height), PAPER)
    draw = ImageDraw.Draw(strip)
    left = 0
    for panel, image, room in zip(panels, drawn, widths, strict=True):
        draw.text((left, 0), panel.title, INK, _font(TITLE))
        draw.text((left, TITLE + 6), panel.note, SOFT, _font(SMALL))
        strip.paste(image, (left, head))
        left += room + MARGIN
    return strip


def _panel(canvas: "_Canvas", boxes: Sequence[Place], kept: Collection[int] | None) -> Image.Image:
    chosen = boxes if kept is None else [boxes[number] for number in sorted(kept)]
    grid = (*(INK if ImageStat.Stat(canvas.clear.convert("L")).mean[0] > 127 else PAPER), FAINT)
    image = canvas.unseen()
    image.paste(_dimmed(canvas.clear), mask=canvas.mask(boxes))
    image.paste(canvas.clear, mask=canvas.mask(chosen))
    lines = ImageDraw.Draw(image, "RGBA")
    for left, top, right, bottom in chosen:
        colour = grid if kept is None else (*OUTLINE, 255)
        lines.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour)
    return image


class _Canvas:
    """The picture together with the padding that the model sees around it, at the size of a panel."""

    def __init__(self, picture: Image.Image, framing: Framing) -> None:
        left, top, right, bottom = framing.box
        self.picture = picture
        self.left, self.top = min(0.0, left), min(0.0, top)
        width, height = max(picture.width, right) - self.left, max(picture.height, bottom) - self.top
        self.scale = SIDE / max(width, height)
        self.size = ceil(width * self.scale), ceil(height * self.scale)

    def place(self, box: Box) -> Place:
        """A box of the original picture on the canvas; neighbours share an edge, so no pixel is lost between them."""
        left, top, right, bottom = box
        return (
            floor((left - self.left) * self.scale + 0.5),
            floor((top - self.top) * self.scale + 0.5),
            floor((right - self.left) * self.scale + 0.5),
            floor((bottom - self.top) * self.scale + 0.5),
        )

    @cached_property
    def clear(self) -> Image.Image:
        """The picture in the clear; padding is plain."""
        image = Image.new("RGB", self.size, PADDING)
        left, top, right, bottom = self.place((0, 0, self.picture.width, self.picture.height))
        size = max(1, right - left), max(1, bottom - top)
        image.paste(self.picture.resize(size, Image.Resampling.LANCZOS), (left, top))
        return image

    def unseen(self) -> Image.Image:
        """The picture as a faint trace under hatching: what the processor cut away."""
        image = _faint(self.clear)
        lines = ImageDraw.Draw(image)
        for x in range(-self.size[1], self.size[0], 9):
            lines.line((x, self.size[1], x + self.size[1], 0), HATCH)
        return image

    def mask(self, boxes: Sequence[Place]) -> Image.Image:
        """255 inside the boxes."""
        mask = Image.new("L", self.size)
        for box in boxes:
            mask.paste(255, box)
        return mask


def _faint(image: Image.Image) -> Image.Image:
    return Image.blend(image.convert("L").convert("RGB"), Image.new("RGB", image.size, UNSEEN), 0.8)


def _dimmed(image: Image.Image) -> Image.Image:
    return Image.blend(ImageEnhance.Color(image).enhance(0.45), Image.new("RGB", image.size, SHADE), 0.62)


def _legend(sheet: Image.Image, top: int, picture: Image.Image, out_of_view: tuple[bool, bool]) -> None:
    """What the kinds of area mean, in one line, each as it looks on `picture`."""
    small = picture.resize((SMALL, SMALL), Image.Resampling.BOX)
    entries = [
        (small, OUTLINE, "kept: later layers still see it"),
        (_dimmed(small), None, "dropped: gone from that layer on"),
        (_faint(small), HATCH, "cut away before the model: never seen"),
        (Image.new("RGB", small.size, PADDING), None, "padding"),
    ]
    draw = ImageDraw.Draw(sheet)
    left = MARGIN
    for shown, (sample, edge, text) in zip((True, True, *out_of_view), entries, strict=True):
        if not shown:
            continue
        sheet.paste(sample, (left, top))
        if edge:
            draw.rectangle((left, top, left + SMALL - 1, top + SMALL - 1), outline=edge, width=2)
        draw.text((left + SMALL + 7, top - 1), text, SOFT, _font(SMALL))
        left += SMALL + 7 + ceil(_font(SMALL).getlength(text)) + 24


def _text_width(panel: Panel) -> int:
    return ceil(max(_font(TITLE).getlength(panel.title), _font(SMALL).getlength(panel.note)))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
