"""The public data sets of the papers' tables: where they come from, how large they are, where they lie here."""

import os
from dataclasses import dataclass
from pathlib import Path

from visionflow.errors import VisionFlowError


@dataclass(frozen=True)
class DataSet:
    """One data set, as far as it is asked.

    Attributes:
        repo: ``owner/name`` on the Hub.
        files: the parquet files of the split that is asked, a pattern inside the repository.
        split: as lmms-eval's task calls it.
        questions: how many there are.
        megabytes: of these files, as listed on the Hub.
        fetched: megabytes that lmms-eval fetches: all splits.
        pictures: the parquet files with the pictures, where the questions have none.
    """

    repo: str
    files: str
    split: str
    questions: int
    megabytes: float
    fetched: float
    pictures: str | None = None

    def local(self, folder: Path) -> Path | None:
        """Its copy in `folder`: a subfolder called ``name`` or ``owner/name``, laid out as on the Hub; None if there is
        none.

        Raises:
            VisionFlowError: there is a copy, and the files that are needed are not in it.
        """
        for copy in (folder / self.repo, folder / self.repo.partition("/")[2]):
            if copy.is_dir():
                for pattern in filter(None, (self.files, self.pictures)):
                    if not any(copy.glob(pattern)):
                        raise VisionFlowError(f"there is no {pattern} in {copy}: download {self.repo} there again")
                return copy
        return None

    def in_cache(self) -> bool:
        """Whether the Hub's cache (HF_HOME) has something of it; whether all of it, only loading it would tell."""
        return _in_cache("datasets", self.repo)


# Sizes: the Hub's file listings of lmms-lab/..., the place these data sets had before lmms-lab-encoder/..., and of
# HuggingFaceM4/A-OKVQA and Lin-Chen/MMStar, in copies of those pages; none was downloaded here.
SCIENCE_QA = DataSet("lmms-lab-encoder/ScienceQA", "ScienceQA-IMG/test-*.parquet", "test", 2017, 130, 663)
A_OKVQA = DataSet("HuggingFaceM4/A-OKVQA", "data/validation-*.parquet", "validation", 1145, 60, 60)
POPE = DataSet("lmms-lab-encoder/POPE", "data/test-*.parquet", "test", 9000, 255, 255)
NOCAPS = DataSet("lmms-lab-encoder/NoCaps", "data/validation-*.parquet", "validation", 4500, 1420, 4761)
FLICKR30K = DataSet("lmms-lab-encoder/flickr30k", "data/test-*.parquet", "test", 31783, 4410, 4410)
LLAVA_BENCH = DataSet("lmms-lab-encoder/llava-bench-in-the-wild", "data/train-*.parquet", "train", 60, 10, 10)
MM_VET = DataSet("lmms-lab-encoder/MMVet", "data/test-*.parquet", "test", 218, 67, 67)
GQA = DataSet(
    "lmms-lab-encoder/GQA",
    "testdev_balanced_instructions/testdev-*.parquet",
    "testdev",
    12578,
    68,
    68,
    pictures="testdev_balanced_images/testdev-*.parquet",
)
TEXT_VQA = DataSet("lmms-lab-encoder/textvqa", "data/validation-*.parquet", "validation", 5000, 920, 7700)
MME = DataSet("lmms-lab-encoder/MME", "data/test-*.parquet", "test", 2374, 865, 865)
MMBENCH = DataSet("lmms-lab-encoder/MMBench", "en/dev-*.parquet", "dev", 4329, 97, 238)
MMSTAR = DataSet("Lin-Chen/MMStar", "mmstar.parquet", "val", 1500, 42, 42)

ALL = (
    SCIENCE_QA,
    A_OKVQA,
    POPE,
    NOCAPS,
    FLICKR30K,
    LLAVA_BENCH,
    MM_VET,
    GQA,
    TEXT_VQA,
    MME,
    MMBENCH,
    MMSTAR,
)

GIGABYTES = {"llava-hf/llava-1.5-7b-hf": 14.1, "llava-hf/llava-1.5-13b-hf": 26.7}
"""Of weights: the first as listed on the Hub, the second from its number of parameters."""


def model_in_cache(name: str) -> bool:
    """Whether the Hub's cache (HF_HOME) has something of a model."""
    return _in_cache("models", name)


def _in_cache(kind: str, repo: str) -> bool:
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(HF_HUB_CACHE) / f"{kind}--{repo.replace('/', '--')}" / "snapshots"
    return folder.is_dir() and any(os.scandir(folder))
