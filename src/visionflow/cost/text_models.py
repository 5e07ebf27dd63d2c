"""The layers of text models that are not all alike, or not those of Llama, each from its config."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from visionflow.cost.layers import (
    LayerCost,
    attention,
    compressed,
    convolution,
    gated_delta,
    gated_network,
    indexer,
    mamba,
    plain_network,
    routed,
    short_convolution,
)
from visionflow.errors import UnsupportedModelError

Layers = Callable[[Any], list[LayerCost]]


def of_layer(config: Any, layer: int) -> Any:
    """The config of one layer, where they differ in sizes."""
    own = getattr(config, "per_layer_config", None)
    return config if own is None else own[layer]


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


def _networks(config: Any, sparse: int) -> list[int]:
    """FLOPs a token of each layer's network: gated, or `sparse` where it has experts."""
    dense = gated_network(config.hidden_size, config.intermediate_size)
    return [sparse if experts else dense for experts in sparse_layers(config)]


def _of_experts(attends: Callable[[Any], LayerCost]) -> Layers:
    """Layers alike but for their networks, some of which are experts: those that are active count, and shared ones."""

    def layers(config: Any) -> list[LayerCost]:
        names = ("n_routed_experts", "num_experts")
        experts = next(found for name in names if (found := getattr(config, name, None)))
        active = config.num_experts_per_tok + (getattr(config, "n_shared_experts", None) or 0)
        sparse = routed(config.hidden_size, experts, active * config.moe_intermediate_size)
        return [attends(config).with_network(network) for network in _networks(config, sparse)]

    return layers


def _of_two_matrices(config: Any) -> list[LayerCost]:
    network = plain_network(config.hidden_size, config.intermediate_size)
    return [attention(config).with_network(network)] * config.num_hidden_layers


def _persimmon(config: Any) -> list[LayerCost]:
    """Every query head has a key head, whatever the config says of these."""
    attends = attention(config, key_heads=config.num_attention_heads)
    network = plain_network(config.hidden_size, config.intermediate_size)
    return [attends.with_network(network)] * config.num_hidden_layers


def _opt(config: Any) -> list[LayerCost]:
    if config.word_embed_proj_dim != config.hidden_size:
        raise UnsupportedModelError(
            f"the cost of text model type 'opt' is not modelled where embeddings (word_embed_proj_dim "
            f"{config.word_embed_proj_dim}) are not as wide as hidden states ({config.hidden_size})"
        )
    attends = attention(config, key_heads=config.num_attention_heads)
    return [attends.with_network(plain_network(config.hidden_size, config.ffn_dim))] * config.num_hidden_layers


def _aria(config: Any) -> list[LayerCost]:
    active = config.moe_topk + config.moe_num_shared_experts
    network = routed(config.hidden_size, config.moe_num_experts, active * config.intermediate_size)
    return [attention(config).with_network(network)] * config.num_hidden_layers


def _llama4(config: Any) -> list[LayerCost]:
    """Every expert runs on every token, on zeros where it was not chosen."""
    width, inner = config.hidden_size, config.intermediate_size
    sparse = routed(width, config.num_local_experts, (config.num_local_experts + 1) * inner)
    dense = gated_network(width, config.intermediate_size_mlp)
    attends, experts = attention(config), set(config.moe_layers)
    return [attends.with_network(sparse if n in experts else dense) for n in range(config.num_hidden_layers)]


def _ernie(config: Any) -> list[LayerCost]:
    """Text and image tokens have experts of their own, of different widths; shared ones are those of text."""
    width, active = config.hidden_size, config.moe_k
    text, image = config.moe_intermediate_size
    sparse = routed(width, config.moe_num_experts, (active + config.moe_num_shared_experts) * text)
    more = gated_network(width, active * (image - text))
    attends = attention(config)
    return [
        replace(attends.with_network(network), per_image_token=more * experts)
        for network, experts in zip(_networks(config, sparse), sparse_layers(config), strict=True)
    ]


def _muse_attention(config: Any) -> LayerCost:
    """Each number of the output is gated, once heads have read."""
    return attention(config).with_network(2 * config.hidden_size * config.num_attention_heads * config.head_dim)


def _muse_glimmer(config: Any) -> list[LayerCost]:
    network = gated_network(config.hidden_size, config.intermediate_size)
    return [_muse_attention(config).with_network(network)] * config.num_hidden_layers


def _muse_spark(config: Any) -> list[LayerCost]:
    """Experts stand between two projections, to a width of their own and back."""
    width, middle, active = config.hidden_size, config.moe_hidden_size, config.num_experts_per_tok
    experts = gated_network(middle, active * config.moe_intermediate_size)
    sparse = 2 * width * config.num_local_experts + 4 * width * middle + experts
    return [_muse_attention(config).with_network(network) for network in _networks(config, sparse)]


