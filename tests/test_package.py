"""What `import visionflow` gives before anything is loaded."""

import subprocess
import sys
from importlib import import_module

import pytest

import visionflow


def test_dir_names_all_that_can_be_had_without_loading_it() -> None:
    assert set(visionflow.__all__) <= set(dir(visionflow))
    script = "import sys, visionflow as v; print('prune' in dir(v), 'HiMAP' in dir(v), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "True True False\n"


@pytest.mark.parametrize(
    ("old", "new"), [("viz.plotting", "report.figures.plotting"), ("viz.flow_figures", "report.figures.flow")]
)
def test_old_addresses_lead_to_the_same_modules(old: str, new: str) -> None:
    assert import_module(f"visionflow.{old}") is import_module(f"visionflow.{new}")
