"""What one decoder layer costs, by what stands in it.

Linear layers, attention and convolutions are counted as `torch.utils.flop_counter` counts them. The scan of a
recurrence is counted as its recurrent form has it, token by token: torch computes it by chunks, in more products, and
kernels in others again, so that no count of products would be that of the next implementation.
"""

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class LayerCost:
    """One decoder layer, as far as its cost goes. FLOPs are 2 per multiply-add.

    Attributes:
        per_token: FLOPs of each token: projections, feed-forward network, convolution and scan.
        per_pair: FLOPs of each pair of query and key, 0 where nothing attends.
        per_image_token: FLOPs that an image token takes beyond a text token; below 0 where it takes fewer.
        constant: FLOPs of a sequence, however long: the padding of its convolutions.
        scan: of `per_token` what the recurrence takes.
        look: what of it runs before queries meet keys, as a method that looks at a layer ahead of it runs once more;
            None where nothing attends.
        query: numbers of a token's queries, all heads.
        key: numbers of a token's keys, all heads.
        cached: numbers that the cache keeps of each token.
        state: numbers that it keeps of a sequence, however long, in the type of the weights.
        state_fp32: the same, always in fp32.
    """

    per_token: int
    per_pair: int = 0
    per_image_token: int = 0
    constant: int = 0
    scan: int = 0
    look: "LayerCost | None" = None
    query: int = 0
    key: int = 0
    cached: int = 0
    state: int = 0
    state_fp32: int = 0

    def flops(self, tokens: int, pairs: int) -> int:
        """FLOPs over so many tokens, of which so many pairs are computed; what image tokens take besides left out."""
        return self.per_token * tokens + self.per_pair * pairs + self.constant

    def bytes_held(self, tokens: int, bytes_per_element: int) -> int:
        """Size of what the cache keeps of so many tokens."""
        return (self.cached * tokens + self.state) * bytes_per_element + 4 * self.state_fp32

    def with_network(self, per_token: int) -> "LayerCost":
        """The same with a feed-forward network, or other work of each token, behind it."""
        return replace(self, per_token=self.per_token + per_token)

    def plus(self, more: "LayerCost") -> "LayerCost":
        """The same with what another part of the layer takes and keeps."""
        sizes = ("per_token", "per_pair", "constant", "scan", "cached", "state", "state_fp32")
        return replace(self, **{size: getattr(self, size) + getattr(more, size) for size in sizes})

    def looking(self, before: "LayerCost") -> "LayerCost":
        """The same with a part that runs before queries meet keys."""
        assert self.look is not None
        return replace(self.plus(before), look=self.look.plus(before))


def attention(config: Any, gates: int = 0, key_heads: int | None = None, projected: int = 2) -> LayerCost:
    """Grouped-query attention, ``2 d (2 H h + 2 G h + gates)`` a token; `gates` numbers are projected besides.

    Args:
        config: of the layer.
        gates: numbers that gate the heads.
        key_heads: G; by default ``num_key_value_heads``.
        projected: 1 where values are the keys, 0 where both are those of an earlier layer, which caches them.
    """
    width, heads = config.hidden_size, config.num_attention_heads
    size = getattr(config, "head_dim", None) or width // heads
    query, key = heads * size, (key_heads or config.num_key_value_heads) * size
    look = 2 * width * (query + projected * key + gates)
    cached = 2 * key if projected else 0
    written, pair = 2 * width * query, 4 * query
    return LayerCost(look + written, pair, look=LayerCost(look), query=query, key=key, cached=cached)


def compressed(config: Any, rotary: bool = True, projected: bool = True) -> LayerCost:
    """DeepSeek-V3's attention: a token's key and value are expanded from a latent of C + R numbers, which is cached.

    With q and v the widths of a head, ``2 (d (C + R) + C H (q - R + v) + H v d)`` a token and what the
    query takes, through a latent of its own where there is one; a pair takes ``2 H (q + v)``.

    Args:
        config: of the layer.
        rotary: it has rotary positions; R is 0 without.
        projected: the latent is the layer's own, not that of an earlier one, which caches it.
    """
    width, heads, latent, value = config.hidden_size, config.num_attention_heads, config.kv_lora_rank, config.v_head_dim
    query, turned = config.qk_nope_head_dim + config.qk_rope_head_dim, config.qk_rope_head_dim * rotary
    through = getattr(config, "q_lora_rank", None)
    asked = width * through + through * heads * query if through else width * heads * query
    held = (latent + turned) * projected
    look = 2 * (asked + width * held + latent * heads * (query - turned + value))
    written, pair = 2 * heads * value * width, 2 * heads * (query + value)
    return LayerCost(look + written, pair, look=LayerCost(look), query=heads * query, key=heads * query, cached=held)


def indexer(config: Any, asked: int) -> LayerCost:
    """What scores each pair before attention, in I heads of width i, and caches a key of its own.

    ``2 (asked I i + d i + d I)`` a token, with queries projected from `asked` numbers; ``2 I (i + 1)`` a pair.
    """
    width, heads, size = config.hidden_size, config.index_n_heads, config.index_head_dim
    return LayerCost(2 * (asked * heads * size + width * size + width * heads), 2 * heads * (size + 1), cached=size)


def convolution(channels: int, kernel: int) -> LayerCost:
    """A causal convolution of each channel, ``2 C L (n + L - 1)``: torch pads on both sides."""
    return LayerCost(2 * channels * kernel, constant=2 * channels * kernel * (kernel - 1), state=channels * kernel)


def short_convolution(config: Any) -> LayerCost:
    """LFM2's: ``8 d^2`` a token for the projections, and the convolution."""
    return convolution(config.hidden_size, config.conv_L_cache).with_network(8 * config.hidden_size**2)


def gated_delta(config: Any) -> LayerCost:
    """A gated delta rule: with K and V the widths of keys and values, ``2 (d (2 K + 2 V + 2 H) + V d)`` a token.

    The scan is ``6 h_k h_v H``: a state is read, corrected and read again, of each of H heads.
    """
    heads, size = config.linear_num_value_heads, config.linear_key_head_dim
    key, value = config.linear_num_key_heads * size, heads * config.linear_value_head_dim
    projections = 2 * config.hidden_size * (2 * key + 2 * value + 2 * heads + value)
    mixed = convolution(2 * key + value, config.linear_conv_kernel_dim)
    state = size * value
    return replace(mixed.with_network(projections + 6 * state), scan=6 * state, state_fp32=state)


def mamba(config: Any) -> LayerCost:
    """Mamba 2: ``2 (d (I + C + H) + I d)`` a token, the convolution, and a scan of ``4 I N`` (written and read)."""
    heads, states = config.mamba_num_heads, config.ssm_state_size
    inner = heads * config.mamba_head_dim
    channels = inner + 2 * config.n_groups * states
    projections = 2 * config.hidden_size * (2 * inner + channels + heads)
    mixed = convolution(channels, config.conv_kernel)
    state = inner * states
    return replace(mixed.with_network(projections + 4 * state), scan=4 * state, state_fp32=state)


def gated_network(width: int, inner: int) -> int:
    """FLOPs a token of a gated feed-forward network, ``6 d m``."""
    return 6 * width * inner


def plain_network(width: int, inner: int) -> int:
    """FLOPs a token of a feed-forward network of two matrices, ``4 d m``."""
    return 4 * width * inner


def routed(width: int, experts: int, inner: int) -> int:
    """FLOPs a token of a router over so many experts, and of those that run, ``inner`` wide together."""
    return 2 * width * experts + gated_network(width, inner)
