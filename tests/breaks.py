"""Break the code on purpose, one line at a time, and see the oracle that guards it fail: ``make breaks``.

``python tests/breaks.py exit "withheld keys"`` tries those of these oracles alone.

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
        "core/cutting.py",
        "return any(cuts_sample(cut, n)",
        "return True or any(cuts_sample(cut, n)",
        "test_dropping_nothing_changes_no_bit",
    ),
    Break(
        "2 drop equals mask",
        "the padding mask is forgotten after a cut",
        "engines/hf/fitting.py",
        "if mask is None and layout.full:",
        "if self.past == 0:",
        "test_dropping_equals_masking",
    ),
    Break(
        "3 cached equals uncached",
        "decoding takes the first generated key for a filler",
        "engines/hf/layout.py",
        "torch.cat([held, tail.expand(len(held), -1)], 1)",
        "torch.cat([held, tail.where(tail > self.covered + 1, 0).expand(len(held), -1)], 1)",
        "test_cached_tokens_equal_uncached_tokens",
    ),
    Break(
        "4 batch equals single",
        "all samples are ranked by the scores of the first",
        "core/selection.py",
        "ranked = scores.float()",
        "ranked = scores[:1].expand_as(scores).float()",
        "test_a_sample_gets_in_a_batch_what_it_gets_alone",
    ),
    Break(
        "5 score equals definition",
        "the maximum over heads instead of the mean",
        "core/attention.py",
        "over_processes(weights.mean(dim=1)",
        "over_processes(weights.amax(dim=1)",
        "test_scores_equal_the_definition_on_eager_attention",
    ),
    Break(
        "5 score equals definition",
        "one key too many is left out as too late for a chunk of rows",
        "core/attention.py",
        "self.index.shape[1] - end if self.by_place",
        "self.index.shape[1] - end + 1 if self.by_place",
        "test_reductions_equal_the_whole_matrix",
    ),
    Break(
        "5 score equals definition",
        "the log-sum-exp counts keys that come after the row",
        "core/log_sum_exp.py",
        "(columns.unsqueeze(1) <= index.unsqueeze(2))",
        "(columns.unsqueeze(1) >= 0)",
        "test_what_rows_pay_from_the_log_sum_exp",
    ),
    Break(
        "5 score equals definition",
        "what a row is divided by is rounded to half precision",
        "core/log_sum_exp.py",
        "bias = bias - answering[..., place]",
        "bias = torch.zeros_like(bias)",
        "test_what_rows_read_from_two_log_sum_exps",
    ),
    Break(
        "5 score equals definition",
        "what text between pictures reads of later ones counts for these",
        "core/reductions.py",
        "received(rows) if rows.by_place else _received(rows, _of_earlier)",
        "received(rows)",
        "test_received_after_counts_text",
    ),
    Break(
        "5 score equals definition",
        "scores are not capped",
        "core/attention.py",
        "if self.softcap is not None:",
        "if False:",
        "test_every_row_is_that_of_the_layer",
    ),
    Break(
        "5 score equals definition",
        "products are made in bf16 under autocast",
        "core/attention.py",
        "    with out_of_autocast(rows.device):\n",
        "    with nullcontext():\n",
        "test_what_watches_compute_is_that_of_fp32",
    ),
    Break(
        "6 restored",
        "the probed attention module keeps its copied config",
        "engines/hf/attention_functions.py",
        ', partial(setattr, module, "config", config)]',
        "]",
        "test_the_model_is_restored",
    ),
    Break(
        "6 restored",
        "an exception leaves the hooks where they are",
        "engines/hf/scope.py",
        "        self.remove()\n\n    @property",
        "        if error is None:\n            self.remove()\n\n    @property",
        "test_the_model_is_restored_after_an_exception_in_the_forward_pass",
    ),
    Break(
        "7 counted equals modelled",
        "the probe is not counted",
        "cost/model.py",
        "(layers + probes + around)",
        "(layers + around)",
        "test_counted_flops_equal_modelled_flops",
    ),
    Break(
        "8 positions",
        "kept tokens are numbered anew",
        "engines/hf/present.py",
        "index = places.to(value.device).view(",
        "index = torch.arange(places.shape[1], device=value.device).expand(places.shape).reshape(",
        "test_kept_and_generated_tokens_have_their_unpruned_positions",
    ),
    Break(
        "blocks",
        "a blocked layer blocks all later ones too, as the released code does",
        "engines/hf/blocking.py",
        "if block.mode == mode and layer in block.layers",
        "if block.mode == mode and layer >= min(block.layers, default=99)",
        "test_layers_after_a_blocked_one_run_free",
    ),
    Break(
        "zeroed flow",
        "rows lose all that they read where they should lose a part",
        "core/layer.py",
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
    Break(
        "leave-one-out",
        "what the token itself weighs is left out of the length of the rest",
        "core/contribution.py",
        "left = (total - 2 * self.dot + self.square)",
        "left = (total - 2 * self.dot)",
        "test_closed_form_equals_the_direct_computation",
    ),
    Break(
        "leave-one-out",
        "the output is that of the first chunk of keys",
        "core/contribution.py",
        "for a, v in chunks])\n",
        "for a, v in chunks[:1]])\n",
        "test_closed_form_equals_the_direct_computation",
    ),
    Break(
        "firing layer",
        "all samples are cut where the first one fires",
        "methods/visipruner_phases.py",
        "if fires[sample] or",
        "if fires[0] or",
        "test_each_sample_has_its_own_firing_layer_tokens_and_exit_as_when_alone",
    ),
    Break(
        "firing layer",
        "what a relative threshold is relative to is forgotten",
        "methods/visipruner_phases.py",
        "method.token_threshold * scale)",
        "method.token_threshold)",
        "test_the_threshold_may_be_relative",
    ),
    Break(
        "exit",
        "a layer that matters does not start the count of quiet ones anew",
        "methods/visipruner_phases.py",
        "self._quiet[sample] = 0",
        "pass",
        "test_the_exit_waits_for_quiet_layers",
    ),
    Break(
        "withheld keys",
        "they stay in the cache, and the record says that they are gone",
        "engines/hf/prompt_pass.py",
        "self.cache.layers[layer].forget(place)",
        "pass",
        "test_the_cache_is_as_large_as_the_cost_says",
    ),
    Break(
        "withheld keys",
        "a layer without them tells its own length for the length of the sequence",
        "engines/hf/caches.py",
        "return int(super().get_seq_length() + (self.dropped if self.is_initialized else 0))",
        "return int(super().get_seq_length())",
        "test_kept_and_generated_tokens_have_their_unpruned_positions",
    ),
    Break(
        "pruned caches",
        "samples are reordered, and what is held of them is not",
        "engines/hf/caches.py",
        "self._move(beam_idx, lambda part: part.index_select(0, beam_idx.to(part.device)))",
        "pass",
        "test_samples_are_moved_with_what_is_held_of_them",
    ),
    Break(
        "pruned caches",
        "a plain model reads what fills up the shorter samples",
        "engines/hf/caches.py",
        "alone = alone and all(layout.full and layout.closed is None for layout in pruned)",
        "alone = alone",
        "test_what_needs_a_scope_says_so",
    ),
    Break(
        "static caches",
        "a layer tells how many keys it holds for the length of the sequence",
        "engines/hf/static_caches.py",
        "self.dropped = total - held",
        "self.dropped = 0",
        "test_answers_are_those_on_dynamic_caches",
    ),
    Break(
        "static caches",
        "a step depends on how long its prompt was, and is compiled anew for another",
        "engines/hf/static_caches.py",
        "whole = layout.until(columns)",
        "whole = layout",
        "test_a_step_is_one_graph_which_is_good_for_other_prompts",
    ),
    Break(
        "static caches",
        "a step runs on layers that grow, as a prompt does, and has to read how much there is",
        "engines/hf/static_caches.py",
        "return isinstance(cache, StaticCache) and all(_is_left(layer) for layer in cache.layers)",
        "return False",
        "test_a_step_waits_for_nothing_and_looks_up_little",
    ),
    Break(
        "skipped pairs",
        "under flash attention the picture reads the text before it causally",
        "engines/hf/skip.py",
        'seen = _part(tokens, ("image",), ("system",), causal=False)',
        'seen = _part(tokens, ("image",), ("system",), causal=True)',
        "test_tokens_leave_the_picture_out_without_a_mask",
    ),
    Break(
        "skipped pairs",
        "they are counted as run",
        "core/trace.py",
        "pairs = [n * n - skipped[-1]",
        "pairs = [n * n",
        "test_counted_flops_equal_modelled_flops",
    ),
    Break(
        "skipped pairs",
        "the shorter samples of a batch read what fills them up",
        "engines/hf/skip.py",
        "own = masks.forbid(masks.take_columns(mask, keys.to(mask.device)), ~real.to(mask.device)[:, None, None, :])",
        "own = masks.take_columns(mask, keys.to(mask.device))",
        "test_skipping_equals_masking",
    ),
    Break(
        "skipped pairs",
        "a look at the layer finds attention where nothing was read",
        "engines/hf/prompt_pass.py",
        "see(self.blocking.as_read(attention))",
        "see(attention)",
        "test_a_watch_sees_what_was_read",
    ),
    Break(
        "folded flow",
        "the image tokens keep what the first of them is given",
        "core/layer.py",
        "read.sum(3, keepdim=True) * first - read",
        "read.sum(3, keepdim=True) * first",
        "test_folded_attention_goes_to_the_first_image_token",
    ),
    Break(
        "calibration",
        "norms are those of the first layer looked at, not of the layer that fires",
        "tuning/thresholds.py",
        "torch.cat([of_layers[layer] for",
        "torch.cat([of_layers[0] for",
        "test_the_share_asked_for_fires_and_keeps_as_many_as_asked_for",
    ),
    Break(
        "2 drop equals shorter",
        "what was merged before counts as one token when it is merged again",
        "core/cutting.py",
        "weighted = exact(states) * sizes.unsqueeze(2)",
        "weighted = exact(states) * torch.ones_like(sizes).unsqueeze(2)",
        "test_dropping_equals_running_the_shorter_sequence",
    ),
    Break(
        "3 cached equals uncached",
        "a first layer that was cut tells the length of what it holds, not of the sequence",
        "engines/hf/caches.py",
        "told = layer in telling or",
        "told = (layer and layer in telling) or",
        "test_cached_tokens_equal_uncached_tokens",
    ),
    Break(
        "3 cached equals uncached",
        "looking at a layer before it runs writes to its cache",
        "engines/hf/caches.py",
        "twin.layers = [_twin_of(each) if place == layer else each for place, each in enumerate(cache.layers)]",
        "twin.layers = cache.layers",
        "test_cached_tokens_equal_uncached_tokens",
    ),
    Break(
        "4 batch equals single",
        "a set is chosen among fillers too",
        "core/greedy.py",
        "order = torch.full_like(value, -torch.inf)",
        "left, order = torch.ones_like(left), torch.full_like(value, -torch.inf)",
        "test_a_sample_gets_in_a_batch_what_it_gets_alone",
    ),
    Break(
        "5 score equals definition",
        "the layer that has run is looked at instead of the one about to run",
        "core/plan.py",
        'read = self.layer - (when == "ran")',
        "read = self.layer - 1",
        "test_attention_is_that_of_the_layer",
    ),
    Break(
        "5 score equals definition",
        "the largest weight of any head is taken for the mean",
        "core/attention.py",
        'if self.joined == "max":',
        'if self.joined == "maximum":',
        "test_attention_is_that_of_the_layer",
    ),
    Break(
        "5 score equals definition",
        "features of the pictures are not cut with their tokens",
        "engines/hf/present.py",
        "return values if self.places is None else take(values, self.places, 1)",
        "return values[:, : self.tokens.columns.shape[1]]",
        "test_choices_on_features_are_those_of_the_definition",
    ),
    Break(
        "5 score equals definition",
        "after the first choice the nearest of all tokens counts, not the nearest chosen",
        "core/greedy.py",
        "torch.maximum(nearest, of_chosen) if step else of_chosen",
        "torch.maximum(nearest, of_chosen)",
        "test_choices_on_features_are_those_of_the_definition",
    ),
    Break(
        "7 counted equals modelled",
        "the dense run is that of the tokens that the first layer sees",
        "core/trace.py",
        "cached, self._given_rows, probes",
        "cached, self.lengths[0], probes",
        "test_counted_flops_equal_modelled_flops",
    ),
    Break(
        "7 counted equals modelled",
        "the text that a set covers costs nothing",
        "core/coverage.py",
        "return n * (n + text)",
        "return n * n",
        "test_counted_flops_equal_modelled_flops",
    ),
    Break(
        "8 positions",
        "a token that comes later is numbered on from the whole prompt",
        "engines/hf/fitting.py",
        "given - layout.closed.to(given.device).unsqueeze(1)",
        "given - 0 * layout.closed.to(given.device).unsqueeze(1)",
        "test_greedy_answers_are_those_of_the_shorter_prompt",
    ),
    Break(
        "5 score equals definition",
        "every text row rates",
        "core/attention.py",
        "real * self.share.gather(1, self.places[:, start:end])",
        "real",
        "test_sparsevlm",
    ),
    Break(
        "5 score equals definition",
        "scores are taken from the evidence that is there for its features",
        "core/evidence.py",
        "return Shown(before.scores, shown.features)",
        "return Shown(shown.scores, shown.features)",
        "test_dart",
    ),
    Break(
        "5 score equals definition",
        "what stands out covers nothing",
        "core/coverage.py",
        "tokens, rest, covered)",
        "tokens, rest)",
        "test_cover",
    ),
    Break(
        "5 score equals definition",
        "a determinant takes no notice of what is chosen",
        "core/greedy.py",
        "left = left - factor[:, step] ** 2",
        "left = left + 0 * factor[:, step]",
        "test_cdpruner",
    ),
    Break(
        "7 counted equals modelled",
        "projections of a look before the layer are not counted",
        "cost/conventions.py",
        "* keys * query + look",
        "* keys * query",
        "test_counted_flops_equal_modelled_flops",
    ),
    Break(
        "accelerator",
        "counts are copied to the device, for which the host waits, at every cut",
        "core/tokens.py",
        "    parts = [torch.full((many, 1), value, device=device, dtype=dtype) for value, many in runs]",
        "    parts = [torch.tensor([[value]] * many, device=device) for value, many in runs]",
        "test_the_layer_loop_waits_for_nothing_but_decisions",
    ),
    Break(
        "accelerator",
        "each layer makes its blocked mask anew, and waits for whether it leaves any to read",
        "engines/hf/blocking.py",
        "self._memo.once((mask, tokens, *blocks), lambda: self._blocked(mask, blocks, tokens))",
        "self._blocked(mask, blocks, tokens)",
        "test_a_blocked_flow_waits_once",
    ),
    Break(
        "states",
        "what fills up the shorter samples enters them",
        "engines/hf/fitting.py",
        "masks[self._state_mask] = tokens.valid if",
        "masks[self._state_mask] = None if",
        "test_uneven_samples_and_text_alone_get_what_they_get_by_themselves",
    ),
    Break(
        "states",
        "layer 0 is to tell the length of the sequence, and has no attention",
        "engines/hf/prompt_pass.py",
        "telling = [self._backend.first, ",
        "telling = [0, ",
        "test_the_first_layer_with_attention_tells_the_length",
    ),
    Break(
        "states",
        "the tokens that are left are numbered anew",
        "engines/hf/fitting.py",
        "lambda: take(part, places, axis)",
        "lambda: part.narrow(axis, 0, places.shape[1])",
        "test_dropping_equals_the_shorter_sequence",
    ),
    Break(
        "answers along",
        "an answer beside its prompt is taken for a part of the question",
        "core/tokens.py",
        "< length - answer_tokens)",
        "< length)",
        "test_an_answer_along_reads_what_it_reads_on_the_cache",
    ),
    Break(
        "answers along",
        "a draw hangs on the answer beside the prompt",
        "core/draw.py",
        "asked = tokens.valid & ~tokens.answer.mask",
        "asked = tokens.valid",
        "test_what_is_kept_does_not_hang_on_the_answer",
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
                "tests/engine",
                "tests/flow",
                "tests/methods",
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


def main(oracles: list[str]) -> None:
    """Try every break, or those of the oracles whose names hold one of the words given."""
    for broken in [each for each in BREAKS if not oracles or any(word in each.oracle for word in oracles)]:
        print(f"{broken.oracle}: {broken.story} -> {broken.test}: {seen_failing(broken)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
