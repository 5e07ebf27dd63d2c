"""The attention of a whole layer as it runs, for an analysis that watches it, and what it gives without some reads."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.distributed import ProcessGroup

from visionflow.core.attention import AttentionRows, exact, per_group
from visionflow.core.tokens import Selection, Tokens, pack


@dataclass(frozen=True)
class LayerAttention:
    """The attention of one layer as it has just run on a prompt, after RoPE and norms.

    Attributes:
        layer: 0-based index of the decoder layer.
        query: ``[batch, heads, tokens, head_dim]``.
        key, value: ``[batch, kv_heads, keys, head_dim]``.
        scaling: factor of the scores before the softmax.
        mask: as the layer got it, see `AttentionRows`.
        output: what the heads read, before the output projection: ``[batch, tokens, heads, head_dim]``.
        tokens: the tokens present.
        group: the processes that hold the heads, see `AttentionRows`.
        softcap: bound of the scaled scores, see `AttentionRows`.
    """

    layer: int
    query: Tensor
    key: Tensor
    value: Tensor
    scaling: float
    mask: Tensor | None
    output: Tensor
    tokens: Tokens
    group: ProcessGroup | None = None
    softcap: float | None = None

    def rows_of(self, chosen: Selection) -> AttentionRows:
        """The rows of a group of tokens, whose number is known on the host, or of those that a function names."""
        if callable(chosen):
            return self.rows(chosen(self.tokens))
        options = {"group": self.group, "softcap": self.softcap}
        return AttentionRows.of(chosen, self.query, self.key, self.scaling, self.mask, self.tokens, **options)

    def rows(self, chosen: Tensor, most: int | None = None) -> AttentionRows:
        """The rows of the tokens that are True in `chosen`, bool ``[batch, tokens]``.

        `most` is the largest number of a sample, which is read from the device where it is not given.
        """
        index, real = pack(chosen, int(chosen.sum(1).max()) if most is None else most)
        return AttentionRows(
            self.query, self.key, self.scaling, self.mask, index, real, self.tokens, self.group, self.softcap
        )

    def all_rows(self) -> AttentionRows:
        """The rows of all tokens but padding."""
        return self.rows(self.tokens.valid, max(self.tokens.lengths()))


def without(attention: LayerAttention, rows: AttentionRows, columns: Tensor) -> Tensor:
    """The layer's output had A been zero where `rows` read `columns`, and the rest as it was: not renormalised.

    Args:
        columns: bool ``[batch, keys]``.

    Returns:
        ``[batch, tokens, heads, head_dim]`` in the output's dtype.
    """
    return _changed(attention, rows, columns, lambda read: -read)


def folded(attention: LayerAttention, rows: AttentionRows, columns: Tensor) -> Tensor:
    """The layer's output had all that `rows` pay to `columns` gone to the first of these; as `without` otherwise."""
    first = (columns & (columns.cumsum(1) == 1))[:, None, None, :]
    return _changed(attention, rows, columns, lambda read: read.sum(3, keepdim=True) * first - read)


def _changed(
    attention: LayerAttention, rows: AttentionRows, columns: Tensor, change: Callable[[Tensor], Tensor]
) -> Tensor:
    """The output when what `rows` pay to `columns`, ``[batch, heads, rows, keys]``, is changed by `change` of it."""
    output, value = exact(attention.output), exact(attention.value)
    for index, real, weights in rows.heads():
        read = weights * (columns[:, None, None, :] & real[:, None, :, None])
        added = per_group(change(read), value).transpose(1, 2)
        output = output.scatter_add(1, index[:, :, None, None].expand_as(added), added)
    return output.to(attention.output.dtype)
