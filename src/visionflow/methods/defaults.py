"""Settings that suit a model, where none are given: layers by its depth, thresholds by what was found for it."""

EMBEDDED = "embedded"  # as `visionflow.loading.models` calls the model of this package

# From `visionflow.tuning.thresholds` on the embedded model: docs/results/visipruner.md.
_EMBEDDED_VISIPRUNER: dict[str, object] = {
    "shallow_layers": 1,
    "layer_threshold": 0.964,
    "token_threshold": 0.008,
    "token_scale": "relative",
}


def default_options(method: str, num_layers: int, model: str = "") -> dict[str, object]:
    """The settings of the papers; in a model of 8 layers or fewer, where those have no place, layers at a like depth.

    VisiPruner's thresholds belong to one model each: those of the embedded model were found for it, every other model
    gets the paper's, which are LLaVA-1.5's (`visionflow.tuning.thresholds.calibrate` finds its own).

    Args:
        method: its name; nothing is known of others than the package's.
        num_layers: of the decoder.
        model: what it is called, as `visionflow.loading.models.Loaded` has it.
    """
    shallow = num_layers <= 8
    early, middle = max(1, num_layers // 4), num_layers // 2
    defaults: dict[str, dict[str, object]] = {
        "himap": {"k1": early if shallow else 2, "r1": 0.5, "k2": max(early + 1, middle) if shallow else 8, "r2": 0.75},
        "fastv": {"k": early if shallow else 2, "r": 0.5},
        "vtw": {"k": max(1, middle)},
        "random": {"k": early if shallow else 2, "r": 0.5},
        "visipruner": {"shallow_layers": max(1, round(num_layers * 6 / 32))} if shallow else {},
    }
    if (method, model) == ("visipruner", EMBEDDED):
        return _EMBEDDED_VISIPRUNER
    return defaults.get(method, {})


def whose_defaults(method: str, num_layers: int, model: str = "") -> str:
    """Where `default_options` come from, for people."""
    if method != "visipruner":
        return f"the default for {num_layers} layers"
    if model == EMBEDDED:
        return "the default of the embedded model, whose thresholds were found for it"
    return f"the default for {num_layers} layers, with the thresholds that the paper found for LLaVA-1.5"
