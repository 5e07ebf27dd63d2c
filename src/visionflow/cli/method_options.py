"""The options of the methods, as `ask` and `flops` take them; which method has which is in `visionflow.cli.methods`."""

from typing import Annotated, Any

from visionflow.cli.options import MOST_LAYERS, MOST_SEED, MOST_TOKENS, option
from visionflow.cli.values import number, one_of, whole

_SHALLOW = "in models of 8 layers or fewer"


def layer_option(help: str, shown: str, least: int = 1) -> Any:
    """A number of layers, or one of them."""
    return option(whole(least, MOST_LAYERS), "N", help, shown=shown)


def _fraction(help: str, shown: str) -> Any:
    return option(number(0, 1, below=True), "X", help, shown=shown)


K1 = Annotated[int | None, layer_option("himap: layers before the first cut.", f"2; earlier {_SHALLOW}")]
R1 = Annotated[float | None, _fraction("himap: fraction dropped at the first cut.", "0.5")]
K2 = Annotated[int | None, layer_option("himap: layers before the second cut.", f"8; earlier {_SHALLOW}")]
R2 = Annotated[float | None, _fraction("himap: fraction of the rest dropped at the second cut.", "0.75")]
DeepCriterion = Annotated[
    str | None,
    option(
        one_of("criterion", "paid", "received"),
        "NAME",
        "himap: second cut by what a token has 'paid' or 'received'.",
        shown="paid",
    ),
]
K = Annotated[
    int | None,
    layer_option("fastv, random, vtw: layers before the cut.", f"2, earlier {_SHALLOW}; half of the layers for vtw"),
]
R = Annotated[float | None, _fraction("fastv, random: fraction dropped.", "0.5")]
ShallowLayers = Annotated[
    int | None,
    layer_option("visipruner: layers that do not read the image.", f"6; earlier {_SHALLOW}", least=0),
]
LayerThreshold = Annotated[
    float | None,
    option(
        number(-1, 1),
        "X",
        "visipruner: a layer fires when leaving out one token turns what the prompt's end reads to a cosine below "
        "this.",
        shown="0.995, found for LLaVA-1.5; 0.964 for the embedded model",
    ),
]
TokenThreshold = Annotated[
    float | None,
    option(
        number(0, 1e9),
        "X",
        "visipruner: tokens that add more than this stay.",
        shown="0.2, found for LLaVA-1.5; 0.008 for the embedded model",
    ),
]
TokenScale = Annotated[
    str | None,
    option(
        one_of("scale", "absolute", "relative"),
        "NAME",
        "visipruner: --token-threshold is 'absolute', or 'relative' to all that is read.",
        shown="absolute; relative for the embedded model",
    ),
]
ExitThreshold = Annotated[
    float | None,
    option(number(-1, 1), "X", "visipruner: a kept token still matters below this cosine.", shown="0.999"),
]
ExitPatience = Annotated[
    int | None, layer_option("visipruner: layers without a token that matters before all go.", "2")
]
AtMost = Annotated[
    int | None, option(whole(1, MOST_TOKENS), "N", "visipruner: tokens kept, at most.", shown="no limit")
]
FallbackLayer = Annotated[
    int | None,
    layer_option("visipruner: fires here at the latest.", "none, so a prompt may keep all its tokens", least=0),
]
DrawSeed = Annotated[int | None, option(whole(0, MOST_SEED), "N", "random: another seed, another draw.", shown="0")]
