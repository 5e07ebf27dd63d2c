"""Decoders whose layers are not all alike: what each layer costs, by what stands in it.

Linear layers, attention and convolutions are counted as `torch.utils.flop_counter` counts them. The scan of a
recurrence is counted as its recurrent form has it, token by token: torch computes it by chunks, in more products, and
kernels in others again, so that no count of products would be that of the next implementation.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class LayerCost:
    """One decoder layer, as far as its cost goes. FLOPs are 2 per multiply-add.

    Attributes:
        per_token: FLOPs of each token: projections, feed-forward network, convolution and scan.
        per_pair: FLOPs of each pair of query and key, 0 where nothing attends.
        constant: FLOPs of a sequence, however long: the padding of its convolutions.
        scan: of `per_token` what the recurrence takes.
        look: FLOPs of the queries, keys and values of a token.
        cached: numbers that the cache keeps of each token.
        state: numbers that it keeps of a sequence, however long, in the type of the weights.
        state_fp32: the same, always in fp32.
    """

    per_token: int
    per_pair: int = 0
    constant: int = 0
    scan: int = 0
    look: int = 0
    cached: int = 0
    state: int = 0
    state_fp32: int = 0

    def flops(self, tokens: int, pairs: int) -> int:
        """FLOPs over so many tokens, of which so many pairs are computed."""
        return self.per_token * tokens + self.per_pair * pairs + self.constant

    def bytes_held(self, tokens: int, bytes_per_element: int) -> int:
        """Size of what the cache keeps of so many tokens."""
        return (self.cached * tokens + self.state) * bytes_per_element + 4 * self.state_fp32

    def with_network(self, per_token: int) -> "LayerCost":
        """The same with a feed-forward network behind it."""
        return replace(self, per_token=self.per_token + per_token)


def attention(config: Any, gates: int = 0) -> LayerCost:
    """Grouped-query attention, ``2 d (2 H h + 2 G h + gates)`` a token; `gates` numbers are projected besides."""
    width, heads = config.hidden_size, config.num_attention_heads
    size = getattr(config, "head_dim", None) or width // heads
    query, key = heads * size, config.num_key_value_heads * size
    look = 2 * width * (query + 2 * key + gates)
    return LayerCost(look + 2 * width * query, 4 * query, look=look, cached=2 * key)


def compressed(config: Any) -> LayerCost:
    """DeepSeek-V3's attention: a token's key and value are expanded from a latent of C + R numbers, which is cached.

    With q and v the widths of a head, ``2 (d (C + R) + C H (q - R + v) + H v d)`` a token and what the
    query takes, through a latent of its own where there is one; a pair takes ``2 H (q + v)``.
    """
    width, heads, latent, rotary = (
        config.hidden_size, config.num_attention_heads, config.kv_lora_rank, config.qk_rope_head_dim,
    )  # fmt: skip
    query, value = config.qk_nope_head_dim + rotary, config.v_head_dim
    through = config.q_lora_rank
    asked = width * through + through * heads * query if through else width * heads * query
    expanded = latent * heads * (config.qk_nope_head_dim + value)
    look = 2 * (asked + width * (latent + rotary) + expanded)
    written = 2 * heads * value * width
    return LayerCost(look + written, 2 * heads * (query + value), look=look, cached=latent + rotary)


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


def gated_network(config: Any, inner: int) -> int:
    """FLOPs a token of a gated feed-forward network, ``6 d m``."""
    width: int = config.hidden_size
    return 6 * width * inner


def routed(config: Any) -> int:
    """FLOPs a token of Qwen's experts: the router, those that are active, and the shared one with its gate."""
    width: int = config.hidden_size
    active: int = config.num_experts_per_tok * config.moe_intermediate_size
    experts: int = config.num_experts
    shared: int = getattr(config, "shared_expert_intermediate_size", 0)
    gate = 2 * width if shared else 0
    return 2 * width * experts + gated_network(config, active + shared) + gate


