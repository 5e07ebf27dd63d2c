"""Settings that suit a model's depth, where none are given."""

# From `visionflow.methods.visipruner_calibration` on the embedded model: docs/results/visipruner.md.
_EMBEDDED_VISIPRUNER: dict[str, object] = {
    "shallow_layers": 1,
    "layer_threshold": 0.964,
    "token_threshold": 0.008,
    "token_scale": "relative",
}


def default_options(method: str, num_layers: int) -> dict[str, object]:
    """The settings of the papers; in a model of 8 layers or fewer, where those have no place, at a like depth."""
    shallow = num_layers <= 8
    early, middle = max(1, num_layers // 4), num_layers // 2
    defaults: dict[str, dict[str, object]] = {
        "himap": {"k1": early if shallow else 2, "r1": 0.5, "k2": max(early + 1, middle) if shallow else 8, "r2": 0.75},
        "fastv": {"k": early if shallow else 2, "r": 0.5},
        "vtw": {"k": max(1, middle)},
        "random": {"k": early if shallow else 2, "r": 0.5},
        "visipruner": _EMBEDDED_VISIPRUNER if shallow else {},
    }
    return defaults.get(method, {})
