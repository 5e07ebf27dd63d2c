"""The frames of a video: from a file, by whichever reader of videos is installed, or from a folder of pictures."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image
from transformers.video_utils import VideoMetadata, load_video

from visionflow.errors import VisionFlowError, line_of
from visionflow.loading.pictures import read_picture

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg")
READERS = {"av": "pyav", "torchcodec": "torchcodec", "cv2": "opencv", "decord": "decord"}
"""Packages that read videos, and what transformers calls each; the first that is installed does it."""
A_SECOND_APART = 1.0  # frames of a folder, which says nothing of their time


@dataclass(frozen=True)
class Video:
    """Some frames of a video.

    Attributes:
        frames: RGB, all of one size, in the order of time.
        metadata: how many there are in the whole video, how many a second, and which of them these are.
    """

    frames: Sequence[Image.Image]
    metadata: VideoMetadata


def is_video(source: str) -> bool:
    """Whether `source` is meant for a video: by its suffix, or a folder."""
    return source.lower().endswith(SUFFIXES) or Path(source).expanduser().is_dir()


def read_video(source: str, frames: int) -> Video:
    """The video at `source`, a file or a folder of its frames, as so many frames spread evenly, or all if it has fewer.

    Frames of a folder are in the order of their names, numbers in them by size (2.png before 10.png), and are taken to
    be a second apart.

    Raises:
        VisionFlowError: it cannot be read, or nothing that reads videos is installed.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return _of_folder(path, frames)
    if not path.is_file():
        raise VisionFlowError(f"no such file: {source} (a video is a file here, or a folder of its frames)")
    reader = next((name for package, name in READERS.items() if find_spec(package)), None)
    if reader is None:
        raise VisionFlowError("reading a video needs the package av: pip install av, or give a folder of its frames")

    def evenly(metadata: VideoMetadata, **_: Any) -> list[int]:
        return _evenly(metadata.total_num_frames, frames)

    try:
        pixels, metadata = load_video(str(path), backend=reader, sample_indices_fn=evenly)
        shown = [Image.fromarray(frame) for frame in pixels]
    except Exception as error:  # each reader fails in its own way
        raise VisionFlowError(
            f"{source} cannot be read as a video ({line_of(error)}): convert it to MP4, or give a folder of its frames"
        ) from error
    if not shown:
        raise VisionFlowError(f"{source} does not say how many frames it has: convert it to MP4")
    return Video(shown, metadata)


def _of_folder(folder: Path, frames: int) -> Video:
    known = Image.registered_extensions()
    paths = sorted((path for path in folder.iterdir() if path.suffix.lower() in known), key=_by_number)
    if not paths:
        raise VisionFlowError(f"there are no pictures in the folder {folder}: give one of the frames of a video")
    places = _evenly(len(paths), frames)
    shown = [read_picture(str(paths[place])) for place in places]
    sizes = sorted({f"{picture.width} x {picture.height}" for picture in shown})
    if len(sizes) > 1:
        raise VisionFlowError(f"the frames in {folder} are of several sizes, {', '.join(sizes)}: make them one size")
    return Video(shown, VideoMetadata(len(paths), A_SECOND_APART, *shown[0].size, len(paths), None, places))


def _by_number(path: Path) -> list[tuple[int, str]]:
    return [(int(digits or -1), text) for digits, text in re.findall(r"(\d+)|(\D+)", path.name)]


def _evenly(total: int, most: int) -> list[int]:
    count = min(total, most)
    return [place * total // count for place in range(count)]
