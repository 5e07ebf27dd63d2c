"""How much rows of attention tell of what they read: mutual information, beside how much each token is read."""

import torch
from torch import Tensor

from visionflow.core.attention import AttentionRows


def read_and_information(rows: AttentionRows) -> tuple[Tensor, Tensor]:
    """How much the rows read each token, and the mutual information of rows and image tokens, in one look.

    With ``p(v|t)`` the attention of row t to image token v over that to all image tokens, rows alike:
    ``I = mean_t sum_v p(v|t) log(p(v|t) / p(v))``, ``p(v) = mean_t p(v|t)``: 0 where all rows read alike.

    Returns:
        The sum over rows fp32 ``[batch, tokens]``, and I in nats fp32 ``[batch]``; 0 where there is no image or row.
    """
    image = torch.nn.functional.pad(rows.tokens.image.mask, (rows.before, 0))
    shape, device = (rows.key.shape[0], rows.key.shape[2]), rows.query.device
    read, shares = torch.zeros(shape, device=device), torch.zeros(shape, device=device)
    negative_entropy = torch.zeros(shape[0], device=device)
    for _, real, weights in rows.chunks():
        keys = weights.shape[2]
        read[:, :keys] += weights.sum(1)
        share = weights * image[:, None, :keys]
        share = share / share.sum(2, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny) * real.unsqueeze(2)
        shares[:, :keys] += share.sum(1)
        negative_entropy += torch.xlogy(share, share).sum((1, 2))
    count = rows.real.sum(1).clamp(min=1)
    mean = shares / count.unsqueeze(1)
    information = negative_entropy / count - torch.xlogy(mean, mean).sum(1)
    return read[:, rows.before :], information.clamp(min=0)
