"""Contextual tokens against a brute force written from VisionZip's words, sample by sample."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from visionflow.core import Contextual, Cut, Ratio, Shown, Tokens, Tower
from visionflow.core.cutting import choose
from visionflow.core.tokens import find_tokens

IMAGE = 7


def tokens_of(images: list[int], width: int) -> Tokens:
    """Samples of 2 text tokens, so many image tokens and text; the shorter ones padded on the left."""
    ids, mask = torch.zeros(len(images), width, dtype=torch.long), torch.zeros(len(images), width, dtype=torch.long)
    for row, n in enumerate(images):
        prompt = [1, 1, *[IMAGE] * n, 1, 1]
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    return find_tokens(ids, mask, IMAGE)


def by_hand(scores: list[float], keys: Tensor, kept: int, share: float) -> tuple[set[int], dict[int, int]]:
    """Of one sample's image tokens those that stay, and where the others go."""
    few = int(share * kept + 1e-9)
    ranked = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    dominant = ranked[: kept - few]
    rest = [i for i in range(len(scores)) if i not in dominant]
    real = [i for i in rest if scores[i] != -torch.inf]
    step = max(1, len(real) // few) if few else 1
    targets = real[::step][:few]
    targets += [i for i in rest if i not in real][: few - len(targets)]
    unit = torch.nn.functional.normalize(keys, dim=1)
    into = {i: max(targets, key=lambda t: (float(unit[i] @ unit[t]), -t)) for i in real if i not in targets and targets}
    return {*dominant, *targets}, into


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 20), min_size=1, max_size=3),
    st.sampled_from([0.2, 0.5, 0.75, 0.9]),
    st.sampled_from([0.0, 10 / 64, 0.4, 0.9]),
    st.integers(0, 5),
    st.integers(0, 2**31),
)
def test_contextual_tokens(images: list[int], r: float, share: float, blanks: int, seed: int) -> None:
    """Different numbers of image tokens in one batch; some of the tokens have no patch behind them."""
    width = max(images) + 5
    tokens, generator = tokens_of(images, width), torch.Generator().manual_seed(seed)
    scores, keys = (
        torch.rand(len(images), width, generator=generator),
        torch.randn(len(images), width, 4, generator=generator),
    )
    blank = torch.randint(0, width, (len(images), blanks), generator=generator)
    scores = torch.where(tokens.image.mask, scores.scatter(1, blank, -torch.inf), 0.0)
    cut = Cut(0, Ratio(r), Tower(), Contextual(share))
    chosen, counts = choose(cut, tokens, Shown(scores, keys))
    place = torch.arange(width)
    for row, kept in enumerate(counts):
        own = tokens.image.mask[row].nonzero()[:, 0]
        stay, into = by_hand(scores[row, own].tolist(), keys[row, own], kept, share)
        assert chosen.keep[row].nonzero()[:, 0].tolist() == sorted(own[sorted(stay)].tolist())
        found: Tensor = place if chosen.into is None else chosen.into[row]
        assert {int(own[i]): int(own[t]) for i, t in into.items()} == {
            i: t for i, t in enumerate(found.tolist()) if i != t
        }


def test_the_published_budgets() -> None:
    contextual = Contextual()
    assert [(kept - contextual.targets(kept), contextual.targets(kept)) for kept in (192, 128, 64)] == [
        (162, 30), (108, 20), (54, 10),
    ]  # fmt: skip
    assert [Ratio(r)(576) for r in (2 / 3, 7 / 9, 8 / 9)] == [192, 128, 64]
    assert contextual.pairs(576, 64, 40) == 512 * 10
