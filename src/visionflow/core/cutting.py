"""The one place where counts, probes and choices are decided: engines bring the tensors and carry out what comes back.

For each cut of a plan an engine asks `drops` (is there anything to do), shows the evidence (`probe`, features, or
nothing), lets `choose` decide, and takes the hidden states at ``Taken.index``, after `merged` where tokens are merged.
"""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from visionflow.core.attention import AttentionRows, exact
from visionflow.core.evidence import Attention, Features, FromTokens, Shown, Tower
from visionflow.core.plan import Cut, Plan
from visionflow.core.selection import Chosen
from visionflow.core.tokens import Tokens, pack
from visionflow.errors import UnsupportedUsageError


@dataclass(frozen=True)
class Taken:
    """The tokens that stay at a cut: the text, and the image tokens chosen.

    Attributes:
        index: int64 ``[batch, fewer]``, their places among the tokens that were present, padded on the left.
        real: bool ``[batch, fewer]``, False for fillers.
        tokens: the tokens that stay.
    """

    index: Tensor
    real: Tensor
    tokens: Tokens


def cuts_sample(cut: Cut, image_tokens: int) -> bool:
    """Whether `cut` may drop some of a sample's image tokens."""
    return image_tokens > 0 and cut.keep(image_tokens) != image_tokens


def drops(cut: Cut, tokens: Tokens) -> bool:
    """Whether `cut` may drop something of these samples: False is certain, and then nobody looks."""
    return any(cuts_sample(cut, n) for n in tokens.image.counts)


def probe(rows: AttentionRows, evidence: Attention) -> Shown:
    """What some rows of attention show."""
    return Shown(evidence.reduce(rows))


def counts_after(cut: Cut, tokens: Tokens) -> tuple[int, ...] | None:
    """How many image tokens of each sample stay, known on the host; None where their scores say so.

    Raises:
        UnsupportedUsageError: a number is not between 0 and the tokens that there are.
    """
    counts = [cut.keep(n) for n in tokens.image.counts]
    known = tuple(kept for kept in counts if kept is not None)
    if len(known) < len(counts):
        return None
    if any(not 0 <= kept <= n for kept, n in zip(known, tokens.image.counts, strict=True)):
        raise UnsupportedUsageError(
            f"the cut before layer {cut.layer} is to keep {list(known)} of {list(tokens.image.counts)} image tokens: "
            "what is kept of n must lie between 0 and n"
        )
    return known


def choose(cut: Cut, tokens: Tokens, shown: Shown | None) -> tuple[Chosen, tuple[int, ...]]:
    """Which image tokens stay at `cut`, and how many of each sample.

    Args:
        cut: one that drops something.
        tokens: the tokens present.
        shown: the evidence; None where it is made of the tokens alone.
    """
    if shown is None:
        assert isinstance(cut.evidence, FromTokens)
        shown = cut.evidence.show(tokens)
    counts = counts_after(cut, tokens)
    if counts is None:
        assert shown.scores is not None
        counts = tuple(((shown.scores > 0) & tokens.image.mask).sum(1).tolist())
    return cut.select(shown, tokens, counts), counts


def take(tokens: Tokens, keep: Tensor, counts: tuple[int, ...]) -> Taken:
    """The text, and the image tokens `keep` (bool ``[batch, tokens]``), `counts` of each sample."""
    dropped = (n - kept for n, kept in zip(tokens.image.counts, counts, strict=True))
    width = max(length - fewer for length, fewer in zip(tokens.lengths(), dropped, strict=True))
    goes = tokens.image.mask > keep  # of bools: the one and not the other
    index, real = pack(tokens.valid > goes, width)
    return Taken(index, real, tokens.take(index, real, counts))


def merged(states: Tensor, sizes: Tensor, into: Tensor) -> tuple[Tensor, Tensor]:
    """States in which each token that others are merged into is the mean of all, weighted by their sizes.

    Args:
        states: ``[batch, tokens, width]``.
        sizes: fp32 ``[batch, tokens]``, how many tokens of the prompt each stands for.
        into: int64 ``[batch, tokens]``, see `Chosen`.

    Returns:
        States, those that nothing is merged into bit for bit as they were, and the new sizes.
    """
    total = torch.zeros_like(sizes).scatter_add(1, into, sizes)
    weighted = exact(states) * sizes.unsqueeze(2)
    sums = torch.zeros_like(weighted).scatter_add(1, into.unsqueeze(2).expand_as(weighted), weighted)
    means = (sums / total.clamp(min=1).unsqueeze(2)).to(states.dtype)
    return torch.where((total > sizes).unsqueeze(2), means, states), total


def refusal(plan: Plan, engine: str, cannot: Collection[str]) -> str | None:
    """Why an engine cannot carry out `plan`, in one sentence; None where it can.

    Args:
        plan: what is asked.
        engine: what it is called.
        cannot: of the names that `asked_of` gives.
    """
    why = next((reason for name, reason in asked_of(plan).items() if name in cannot), None)
    return why and f"{engine} cannot carry this out: {why}"


def asked_of(plan: Plan) -> dict[str, str]:
    """What a plan asks of an engine beyond counts that are known before the pass, by name, as sentences."""
    parts = [part for cut in plan.cuts for part in cut.evidence.parts]
    attention = [part for part in parts if isinstance(part, Attention)]
    features = [part for part in parts if isinstance(part, Features)]
    asked = {
        "adaptive cuts": ("where it cuts depends on activations", plan.adaptive is not None),
        "unknown counts": ("how much it keeps depends on activations", any(cut.keep(8) is None for cut in plan.cuts)),
        "blocks": ("it blocks flows", bool(plan.blocks)),
        "withheld keys": ("it takes keys out of the cache", bool(plan.withheld)),
        "watches": ("it watches layers with a function", bool(plan.watches)),
        "cuts at 0": ("it cuts before the first layer", any(cut.layer == 0 for cut in plan.cuts)),
        "tower": ("it decides on the vision tower", any(isinstance(part, Tower) for part in parts)),
        "entry": (
            "it looks at the attention of a layer before that runs",
            any(part.when == "entry" for part in attention),
        ),
        "features": ("it decides on features", bool(features)),
        "keys": ("it decides on the keys of all heads", any(part.of == "key" for part in features)),
        "two kinds of evidence": ("it decides on two kinds of evidence at once", len(parts) > len(plan.cuts)),
        "weighed rows": ("it weighs the rows of attention", any(part.weigh is not None for part in attention)),
        "compact positions": ("it numbers positions anew", plan.positions == "compact"),
        "merging": ("it merges tokens", any(cut.select.merges for cut in plan.cuts)),
    }
    return {name: reason for name, (reason, is_asked) in asked.items() if is_asked}
