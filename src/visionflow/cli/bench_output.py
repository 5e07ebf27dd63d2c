"""Where results of the benches go: a folder looked at before the work, a file and a figure in it, and the screen."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from visionflow.cli.folders import check_out
from visionflow.cli.output import print_json
from visionflow.errors import VisionFlowError
from visionflow.report.sheet import screen


def make_folder(out: Path | None) -> None:
    """Make the folder, and see before the work that a figure can be drawn.

    Raises:
        VisionFlowError: it cannot be a folder, or matplotlib is missing.
    """
    if out is None:
        return
    from visionflow.report.figures.plotting import check_matplotlib

    check_matplotlib()
    check_out(out)
    out.mkdir(parents=True, exist_ok=True)


def tell(
    found: dict[str, Any],
    name: str,
    out: Path | None,
    as_json: bool,
    draw: Callable[[dict[str, Any], Path], None],
    show: Callable[[dict[str, Any], Console], None],
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
    console = screen()
    show(found, console)
    if out:
        console.print(f"\nThe results are in {results}, the figure in {figure}", soft_wrap=True)
