"""What methods choose, from the words of their papers: one sample at a time, in fp64, in loops, without the core."""

from collections.abc import Sequence

import torch
from torch import Tensor


def cosines(rows: Tensor, columns: Tensor) -> Tensor:
    """``[rows, columns]``; what differs from 1 by rounding is 1."""
    rows, columns = rows.double(), columns.double()
    cosine = rows @ columns.T / rows.norm(dim=1)[:, None] / columns.norm(dim=1)
    return torch.where(cosine > 1 - 1e-9, 1.0, cosine)


def first_of_largest(values: Sequence[float]) -> int:
    """The first place of the largest value; what is as large but for rounding ties."""
    largest = max(values)
    return next(place for place, value in enumerate(values) if value >= largest - 1e-5 * abs(largest))


def relevance(image: Tensor, text: Tensor, negated: bool = False) -> Tensor:
    """CDPruner's: the mean cosine of each image token to the text's, from 0 to 1."""
    mean = cosines(image, text).mean(1) * (-1 if negated else 1)
    return (mean - mean.min() + 1e-6) / (mean.max() - mean.min() + 1e-6)


def dpp(image: Tensor, scores: Tensor, count: int) -> list[int]:
    """Greedy MAP of a determinantal point process: ever the token that makes the largest determinant."""
    kernel = cosines(image, image).fill_diagonal_(1.0) * scores[:, None] * scores
    chosen: list[int] = []
    while len(chosen) < count:
        left = [token for token in range(len(image)) if token not in chosen]
        before = float(torch.linalg.det(kernel[chosen][:, chosen])) if chosen else 1.0
        gains = []
        for token in left:
            more = [*chosen, token]
            gain = float(torch.linalg.det(kernel[more][:, more])) / before if before else 0.0
            gains.append(gain if gain > 1e-4 * float(kernel[token, token]) else 0.0)
        chosen.append(left[first_of_largest(gains)])
    return sorted(chosen)


def covering(table: Tensor, weight: Tensor, count: int, first: Sequence[int] = ()) -> list[int]:
    """Greedy facility location: columns that together have large entries in all rows, gains times `weight`."""
    chosen = list(first)
    while len(chosen) < count:
        covered = table[:, chosen].amax(1).clamp(min=0) if chosen else torch.zeros(len(table)).double()
        gains = (table - covered[:, None]).clamp(min=0).sum(0) * weight
        left = [token for token in range(table.shape[1]) if token not in chosen]
        chosen.append(left[first_of_largest(gains[left].tolist())])
    return sorted(chosen)


def scope(image: Tensor, saliency: Tensor, alpha: float, count: int) -> list[int]:
    """Salient tokens that cover the picture."""
    return covering(cosines(image, image), saliency.double() ** alpha, count)


def cover(image: Tensor, scores: Tensor, top: float, count: int) -> list[int]:
    """The share `top` with the highest scores, and tokens that cover what these do not."""
    first = scores.argsort(descending=True, stable=True)[: int(round(top * count, 9))].tolist()
    return covering(cosines(image, image), torch.ones(len(image)).double(), count, first)


def mmtok(image: Tensor, text: Tensor, count: int) -> list[int]:
    """Tokens that cover the text and the picture."""
    of_text = (cosines(text, image) / 0.02).softmax(1) / len(text)
    of_image = (cosines(image, image) / 0.2).softmax(1) / len(image)
    return covering(torch.cat([of_text, 0.5 * of_image]), torch.ones(len(image)).double(), count)


def dart(image: Tensor, text: Tensor, lengths: tuple[Tensor, Tensor], pivots: tuple[int, int], count: int) -> list[int]:
    """Tokens unlike pivots; `lengths` are the L1 norms that make pivots of image and text."""
    of_image, of_text = lengths
    own = of_image.argsort(descending=True, stable=True)[: min(pivots[0], count)].tolist()
    words = of_text.argsort(descending=True, stable=True)[: pivots[1]].tolist()
    kept, others = list(own), [*image[own], *text[words]]
    for number, pivot in enumerate(others):
        take = (count - len(own)) // len(others) + (number < (count - len(own)) % len(others))
        cosine = cosines(pivot[None], image)[0]
        left = [token for token in range(len(image)) if token not in kept]
        kept += sorted(left, key=lambda token: float(cosine[token]))[:take]
    return sorted(kept)


def raters(image: Tensor, text: Tensor) -> list[int]:
    """SparseVLM's: the text tokens that the picture points at more than on average."""
    weight = (image.double() @ text.double().T).softmax(1).mean(0)
    return [token for token, each in enumerate(weight.tolist()) if each >= float(weight.mean())]


def recycled(features: Tensor, scores: Sequence[float], count: int) -> tuple[list[int], dict[int, int]]:
    """SparseVLM's: the best tokens and cluster centres, and where other tokens of the pool go."""
    n = len(features)
    ranked = sorted(range(n), key=lambda token: -scores[token])
    for top in range(count, -1, -1):
        pool = int(0.3 * (n - top) + 1e-9) + 1
        centres = min(pool // 10 + 1, pool)
        if top + centres == count:
            break
    best, members = ranked[:top], sorted(ranked[top : top + pool])
    apart = torch.cdist(features[members].double(), features[members].double()) / features.shape[1] ** 0.5
    density = [float(torch.exp(-(row.sort().values[:centres] ** 2).mean())) for row in apart]
    central = []
    for place, own in enumerate(density):
        denser = [other for other, each in enumerate(density) if each > own or (each == own and other < place)]
        central.append(own * float(apart[place][denser].min() if denser else apart.max()))
    chosen = sorted(range(len(members)), key=lambda place: -central[place])[:centres]
    into = {
        member: members[min(sorted(chosen), key=lambda centre: float(apart[place, centre]))]
        for place, member in enumerate(members)
        if place not in chosen
    }
    return sorted([*best, *(members[place] for place in chosen)]), into
