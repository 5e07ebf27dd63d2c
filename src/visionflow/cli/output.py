"""What a command says: progress on standard error, nothing from the libraries under it, one JSON object if asked."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionflow.errors import VisionFlowError

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def working(what: str) -> Iterator[Callable[[str], None]]:
    """A spinner on standard error where that is a terminal; yields what is to be called with the next step."""
    from rich.console import Console

    with Console(stderr=True).status(what) as status:
        yield lambda step: status.update(step)


def quiet_libraries(model: str) -> None:
    """Silence remarks and loading bars of transformers; the bars of a download from the Hub stay."""
    import logging

    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    if model == "embedded" or Path(model).is_dir():
        transformers_logging.disable_progress_bar()


def print_json(content: Mapping[str, object]) -> None:
    """One object, and nothing else, on standard output."""
    print(json.dumps(content, indent=2))


def tell(
    found: dict[str, Any],
    name: str,
    out: Path | None,
    as_json: bool,
    draw: Callable[[dict[str, Any], Path], None],
    show: "Callable[[dict[str, Any], Console], None]",
) -> None:
    """Keep the results as ``NAME.json`` and ``NAME.png`` where there is a folder, and print them.

    Raises:
        VisionFlowError: they cannot be written.
    """
    if out:
        results, figure = out / f"{name}.json", out / f"{name}.png"
        try:
            results.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise VisionFlowError(f"cannot write {results} ({error.strerror}): choose another --out") from error
        draw(found, figure)
    if as_json:
        print_json(found)
        return
    from visionflow.report.sheet import screen

    console = screen()
    show(found, console)
    if out:
        console.print(f"\nThe results are in {results}, the figure in {figure}", soft_wrap=True)
