"""Break the code on purpose, one line at a time, and see the oracle that guards it fail: ``make breaks``.

A test that cannot fail is worse than none. Each break is made in a copy of the sources; the check fails if the text to
replace is gone or if the oracle passes all the same.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent


class Break(NamedTuple):
    """Replace `old` by `new` in `file` of the package: `test` has to fail."""

    oracle: str
    story: str
    file: str
    old: str
    new: str
    test: str


BREAKS = [
    Break(
        "1 identity",
        "the sequence is laid out anew although nothing is dropped",
        "runtime/prompt.py",
        "return all(n == 0 or",
        "return False and all(n == 0 or",
        "test_dropping_nothing_changes_no_bit",
    ),
    Break(
        "2 drop equals mask",
        "the padding mask is forgotten after a cut",
        "runtime/forward.py",
        "if mask is None and held.full:",
        "if self._past == 0:",
        "test_dropping_equals_masking",
    ),
    Break(
        "3 cached equals uncached",
        "decoding takes the first generated key for a filler",
        "runtime/held.py",
        "real = torch.ones_like(tail, dtype=torch.bool)\n        return Held(torch.cat([self.index, tail], 1), "
        "torch.cat([self.real, real], 1), self.full, total)",
        "real = tail > self.covered\n        return Held(torch.cat([self.index, tail], 1), "
        "torch.cat([self.real, real], 1), False, total)",
        "test_cached_tokens_equal_uncached_tokens",
    ),
    Break(
        "4 batch equals single",
        "all samples are ranked by the scores of the first",
        "runtime/tokens.py",
        "ranked = scores.float()",
        "ranked = scores[:1].expand_as(scores).float()",
        "test_a_sample_gets_in_a_batch_what_it_gets_alone",
    ),
    Break(
        "5 score equals definition",
        "the maximum over heads instead of the mean",
        "runtime/attention.py",
        "weights.float().mean(dim=1)",
        "weights.float().amax(dim=1)",
        "test_scores_equal_the_definition_on_eager_attention",
    ),
    Break(
        "6 restored",
        "the probed attention module keeps its copied config",
        "runtime/scope.py",
        'self._undo.append(partial(setattr, module, "config", config))',
        "pass",
        "test_the_model_is_restored",
    ),
    Break(
        "6 restored",
        "an exception leaves the hooks where they are",
        "runtime/scope.py",
        "        self.remove()\n\n    def remove",
        "        if error is None:\n            self.remove()\n\n    def remove",
        "test_the_model_is_restored_after_an_exception_in_the_forward_pass",
    ),
    Break(
        "7 counted equals modelled",
        "the probe is not counted",
        "cost/model.py",
        "+ probed + head",
        "+ head",
        "test_counted_flops_equal_modelled_flops",
    ),
    Break(
        "8 positions",
        "kept tokens are numbered anew",
        "runtime/prompt.py",
        "index = rows.to(value.device).view(",
        "index = torch.arange(rows.shape[1], device=value.device).expand(rows.shape).reshape(",
        "test_kept_and_generated_tokens_have_their_unpruned_positions",
    ),
    Break(
        "blocks",
        "a blocked layer blocks all later ones too, as the released code does",
        "runtime/prompt.py",
        "if layer in block.layers and",
        "if layer >= min(block.layers, default=99) and",
        "test_layers_after_a_blocked_one_run_free",
    ),
    Break(
        "zeroed flow",
        "rows lose all that they read where they should lose a part",
        "runtime/layer.py",
        "output.scatter_add(1, index",
        "output.scatter(1, index",
        "test_zeroed_flow_is_gone_and_the_rest_stays_as_it_was",
    ),
    Break(
        "saliency",
        "the absolute value is taken head by head, as in the released code",
        "flow/saliency_measures.py",
        "return (weights * gradient).sum(1).abs()",
        "return (weights * gradient).abs().sum(1)",
        "test_saliency_is_its_definition",
    ),
]


def seen_failing(broken: Break) -> str:
    """Run the oracle on the broken copy; returns pytest's last line.

    Raises:
        SystemExit: the text is gone, or the oracle passed.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "src"
        shutil.copytree(ROOT / "src", copy, ignore=shutil.ignore_patterns("*.safetensors", "__pycache__"))
        file = copy / "visionflow" / broken.file
        source = file.read_text()
        if source.count(broken.old) != 1:
            raise SystemExit(f"oracle {broken.oracle}: the text to break is not (once) in {broken.file}")
        file.write_text(source.replace(broken.old, broken.new))
        run = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "tests/runtime",
                "tests/flow",
                "-x",
                "-p",
                "no:cacheprovider",
                "-k",
                broken.test,
            ],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(copy)},
            capture_output=True,
            text=True,
            check=False,
        )
    last = run.stdout.strip().splitlines()[-1]
    if run.returncode != 1 or "failed" not in last:
        raise SystemExit(f"oracle {broken.oracle} did not see that {broken.story}: {last}")
    return last


def main() -> None:
    """Try every break."""
    for broken in BREAKS:
        print(f"{broken.oracle}: {broken.story} -> {broken.test}: {seen_failing(broken)}", flush=True)


if __name__ == "__main__":
    main()
