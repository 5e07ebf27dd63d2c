"""A picture from a path, a URL or standard input, whole and in RGB, or a sentence that says why not."""

import sys
import urllib.error
import urllib.request
import warnings
from http.client import HTTPException
from io import BytesIO
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from visionflow.errors import VisionFlowError
from visionflow.loading.waiting import within

MAX_BYTES = 64 * 2**20
MAX_ASPECT = 200  # processors fit the shorter edge: a longer picture would become gigabytes
DOWNLOAD_S = 60.0  # all of a download
TIMEOUT_S = 20.0  # each step of it


def read_picture(source: str) -> Image.Image:
    """The picture at `source`: a path, an http(s) URL, or ``-`` for standard input; see `decoded`.

    Raises:
        VisionFlowError: it cannot be read, is not a picture, is cut off, or is too large.
    """
    return decoded(_content(source), _name(source))


def decoded(content: bytes, name: str, most_pixels: int | None = None) -> Image.Image:
    """The picture in a file's `content`, called `name` in what is said about it.

    It is turned as its EXIF orientation says, put on white where it is transparent, and scaled to 8 bits from 16. Of an
    animation it is the first frame. One of more than `most_pixels`, by default Pillow's limit, is not decoded at all.

    Raises:
        VisionFlowError: it is not a picture, is cut off, or is too large.
    """
    if not content:
        raise VisionFlowError(f"{name} is empty: give a picture (PNG, JPEG, WebP, ...)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.filterwarnings("ignore", category=UserWarning)  # remarks on odd metadata
            picture = Image.open(BytesIO(content))
            if most_pixels is not None and picture.width * picture.height > most_pixels:
                raise Image.DecompressionBombError
            picture.load()
    except UnidentifiedImageError as error:
        raise VisionFlowError(f"{name} is not a picture that can be read: give a PNG, JPEG, WebP, ...") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        most = (most_pixels or Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise VisionFlowError(f"{name} has more than {most} million pixels: make it smaller") from error
    except Exception as error:  # each format's decoder fails in its own way: OSError, SyntaxError, ValueError, ...
        raise VisionFlowError(f"{name} is truncated or damaged ({error}): get it again") from error
    _check_size(picture, name)
    return _rgb(ImageOps.exif_transpose(picture), name)


def stem_of(source: str) -> str:
    """A name for files made from the picture at `source`."""
    if source == "-":
        return "stdin"
    if _is_url(source):
        return PurePosixPath(unquote(_path(source))).stem[:100] or "picture"
    return Path(source).stem


def _content(source: str) -> bytes:
    if source == "-":
        content = _read_standard_input()
    elif _is_url(source):
        content = _download(source)
    else:
        content = _read_file(source)
    if len(content) > MAX_BYTES:
        raise VisionFlowError(f"{_name(source)} is larger than {MAX_BYTES // 2**20} MiB: make it smaller")
    return content


def _read_standard_input() -> bytes:
    try:
        if not sys.stdin.isatty():
            return sys.stdin.buffer.read(MAX_BYTES + 1)
    except (OSError, AttributeError) as error:  # a directory, not for reading; there is none
        raise VisionFlowError(f"cannot read standard input ({error}): give a path, or use < picture") from error
    raise VisionFlowError("- means standard input, and nothing is piped into it: give a path, or use < picture")


def _download(url: str) -> bytes:
    try:
        return within(DOWNLOAD_S, f"fetching {url}", lambda: _fetch(url))
    except urllib.error.HTTPError as error:
        raise VisionFlowError(f"{url} answered {error.code} {error.reason}: check the address") from error
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise VisionFlowError(f"{url} could not be fetched ({reason}): check the address and the network") from error


def _fetch(url: str) -> bytes:
    request = urllib.request.Request(url, headers={"User-Agent": "visionflow"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        content: bytes = answer.read(MAX_BYTES + 1)
    return content


def _read_file(source: str) -> bytes:
    path = Path(source).expanduser()
    if path.is_dir():
        raise VisionFlowError(f"{source} is a directory: give a picture file")
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise VisionFlowError(f"no such file: {source}") from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = getattr(error, "strerror", None) or error
        raise VisionFlowError(f"cannot read {source}: {reason}") from error


def _check_size(picture: Image.Image, name: str) -> None:
    short, long = sorted(picture.size)
    if short == 0:
        raise VisionFlowError(f"{name} has no pixels: it is {picture.width} x {picture.height}")
    if long > MAX_ASPECT * short:
        raise VisionFlowError(
            f"{name} is {picture.width} x {picture.height}, over {MAX_ASPECT} times as long as it is wide: crop it"
        )


def _rgb(picture: Image.Image, name: str) -> Image.Image:
    if picture.mode == "F":
        raise VisionFlowError(f"{name} has floating-point pixels, whose range is unknown: convert it to 8 bits")
    if picture.mode.startswith("I"):  # 16 bits, which Pillow would clip at 255
        picture = Image.fromarray((np.asarray(picture).clip(0, 65535) // 257).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


def _path(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError as error:  # square brackets with no IPv6 address in them
        raise VisionFlowError(f"{url} is no valid address ({error}): check it") from error


def _is_url(source: str) -> bool:
    return source.lower().startswith(("http://", "https://"))


def _name(source: str) -> str:
    return "standard input" if source == "-" else source
