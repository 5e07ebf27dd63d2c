"""Frames of a video: spread evenly, in the order of time, from a folder or a file; or a sentence that says why not."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visionflow import VisionFlowError
from visionflow.loading import videos
from visionflow.loading.videos import is_video, read_video

GREYS = (10, 50, 90, 130, 170, 210)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Frames 5.png to 10.png, each of one grey, and a file that is none."""
    for number, grey in enumerate(GREYS, 5):
        Image.new("RGB", (32, 24), (grey, grey, grey)).save(tmp_path / f"{number}.png")
    (tmp_path / "notes.txt").write_text("no frame")
    return tmp_path


def greys(video: videos.Video) -> list[int]:
    return [round(float(np.asarray(frame).mean())) for frame in video.frames]


@pytest.mark.parametrize(
    ("frames", "places"), [(6, [0, 1, 2, 3, 4, 5]), (20, [0, 1, 2, 3, 4, 5]), (3, [0, 2, 4]), (4, [0, 1, 3, 4])]
)
def test_frames_of_a_folder_are_spread_evenly_in_the_order_of_their_numbers(
    folder: Path, frames: int, places: list[int]
) -> None:
    video = read_video(str(folder), frames)
    assert greys(video) == [GREYS[place] for place in places]
    assert video.metadata.frames_indices == places
    assert (video.metadata.total_num_frames, video.metadata.fps) == (6, 1)


def test_frames_of_several_sizes_are_refused(folder: Path) -> None:
    Image.new("RGB", (20, 20)).save(folder / "7.png")
    with pytest.raises(VisionFlowError, match=r"of several sizes, 20 x 20, 32 x 24: make them one size"):
        read_video(str(folder), 6)


def test_without_a_reader_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"")
    monkeypatch.setattr(videos, "READERS", {"nonesuch_reader": "pyav"})
    with pytest.raises(VisionFlowError, match="needs the package av: pip install av, or give a folder of its frames"):
        read_video(str(tmp_path / "clip.mp4"), 4)


def test_what_is_a_video_is_told_by_its_name(folder: Path) -> None:
    assert [is_video(name) for name in ("a.mp4", "b.WEBM", "c.png", "-", str(folder))] == [
        True,
        True,
        False,
        False,
        True,
    ]


@pytest.mark.skipif(find_spec("av") is None, reason="make test-processors has a reader of videos")
def test_a_file_is_read(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=2)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        for grey in GREYS:
            pixels = np.full((24, 32, 3), grey, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode())
    video = read_video(str(tmp_path / "clip.mp4"), 3)
    assert np.abs(np.subtract(greys(video), GREYS[::2])).max() < 6
    assert (video.metadata.fps, list(video.metadata.frames_indices)) == (2, [0, 2, 4])
    (tmp_path / "words.mp4").write_text("no video")
    with pytest.raises(VisionFlowError, match=r"words\.mp4 cannot be read as a video \(.+\): convert it to MP4"):
        read_video(str(tmp_path / "words.mp4"), 3)
