"""Pictures of all kinds become whole RGB pictures, or one sentence."""

import http.server
import io
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from visionflow.errors import VisionFlowError
from visionflow.loading import pictures
from visionflow.loading.pictures import read_picture, stem_of


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(width: int = 40, height: int = 30) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("picture", "colour"),
    [
        (Image.new("RGB", (4, 3), (10, 20, 30)), (10, 20, 30)),
        (Image.new("L", (4, 3), 77), (77, 77, 77)),
        (Image.new("1", (4, 3), 1), (255, 255, 255)),
        (Image.new("I;16", (4, 3), 0x8080), (128, 128, 128)),
        (Image.new("RGB", (4, 3), (255, 0, 0)).quantize(4), (255, 0, 0)),
        (Image.new("RGBA", (4, 3), (255, 0, 0, 0)), (255, 255, 255)),
        (Image.new("LA", (4, 3), (0, 255)), (0, 0, 0)),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else None,
)
def test_every_mode_becomes_rgb(picture: Image.Image, colour: tuple[int, int, int], tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(encoded(picture))
    read = read_picture(str(path))
    assert (read.mode, read.size, read.getpixel((1, 1))) == ("RGB", (4, 3), colour)


def test_the_exif_orientation_is_followed(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    path = tmp_path / "turned.jpg"
    path.write_bytes(encoded(noise(40, 30), "JPEG", exif=exif))
    assert read_picture(str(path)).size == (30, 40)


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"hello", "not a picture"),
        (encoded(noise())[:1500], "truncated"),
        (encoded(noise(), "JPEG")[:900], "truncated"),
        (png_header(30_000, 30_000), "million pixels"),
        (png_header(10_000, 9_500), "million pixels"),
        (encoded(Image.new("L", (1, 201))), "crop it"),
        (encoded(Image.new("F", (4, 4)), "TIFF"), "floating-point"),
    ],
    ids=["empty", "text", "cut PNG", "cut JPEG", "bomb", "large", "thin", "float"],
)
def test_a_bad_picture_is_one_sentence(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad"
    path.write_bytes(content)
    with pytest.raises(VisionFlowError, match=message) as caught:
        read_picture(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_such_file_and_a_directory(tmp_path: Path) -> None:
    with pytest.raises(VisionFlowError, match="no such file"):
        read_picture(str(tmp_path / "nothing.png"))
    with pytest.raises(VisionFlowError, match="directory"):
        read_picture(str(tmp_path))
    with pytest.raises(VisionFlowError, match="cannot read"):
        read_picture("a\0b.png")


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = SimpleNamespace(buffer=io.BytesIO(encoded(noise(7, 5))), isatty=lambda: False)
    monkeypatch.setattr("sys.stdin", stdin)
    assert read_picture("-").size == (7, 5)
    with pytest.raises(VisionFlowError, match="standard input is empty"):
        read_picture("-")
    stdin.isatty = lambda: True
    with pytest.raises(VisionFlowError, match="nothing is piped"):
        read_picture("-")


def test_a_large_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_BYTES", 100)
    path = tmp_path / "large.png"
    path.write_bytes(encoded(noise()))
    with pytest.raises(VisionFlowError, match="larger than"):
        read_picture(str(path))


@pytest.fixture
def address() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/a%20cat.png" else 404)
            self.end_headers()
            self.wfile.write(encoded(noise(9, 8)))

        def log_message(self, *args: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_urls(address: str) -> None:
    assert read_picture(f"{address}/a%20cat.png").size == (9, 8)
    with pytest.raises(VisionFlowError, match="answered 404"):
        read_picture(f"{address}/nothing")
    with pytest.raises(VisionFlowError, match="could not be fetched"):
        read_picture("http://127.0.0.1:1/x.png")
    with pytest.raises(VisionFlowError, match="could not be fetched"):
        read_picture("http://")


def test_a_download_is_given_up_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server sends a byte now and then for ever: no read takes too long."""
    given_up = threading.Event()

    class Dripping(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            while not given_up.wait(0.01):
                self.wfile.write(b".")

        def log_message(self, *args: object) -> None: ...

    monkeypatch.setattr(pictures, "DOWNLOAD_S", 0.2)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Dripping) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(VisionFlowError, match=r"could not be fetched \(no answer in 0.2 s\)"):
            read_picture(f"http://127.0.0.1:{server.server_port}/x.png")
        given_up.set()
        server.shutdown()


@pytest.mark.parametrize("address", ["http://[::1/x.png", "https://[x]/y.png", "http://]/"])
def test_an_address_that_is_none_is_one_sentence(address: str) -> None:
    for use in (read_picture, stem_of):
        with pytest.raises(VisionFlowError, match=r"could not be fetched|is no valid address") as caught:
            use(address)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "stem"),
    [("-", "stdin"), ("a/b.c.png", "b.c"), ("https://x.org/a%20cat.png?size=2", "a cat"), ("https://x.org", "picture")],
)
def test_names_for_files(source: str, stem: str) -> None:
    assert stem_of(source) == stem