def sparse_layers(config: Any) -> list[bool]:
    """Which layers have experts, as the config has it."""
    depth, types = config.num_hidden_layers, getattr(config, "mlp_layer_types", None)
    if types:
        return [each == "sparse" for each in types[:depth]]
    first = getattr(config, "first_k_dense_replace", None)
    if first is not None:
        return [layer >= first for layer in range(depth)]
    dense, step = getattr(config, "mlp_only_layers", None) or (), getattr(config, "decoder_sparse_step", 1)
    return [layer not in dense and (layer + 1) % step == 0 for layer in range(depth)]


def _of_experts(attends: Callable[[Any], LayerCost]) -> Callable[[Any], list[LayerCost]]:
    """Layers alike but for their networks, some of which are experts: those that are active count, and shared ones."""

    def layers(config: Any) -> list[LayerCost]:
        names = ("n_routed_experts", "num_experts")
        experts = next(found for name in names if (found := getattr(config, name, None)))
        active = config.num_experts_per_tok + (getattr(config, "n_shared_experts", None) or 0)
        routed_here = 2 * config.hidden_size * experts + gated_network(config, active * config.moe_intermediate_size)
        dense = gated_network(config, config.intermediate_size)
        return [attends(config).with_network(routed_here if sparse else dense) for sparse in sparse_layers(config)]

    return layers


def _qwen(network: Callable[[Any], int]) -> Callable[[Any], list[LayerCost]]:
    def layers(config: Any) -> list[LayerCost]:
        gates = config.num_attention_heads * config.head_dim
        kinds = {"full_attention": attention(config, gates), "linear_attention": gated_delta(config)}
        return [kinds[kind].with_network(network(config)) for kind in config.layer_types]

    return layers


def _lfm2(config: Any) -> list[LayerCost]:
    inner = config.intermediate_size
    if config.block_auto_adjust_ff_dim:
        inner = int((config.block_ffn_dim_multiplier or 1) * int(2 * inner / 3))
        if config.block_ffn_dim_multiplier is not None:
            inner = -(-inner // config.block_multiple_of) * config.block_multiple_of
    kinds = {"full_attention": attention(config), "conv": short_convolution(config)}
    return [kinds[kind].with_network(gated_network(config, inner)) for kind in config.layer_types]


def _lfm3(config: Any) -> list[LayerCost]:
    attends = attention(config)
    gate = 2 * config.hidden_size * config.num_attention_heads * config.use_attention_gate
    kinds = dict.fromkeys(("full_attention", "sliding_attention"), attends.with_network(gate))
    kinds["conv"] = short_convolution(config)
    return [kinds[kind].with_network(gated_network(config, config.intermediate_size)) for kind in config.layer_types]


def _nemotron(config: Any) -> list[LayerCost]:
    width, latent = config.hidden_size, config.moe_latent_size
    experts = 4 * (latent or width) * config.moe_intermediate_size * config.num_experts_per_tok
    through = 4 * width * latent if latent else 0
    shared = 4 * width * config.moe_shared_expert_intermediate_size
    kinds = {
        "full_attention": attention(config),
        "linear_attention": mamba(config),
        "mlp": LayerCost(4 * width * config.intermediate_size),
        "moe": LayerCost(2 * width * config.n_routed_experts + experts + through + shared),
    }
    return [kinds[kind] for kind in config.layer_types]


UNEVEN: dict[str, Callable[[Any], list[LayerCost]]] = {
    "qwen3_5_text": _qwen(lambda config: gated_network(config, config.intermediate_size)),
    "qwen3_5_moe_text": _qwen(routed),
    "lfm2": _lfm2,
    "lfm3": _lfm3,
    "nemotron_h": _nemotron,
    **dict.fromkeys(
        ("qwen3_vl_moe_text", "qwen3_omni_moe_text", "glm4v_moe_text", "deepseek_ocr2_text"), _of_experts(attention)
    ),
    "deepseek_v3": _of_experts(compressed),
}
"""The layers of text models that are not all alike, by ``model_type``, from their config."""
