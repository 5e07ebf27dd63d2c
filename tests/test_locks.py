"""The locks name every package by its version, nothing of the machine that made them, and what the ranges allow."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
LOCKS = {file.stem: file for file in (ROOT / "locks").glob("*.txt")}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = {"main": "dev", "lmms": "lmms"}


def locked(name: str) -> dict[str, str]:
    """The versions of a lock, by package."""
    return dict(line.split("==") for line in LOCKS[name].read_text().splitlines())


def asked_for(extra: str) -> list[Requirement]:
    """What the package requires with one of its extras, extras of extras as well."""
    found: list[Requirement] = []
    for each in map(Requirement, PROJECT["optional-dependencies"].get(extra, PROJECT["dependencies"])):
        if each.name == PROJECT["name"]:
            found += [more for inner in sorted(each.extras) for more in asked_for(inner)]
        else:
            found.append(each)
    return found


def everything(requirements: list[Requirement]) -> set[str]:
    """The packages that are required and what these require, as far as they are installed here."""
    found: set[str] = set()
    while requirements:
        each = requirements.pop()
        if each.marker and not each.marker.evaluate({"extra": ""}):
            continue
        name = canonicalize_name(each.name)
        if name not in found:
            found.add(name)
            try:
                requirements += map(Requirement, requires(name) or [])
            except PackageNotFoundError:
                continue
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_exact_versions_and_nothing_else(name: str) -> None:
    lines = LOCKS[name].read_text().splitlines()
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*==[0-9][0-9a-z.]*", line) for line in lines)
    assert lines == sorted(lines)
    # Triton is for torch's builds for CUDA; vLLM's second runner is tested in its interpreter.
    of_cuda = ("nvidia-", "cuda-") if name == "vllm" else ("nvidia-", "cuda-", "triton==")
    assert not [line for line in lines if line.startswith(of_cuda)]


@pytest.mark.parametrize(("name", "extra"), EXTRAS.items())
def test_what_is_locked_is_what_the_ranges_allow(name: str, extra: str) -> None:
    versions = locked(name)
    for each in asked_for("") + asked_for(extra):
        assert each.specifier.contains(versions[canonicalize_name(each.name)]), each


def test_the_lock_of_the_tests_is_complete() -> None:
    """As far as the requirements of installed packages tell; a torch for the CPU asks for no more."""
    beyond = everything(asked_for("") + asked_for("dev")) - locked("main").keys()
    assert not {name for name in beyond if not name.startswith(("nvidia-", "cuda-", "triton"))}


def test_lmms_does_without_the_filelock_that_breaks_it() -> None:
    """lmms-eval 0.7.3 imports ``filelock._api``, which is gone from filelock 4.3.1."""
    [filelock] = [each for each in asked_for("lmms") if each.name == "filelock"]
    assert not filelock.specifier.contains("4.3.1")
    assert filelock.specifier.contains("4.2.12")


def test_the_makefile_installs_from_locks_alone() -> None:
    text = (ROOT / "Makefile").read_text()
    installed = {line for line in text.splitlines() if "pip install" in line or "-r locks" in line}
    assert {name for name in LOCKS if any(f"-r locks/{name}.txt" in line for line in installed)} == LOCKS.keys()
