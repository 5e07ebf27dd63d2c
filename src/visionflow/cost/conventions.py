"""Three ways to count the prefill of a decoder, each a function of one layer's tokens.

Papers on token pruning print "TFLOPs" and mean different things by it; ratios under different conventions cannot be
compared. Biases, norms, activations, softmax and rotary embeddings are counted by none of them.
"""

from collections.abc import Callable, Sequence
from typing import Literal, get_args

from visionflow.core.work import Compared, Probed
from visionflow.cost.shape import DecoderShape
from visionflow.errors import VisionFlowError

Convention = Literal["paper", "gated", "flops"]

# One line for people, beside every figure.
COUNTS: dict[Convention, str] = {
    "paper": "image tokens only, multiply-adds, two of the three feed-forward matrices",
    "gated": "image tokens only, multiply-adds, all three feed-forward matrices",
    "flops": "image and text tokens, 2 FLOPs a multiply-add, output head and probes included",
}
UNITS: dict[Convention, str] = {"paper": "multiply-adds", "gated": "multiply-adds", "flops": "FLOPs"}
NAMES: dict[Convention, str] = {
    "paper": "image tokens' multiply-adds",
    "gated": "image tokens' multiply-adds, gate included",
    "flops": "FLOPs",
}
"""What a share is one of, in a sentence."""


def paper(shape: DecoderShape, image_tokens: int, pairs: int) -> int:
    """Multiply-adds of n image tokens in one layer, ``4 n d^2 + 2 pairs d + 2 n d m`` (HiMAP eq. 10, of n^2 pairs).

    Text tokens, the third matrix of a gated network and grouped-query shapes are left out, as printed.
    """
    n, d, m = image_tokens, shape.hidden_size, shape.intermediate_size
    return 4 * n * d**2 + 2 * pairs * d + 2 * n * d * m


def own(shape: DecoderShape, layer: int, image_tokens: int, pairs: int) -> int:
    """Multiply-adds of n image tokens in a layer of a decoder whose layers differ, for which no paper has a formula."""
    assert shape.layers is not None
    cost = shape.layers[layer]
    taken = cost.flops(image_tokens, pairs) + cost.per_image_token * image_tokens
    return taken // 2 if image_tokens else 0


def gated(shape: DecoderShape, image_tokens: int, pairs: int) -> int:
    """Multiply-adds of n image tokens in one layer, ``4 n d^2 + 2 pairs d + 3 n d m``: the gate counts too."""
    n, d, m = image_tokens, shape.hidden_size, shape.intermediate_size
    return 4 * n * d**2 + 2 * pairs * d + 3 * n * d * m


def flops(shape: DecoderShape, tokens: int, pairs: int, layer: int = 0) -> int:
    """FLOPs of one layer over a sequence of n tokens, image and text, 2 per multiply-add.

    With H query and G key heads of width h: ``2 n (2 d H h + 2 d G h)`` for the projections q, o and k, v,
    ``4 H h pairs`` for the scores and the weighted values (n^2 pairs where every token reads every token, as eager
    attention computes and `torch.utils.flop_counter` counts them, the causal half included), ``6 n d m`` for the gated
    network. Where layers differ, see `visionflow.cost.layers`; what image tokens take besides is left out here.
    """
    if shape.layers is not None:
        return shape.layers[layer].flops(tokens, pairs)
    n, d, m = tokens, shape.hidden_size, shape.intermediate_size
    query_width, key_width = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    projections = 2 * n * d * (2 * query_width + 2 * key_width)
    return projections + 4 * query_width * pairs + 6 * n * d * m


def image_flops(shape: DecoderShape, image_tokens: Sequence[Sequence[int]]) -> int:
    """FLOPs that image tokens take beyond what text tokens do, where they have experts of their own.

    Args:
        shape: the decoder.
        image_tokens: for each layer, the image tokens present in each sample.
    """
    layers = zip(shape.layers or (), image_tokens, strict=False)
    return sum(layer.per_image_token * sum(samples) for layer, samples in layers)


def head_flops(shape: DecoderShape, rows: int) -> int:
    """FLOPs of the output head for the logits of `rows` tokens, ``2 rows d vocabulary``."""
    return 2 * rows * shape.hidden_size * shape.vocab_size


def probe_flops(shape: DecoderShape, probe: Probed, keys: int) -> int:
    """FLOPs of a probe over `keys` keys in all heads, ``2 rows keys H h`` for each of its products.

    Tokens whose queries, keys and values are computed once more for it add ``2 d (H + 2 G) h`` each; where layers
    differ, all that runs before queries meet keys.
    """
    query, key = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    look = probe.projected * 2 * shape.hidden_size * (query + 2 * key)
    if shape.layers is not None:
        layer = shape.layers[probe.layer]
        query = layer.query
        look = layer.look.flops(probe.projected, probe.projected**2) if probe.projected and layer.look else 0
    return 2 * probe.products * probe.rows * keys * query + look


def choice_flops(shape: DecoderShape, compared: Compared) -> int:
    """FLOPs of the products of features that a choice took, ``2 width`` each.

    What the vision tower shows comes from the tower's own pass, which is not counted, as the tower is not.

    Raises:
        VisionFlowError: they are of the vision tower, and the shape knows none.
    """
    if compared.of == "tower":
        if shape.tower_head_dim is None:
            raise VisionFlowError(
                "the cost of a choice among keys of the vision tower needs their width: give the shape of a model with "
                "a tower, or say its tower_head_dim"
            )
        return 2 * compared.pairs * shape.tower_head_dim
    width = shape.hidden_size
    if compared.of == "key":
        read = shape.num_kv_heads * shape.head_dim
        width = read if shape.layers is None else shape.layers[compared.layer - 1].key
    return 2 * compared.pairs * width


def kv_bytes(shape: DecoderShape, tokens: int, bytes_per_element: int, layer: int = 0) -> int:
    """Bytes of the keys and values of `tokens` tokens in one layer's cache, and of its states where it has some."""
    if shape.layers is not None:
        return shape.layers[layer].bytes_held(tokens, bytes_per_element)
    return 2 * tokens * shape.num_kv_heads * shape.head_dim * bytes_per_element


IMAGE_TOKEN_COST: dict[Convention, Callable[[DecoderShape, int, int], int]] = {"paper": paper, "gated": gated}


def check_convention(name: str) -> Convention:
    """`name` as a `Convention`.

    Raises:
        VisionFlowError: there is no such convention.
    """
    for convention in get_args(Convention):
        if name == convention:
            return convention  # type: ignore[no-any-return]
    raise VisionFlowError(f"unknown convention {name!r}: choose one of {', '.join(get_args(Convention))}")
