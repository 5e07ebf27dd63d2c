"""What a machine's matrix products allow by themselves: linear layers of the decoder, run on the tokens that are left.

Most FLOPs of a prefill are products of tokens with weights, and no machine runs those of few tokens at the rate of
those of many: each product reads all its weights. So what is lost to the machine is told from what pruning loses.
"""

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from visionflow.bench.clock import Clock
from visionflow.bench.rounds import Ratio, in_turns, ratio_of_medians


def linear_layers(layer: nn.Module) -> list[nn.Linear]:
    """Those of one decoder layer; experts that are held in one tensor are not among them."""
    return [part for part in layer.modules() if isinstance(part, nn.Linear)]


def product_times(
    layers: Sequence[nn.Linear], counts: Collection[int], rounds: int, clock: Clock
) -> dict[int, list[float]]:
    """Seconds of one product with each layer, by the number of tokens, round by round; a round more warms up.

    Args:
        layers: of one decoder layer.
        counts: numbers of tokens, each run once a round, in turns.
        rounds: how many.
        clock: of their device.
    """
    weight = layers[0].weight
    widths = {layer.in_features for layer in layers}
    inputs = {n: {width: torch.randn(n, width).to(weight.device, weight.dtype) for width in widths} for n in counts}
    times: dict[int, list[float]] = {n: [] for n in counts}
    for turn in in_turns(sorted(counts, reverse=True), rounds + 1):
        for n in turn:
            times[n].append(_seconds(layers, inputs[n], clock))
    return {n: of_n[1:] for n, of_n in times.items()}


@torch.inference_mode()
def _seconds(layers: Sequence[nn.Linear], inputs: Mapping[int, Tensor], clock: Clock) -> float:
    clock.mark()
    for layer in layers:
        layer(inputs[layer.in_features])
    clock.mark()
    [seconds] = clock.laps()
    return seconds


def products_ratio(dense: Sequence[int], pruned: Sequence[int], times: Mapping[int, Sequence[float]]) -> Ratio:
    """The products' time in all layers, dense over pruned.

    Args:
        dense, pruned: tokens in each layer.
        times: of `product_times`.
    """
    return ratio_of_medians(_total(dense, times), _total(pruned, times))


def products_efficiency(dense: Sequence[int], pruned: Sequence[int], times: Mapping[int, Sequence[float]]) -> Ratio:
    """The same over the ratio of their FLOPs: 1 where few tokens run at the rate of many."""
    return products_ratio(dense, pruned, times).over(sum(dense) / sum(pruned))


def _total(counts: Sequence[int], times: Mapping[int, Sequence[float]]) -> list[float]:
    """Of all layers, round by round."""
    return [sum(of_round) for of_round in zip(*(times[n] for n in counts), strict=True)]