def _step(config: Any) -> list[LayerCost]:
    """Layers with a window may have more heads; a gate stands behind each head, or each number."""
    inner = config.num_experts_per_tok * config.moe_intermediate_size + config.share_expert_dim
    networks = _networks(config, routed(config.hidden_size, config.n_routed_experts, inner))
    layers = []
    for layer, network in enumerate(networks):
        own = of_layer(config, layer)
        by_head = config.gating is True or config.gating == "per-head"
        gates = own.num_attention_heads * (1 if by_head else own.head_dim)
        layers.append(attention(own, gates).with_network(network))
    return layers


def _gemma4(config: Any) -> list[LayerCost]:
    """Some layers have heads of another width, late ones read the keys of earlier ones, and all get an input each."""
    width, sharing = config.hidden_size, config.kv_sharing_modes
    inputs = plain_network(width, getattr(config, "hidden_size_per_layer_input", 0) or 0)
    if getattr(config, "enable_moe_block", False):
        inputs += routed(width, config.num_experts, config.top_k_experts * config.moe_intermediate_size)
    layers = []
    for layer, kind in enumerate(config.layer_types):
        shared = sharing[layer] == "reuse"
        one = config.attention_k_eq_v and kind == "full_attention"
        attends = attention(of_layer(config, layer), projected=0 if shared else 1 if one else 2)
        doubled = 2 if config.use_double_wide_mlp and shared else 1
        layers.append(attends.with_network(gated_network(width, doubled * config.intermediate_size) + inputs))
    return layers


def _gemma3n(config: Any) -> list[LayerCost]:
    """Before attention a path of low rank and a mix of a few streams, which are corrected at the end of the layer."""
    width, streams = config.hidden_size, config.altup_num_inputs
    routing = 2 * width * streams
    mixed = routing + 2 * streams**3 + 2 * width * streams**2
    before = LayerCost(plain_network(width, config.laurel_rank) + mixed)
    behind = routing + 2 * streams**2 + plain_network(width, config.hidden_size_per_layer_input)
    layers = []
    for inner, sharing in zip(config.intermediate_size, config.kv_sharing_modes, strict=True):
        attends = attention(config, projected=0 if sharing == "reuse" else 2).looking(before)
        layers.append(attends.with_network(gated_network(width, inner) + behind))
    return layers


def _dots(config: Any) -> list[LayerCost]:
    """Compressed keys, of other sizes in layers with a window; the other layers have an indexer."""
    width, active = config.hidden_size, config.num_experts_per_tok
    inner = active * config.moe_intermediate_size + config.n_shared_experts * config.shared_experts_intermediate_size
    layers = []
    for layer, network in enumerate(_networks(config, routed(width, config.n_routed_experts, inner))):
        own = of_layer(config, layer)
        attends = compressed(own).with_network(network + 2 * width * own.num_attention_heads)
        has_indexer = config.layer_types[layer] == "indexed_attention"
        layers.append(attends.looking(indexer(own, own.q_lora_rank)) if has_indexer else attends)
    return layers


def _mistral_large4(config: Any) -> list[LayerCost]:
    """Compressed keys, some without rotary positions, some those of an earlier layer, as with what indexers pick."""
    width, sharing = config.hidden_size, config.kv_sharing_modes
    inner = (config.num_experts_per_tok + config.n_shared_experts) * config.moe_intermediate_size
    layers = []
    for layer, network in enumerate(_networks(config, routed(width, config.n_routed_experts, inner))):
        own = sharing[layer] not in ("reuse", "reuse_but_indexer")
        attends = compressed(config, bool(config.no_rope_layers[layer]), own).with_network(network)
        picks = config.indexer_types[layer] != "shared"
        layers.append(attends.looking(indexer(config, width)) if picks else attends)
    return layers


def _inkling(config: Any) -> list[LayerCost]:
    """Keys, values and both outputs go through convolutions, in fp32; scores have a bias by distance."""
    width, kernel = config.hidden_size, config.conv_kernel_size
    inner = (config.num_experts_per_tok + config.n_shared_experts) * config.moe_intermediate_size
    networks = _networks(config, routed(width, config.n_routed_experts + config.n_shared_experts, inner))
    layers = []
    for kind, network in zip(config.layer_types, networks, strict=True):
        window = kind == "hybrid_sliding"
        sizes = _Windowed(config) if window else config
        bias = 2 * config.d_rel * (config.sliding_window_size if window else config.rel_extent)
        attends = attention(sizes, gates=sizes.num_attention_heads * config.d_rel)
        attends = attends.looking(LayerCost(sizes.num_attention_heads * bias))
        attends = attends.looking(_in_fp32(convolution(2 * attends.key, kernel)))
        layers.append(attends.with_network(network).plus(_in_fp32(convolution(2 * width, kernel))))
    return layers


