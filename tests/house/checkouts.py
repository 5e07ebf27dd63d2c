"""Sources of any age, by folder or by git revision."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parent.parent.parent
HERE = "here"


@contextmanager
def source(of: str) -> Iterator[Path]:
    """The folder ``src`` of a checkout: of this one ("here"), in another folder, or of a git revision.

    A revision is unpacked for as long as the scope is open.
    """
    folder = ROOT if of == HERE else Path(of)
    if folder.is_dir():
        yield folder.absolute() / "src"
        return
    with TemporaryDirectory() as unpacked:
        archive = subprocess.run(["git", "archive", of, "src"], cwd=ROOT, capture_output=True, check=False)
        if archive.returncode:
            raise SystemExit(f"{of} is neither a folder nor a git revision: {archive.stderr.decode().strip()}")
        subprocess.run(["tar", "-x", "-C", unpacked], input=archive.stdout, check=True)
        yield Path(unpacked) / "src"
