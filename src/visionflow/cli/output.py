"""What a command says: progress on standard error, nothing from the libraries under it, one JSON object if asked."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def working(what: str) -> Iterator[None]:
    """A spinner on standard error where that is a terminal."""
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield


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
