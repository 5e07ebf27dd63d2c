"""Files that cannot grow."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def limited_to(size: int) -> Iterator[None]:
    """No file of this process can grow beyond `size` bytes: as a full disk, but for the number of the error."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
