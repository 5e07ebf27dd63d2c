"""What this project says of a GPU, checked on one: ``PYTHONPATH=src python -m tests.gpu``, or ``make gpu``.

Twelve checks by name, all of them (planned for less than nine minutes on an H100) or some; ``--quick`` takes less than
three. Needs torch and transformers alone. ``--tiny`` tries the code out on any machine: its figures mean nothing.
"""

import json
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import torch
import transformers

from tests.gpu.checks import CHECKS, QUICK
from tests.gpu.setting import Finding, Setting

_VERDICTS = {True: "holds", False: "FAILS", None: "not judged"}


def run(names: list[str], setting: Setting) -> list[dict[str, Any]]:
    """Run the checks called so, tell each figure as it is found, and return all."""
    rows = []
    for name in names:
        start = time.perf_counter()
        try:
            findings = list(CHECKS[name](setting))
        except Exception as error:  # one check that fails is not to keep the others from a rented GPU
            findings = [Finding("the check itself", f"{type(error).__name__}: {error}", "runs to its end", False)]
        seconds = time.perf_counter() - start
        print(f"{name} ({seconds:.0f} s)", flush=True)
        for each in findings:
            print(f"  {_VERDICTS[each.holds]:10}  {each.figure}: {each.value}  [{each.expected}]", flush=True)
            rows.append({"check": name, "seconds": round(seconds, 2), **vars(each)})
    return rows


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0 where nothing failed."""
    parser = ArgumentParser(prog="python -m tests.gpu", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=f"all of them, or some: {', '.join(CHECKS)}")
    parser.add_argument("--quick", action="store_true", help=f"{', '.join(QUICK)}")
    parser.add_argument("--tiny", action="store_true", help="tiny models, to try the code out")
    parser.add_argument("--device", default="cuda", help="cuda (the default), or cpu for --tiny")
    parser.add_argument("--json", type=Path, help="a file for all figures")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.checks if name not in CHECKS]
    if unknown:
        parser.error(f"no check is called {unknown[0]!r}: one of {', '.join(CHECKS)}")
    device = torch.device(given.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU here: --tiny --device cpu tries the code out")
    if device.type != "cuda" and not given.tiny:
        parser.error("models of real shapes are for a GPU: add --tiny")
    machine = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{machine}, torch {torch.__version__}, transformers {transformers.__version__}", flush=True)
    rows = run(given.checks or list(QUICK if given.quick else CHECKS), Setting(device, given.tiny))
    if given.json:
        versions = {"torch": torch.__version__, "transformers": transformers.__version__}
        given.json.write_text(json.dumps({"machine": machine, **versions, "tiny": given.tiny, "rows": rows}, indent=1))
    failed = sum(row["holds"] is False for row in rows)
    print(f"{len(rows)} figures, {failed} not as expected", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