def _in_fp32(mixes: LayerCost) -> LayerCost:
    return replace(mixes, state=0, state_fp32=mixes.state)


class _Windowed:
    """The sizes of Inkling's layers with a window, under their usual names."""

    def __init__(self, config: Any) -> None:
        self.hidden_size, self.head_dim = config.hidden_size, config.swa_head_dim
        self.num_attention_heads = config.swa_num_attention_heads
        self.num_key_value_heads = config.swa_num_key_value_heads


def _qwen(network: Callable[[Any], int]) -> Layers:
    def layers(config: Any) -> list[LayerCost]:
        gates = config.num_attention_heads * config.head_dim
        kinds = {"full_attention": attention(config, gates), "linear_attention": gated_delta(config)}
        return [kinds[kind].with_network(network(config)) for kind in config.layer_types]

    return layers


def _qwen_experts(config: Any) -> int:
    """The shared expert has a gate, of one number."""
    inner = config.num_experts_per_tok * config.moe_intermediate_size + config.shared_expert_intermediate_size
    width: int = config.hidden_size
    return routed(width, config.num_experts, inner) + 2 * width


def _lfm2(config: Any) -> list[LayerCost]:
    inner = config.intermediate_size
    if config.block_auto_adjust_ff_dim:
        inner = int((config.block_ffn_dim_multiplier or 1) * int(2 * inner / 3))
        if config.block_ffn_dim_multiplier is not None:
            inner = -(-inner // config.block_multiple_of) * config.block_multiple_of
    kinds = {"full_attention": attention(config), "conv": short_convolution(config)}
    network = gated_network(config.hidden_size, inner)
    return [kinds[kind].with_network(network) for kind in config.layer_types]


def _lfm3(config: Any) -> list[LayerCost]:
    attends = attention(config)
    gate = 2 * config.hidden_size * config.num_attention_heads * config.use_attention_gate
    kinds = dict.fromkeys(("full_attention", "sliding_attention"), attends.with_network(gate))
    kinds["conv"] = short_convolution(config)
    network = gated_network(config.hidden_size, config.intermediate_size)
    return [kinds[kind].with_network(network) for kind in config.layer_types]


def _nemotron(config: Any) -> list[LayerCost]:
    width, latent = config.hidden_size, config.moe_latent_size
    experts = plain_network(latent or width, config.moe_intermediate_size * config.num_experts_per_tok)
    through = 4 * width * latent if latent else 0
    shared = plain_network(width, config.moe_shared_expert_intermediate_size)
    kinds = {
        "full_attention": attention(config),
        "linear_attention": mamba(config),
        "mlp": LayerCost(plain_network(width, config.intermediate_size)),
        "moe": LayerCost(2 * width * config.n_routed_experts + experts + through + shared),
    }
    return [kinds[kind] for kind in config.layer_types]


UNEVEN: dict[str, Layers] = {
    "aria_text": _aria,
    "cosmos3_edge_text": _of_two_matrices,
    "deepseek_v3": _of_experts(compressed),
    "dots3_note_text": _dots,
    "ernie4_5_vl_moe_text": _ernie,
    "gemma3n_text": _gemma3n,
    **dict.fromkeys(("gemma4_text", "gemma4_unified_text"), _gemma4),
    "inkling_text": _inkling,
    "lfm2": _lfm2,
    "lfm3": _lfm3,
    "llama4_text": _llama4,
    "mistral_large4_text": _mistral_large4,
    "muse_glimmer_text": _muse_glimmer,
    "muse_spark_text": _muse_spark,
    "nemotron_h": _nemotron,
    "opt": _opt,
    "persimmon": _persimmon,
    "qwen3_5_text": _qwen(lambda config: gated_network(config.hidden_size, config.intermediate_size)),
    "qwen3_5_moe_text": _qwen(_qwen_experts),
    "step3p5": _step,
    **dict.fromkeys(
        ("qwen3_vl_moe_text", "qwen3_omni_moe_text", "glm4v_moe_text", "deepseek_ocr2_text"), _of_experts(attention)
    ),
}
"""The layers of text models that are not all alike, by ``model_type``, from their config."""


def around_layers(config: Any) -> tuple[int, int]:
    """FLOPs of each token before the first layer, and of each that is left after the last; the head left out."""
    if config.model_type not in ("gemma3n_text", "gemma4_text"):
        return 0, 0
    width, streams = config.hidden_size, getattr(config, "altup_num_inputs", 1)
    inputs = 2 * width * config.num_hidden_layers * (config.hidden_size_per_layer_input or 0)
    projected = 2 * width**2 * (streams - 1)
    return inputs + projected, projected
