"""What `import visionflow` gives before anything is loaded."""

import subprocess
import sys

import visionflow


def test_dir_names_all_that_can_be_had_without_loading_it() -> None:
    assert set(visionflow.__all__) <= set(dir(visionflow))
    script = "import sys, visionflow as v; print('prune' in dir(v), 'HiMAP' in dir(v), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "True True False\n"
