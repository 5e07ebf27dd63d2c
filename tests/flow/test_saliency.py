"""Saliency against its definition in float64, for every family, attention implementation and side of padding."""

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import PreTrainedModel

from tests.flow.saliency_reference import (
    maps_and_gradients,
    paper_matrix,
    perturbed,
    reference_loss,
    reference_saliency,
    regions_of,
    summed,
)
from tests.matrix import CELLS, FAMILIES, QUICK_CELLS, model_of, models, quick_or_slow
from tests.tiny import IMAGE_TOKEN, LAYERS, PER_IMAGE, Prompt, batch_of, prompt
from tests.zoo import ZOO
from tests.zoo.entry import VIDEO
from visionflow import UnsupportedModelError, UnsupportedUsageError, VisionFlowError
from visionflow.flow import Saliency, SequenceLengths, saliency, sequence_lengths
from visionflow.flow.gradients import AttentionGradient, backward
from visionflow.flow.saliency_measures import CONVENTIONS, MEASURES, OBJECTIVES, _minus_logit

TARGETS = [7, 41, 100]
cells = pytest.mark.parametrize("cell", quick_or_slow(CELLS, QUICK_CELLS), ids="-".join)


def pictured() -> list[Prompt]:
    """One picture, two with text between, one in a long prompt."""
    return [
        prompt(3, "image", 6),
        prompt(2, "image", 4, "image", 9, seed=3),
        prompt(20, "image", 12, seed=5),
    ]


@cache
def expected_of(family: str, sample: int, convention: str = "paper", objective: str = "loss") -> dict[str, list[float]]:
    return reference_saliency(family, pictured()[sample], TARGETS[sample], convention, objective)


def assert_matches(profile: Saliency, family: str, samples: list[int], **tolerance: float) -> None:
    for name in MEASURES:
        expected = [expected_of(family, sample, profile.convention, profile.objective)[name] for sample in samples]
        values = profile.per_sample[name]
        torch.testing.assert_close(values, torch.tensor(expected, dtype=values.dtype), **tolerance)
        mean = getattr(profile, name)
        assert mean.shape == (LAYERS,)
        assert torch.equal(mean, values.mean(0))


@cells
@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_saliency_is_its_definition(cell: tuple[str, str], convention: Any, side: str) -> None:
    """A padded batch gives each sample what the full definition gives it alone, in float64."""
    model = model_of(*cell)
    profile = saliency(model, batch_of(pictured(), side), TARGETS, convention=convention)
    assert profile.s_img.dtype == torch.float64
    assert_matches(profile, cell[0], [0, 1, 2], rtol=1e-9, atol=1e-13)
    assert all((values > 0).any() for values in profile.per_sample.values())


@cells
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_what_is_differentiated_can_be_chosen(cell: tuple[str, str], objective: Any) -> None:
    model = model_of(*cell)
    profile = saliency(model, batch_of(pictured()), torch.tensor(TARGETS), objective=objective)
    assert_matches(profile, cell[0], [0, 1, 2], rtol=1e-9, atol=1e-13)


@cells
def test_single_precision_is_close(cell: tuple[str, str]) -> None:
    profile = saliency(model_of(*cell, torch.float32), batch_of(pictured()), TARGETS)
    for name in MEASURES:
        assert profile.per_sample[name].dtype == torch.float32
        assert error_of(profile, cell[0], name) < 1e-2


def error_of(profile: Saliency, family: str, name: str) -> float:
    """How far a measure is from its definition in fp64, relative to its size."""
    expected = torch.tensor([expected_of(family, sample)[name] for sample in range(3)])
    return float((profile.per_sample[name] - expected).norm() / expected.norm())


@models
def test_an_unpadded_prompt_needs_no_mask(model: PreTrainedModel) -> None:
    """Without padding sdpa gets no mask, and the rows are causal by themselves."""
    inputs = {name: value for name, value in pictured()[0].inputs.items() if name != "attention_mask"}
    family = "llava" if model.config.text_config.num_key_value_heads == 4 else "llava-grouped"
    assert_matches(saliency(model, inputs, TARGETS[:1]), family, [0], rtol=1e-9, atol=1e-13)


@models
def test_rows_may_come_in_any_number_of_chunks(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = batch_of(pictured())
    whole = saliency(model, inputs, TARGETS)
    monkeypatch.setattr("visionflow.core.attention.CHUNK_ELEMENTS", 3 * 4 * 60 * 5)
    chunked = saliency(model, inputs, TARGETS)
    for name in MEASURES:
        torch.testing.assert_close(chunked.per_sample[name], whole.per_sample[name], rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize(("dtype", "error"), [(torch.bfloat16, 0.8), (torch.float16, 0.25)])
def test_a_model_in_half_precision_has_a_profile_in_single(dtype: torch.dtype, error: float) -> None:
    """The tiny model's sharp attention differs by that much itself; gradients lost to underflow would differ by 1.

    Over the kernels of five kinds of processor the measures were off by 0.21 to 0.62 in bf16, by 0.10 to 0.19 in fp16.
    """
    model = model_of("llava", "sdpa", dtype)
    inputs = batch_of(pictured())
    profile = saliency(model, inputs | {"pixel_values": inputs["pixel_values"].to(dtype)}, TARGETS)
    for name in MEASURES:
        assert profile.per_sample[name].dtype == torch.float32
        assert error_of(profile, "llava", name) < error


def test_small_gradients_do_not_vanish_in_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("llava", "sdpa", torch.float16)
    inputs = prompt(3, "image", 6).inputs
    inputs["pixel_values"] = inputs["pixel_values"].half()
    plain = saliency(model, inputs, [7], objective="logit")
    monkeypatch.setitem(OBJECTIVES, "logit", lambda logits, targets: 1e-5 * _minus_logit(logits, targets))
    small = saliency(model, inputs, [7], objective="logit")
    torch.testing.assert_close(small.s_img * 1e5, plain.s_img, rtol=0.05, atol=1e-5)


class Largest(TorchDispatchMode):
    """Notes the most elements that any operation, forward or backward, has in one result."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        sizes = [part.numel() for part in tree_leaves(result) if isinstance(part, Tensor)]
        self.elements = max(self.elements, *sizes, 0)
        return result


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("model", [("llava", "sdpa"), ("llava-grouped", "sdpa")], indirect=True)
def test_no_map_of_a_layer_is_ever_whole(model: PreTrainedModel, side: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With sdpa no operation has heads x n x n results, neither ours nor autograd's."""
    inputs = batch_of([prompt(60, "image", 40), prompt(30, "image", 20, seed=3)], side)
    batch, n = inputs["input_ids"].shape
    whole = batch * model.config.text_config.num_attention_heads * n * n
    with Largest() as largest:
        saliency(model, inputs, [7, 8])
    assert 0 < largest.elements <= whole // 4  # a causal mask of batch x 1 x n x n is the largest
    all_at_once = lambda rows: [(0, rows.index.shape[1], [rows.key])]  # noqa: E731
    monkeypatch.setattr("visionflow.core.attention.AttentionRows._spans", all_at_once)
    with Largest() as largest:
        saliency(model, inputs, [7, 8])
    assert largest.elements == whole  # so it would have been seen


# -- the gradient itself -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_the_gradient_is_a_finite_difference(family: str) -> None:
    """Change one entry of one layer's map, and the loss changes by dL/dA times that."""
    sample, target, step = pictured()[0], TARGETS[0], 1e-5
    seen: dict[int, Tensor] = {}

    def visit(attention: AttentionGradient) -> None:
        seen[attention.layer] = torch.cat([gradient for _, _, gradient in attention.chunks()], dim=2)[0]

    model = model_of(family, "eager", torch.float64)
    backward(model, lambda: reference_loss(model, sample, target), visit)
    assert list(seen) == [5, 4, 3, 2, 1, 0]  # as the backward pass goes by
    last = len(sample.ids) - 1
    for layer, head, row, column in [(0, 0, 7, 2), (1, 3, last, 10), (3, 2, 20, 20), (4, 1, last, 0), (5, 0, last, 8)]:
        losses = []
        for sign in (1, -1):
            changes: list[Tensor | None] = [None] * LAYERS
            change = torch.zeros(1, 4, last + 1, last + 1, dtype=torch.float64)
            change[0, head, row, column] = sign * step
            changes[layer] = change
            with perturbed(changes), torch.no_grad():
                losses.append(float(reference_loss(model, sample, target)))
        difference = (losses[0] - losses[1]) / (2 * step)
        assert abs(difference) > 1e-6
        assert float(seen[layer][head, row, column]) == pytest.approx(difference, rel=1e-5, abs=1e-9)


def test_equation_6_as_printed_is_zero() -> None:
    """i in V and j in I: an image token reads no text that comes after it, so the right way round is the other one.

    Only text between two pictures is read by image tokens: the second picture's.
    """
    for sample, between in [(0, False), (1, True), (2, False)]:
        _, image, instruction = regions_of(pictured()[sample])
        maps = zip(*maps_and_gradients("llava", pictured()[sample], TARGETS[sample]), strict=True)
        printed = [summed(paper_matrix(weights, gradient), image, instruction) for weights, gradient in maps]
        assert any(printed) == between


def test_only_the_last_row_matters_in_the_last_layer(model: PreTrainedModel) -> None:
    """So the released reading, which sums rows, shows no image token there; the printed one shows them read."""
    inputs = batch_of(pictured())
    assert float(saliency(model, inputs, TARGETS, convention="released").s_img[-1]) == 0
    assert float(saliency(model, inputs, TARGETS).s_img[-1]) > 0


# -- the model is left as it was ---------------------------------------------------------------------------------------


def fingerprint(model: PreTrainedModel) -> list[Any]:
    """Everything that could be left behind: flags, gradients, hooks and configs of all modules, instance attributes."""
    parameters = [(name, p.requires_grad, p.grad is None) for name, p in model.named_parameters()]
    modules = [
        (name, len(m._forward_pre_hooks), len(m._forward_hooks), len(m._backward_hooks), id(getattr(m, "config", None)))
        for name, m in model.named_modules()
    ]
    return [*parameters, *modules, sorted(model.__dict__), model.training, torch.is_grad_enabled()]


@models
def test_the_model_is_as_it_was(model: PreTrainedModel) -> None:
    inputs = batch_of(pictured())
    frozen = model.model.language_model.layers[2].mlp.up_proj.weight
    frozen.requires_grad_(False)
    try:
        with torch.no_grad():
            logits = model(**inputs).logits
        before = fingerprint(model)
        saliency(model, inputs, TARGETS)
        assert fingerprint(model) == before
        with pytest.raises(RuntimeError, match="boom"):
            backward(model, lambda: model(**inputs).logits.sum(), boom)
        assert fingerprint(model) == before
        with pytest.raises(RuntimeError, match="boom"):
            backward(model, lambda: boom(model(**inputs)), lambda _: None)
        assert fingerprint(model) == before
        with torch.no_grad():
            assert torch.equal(model(**inputs).logits, logits)
    finally:
        frozen.requires_grad_(True)


def boom(_: Any) -> Any:
    raise RuntimeError("boom")


@models
def test_the_callers_grad_mode_does_not_matter(model: PreTrainedModel) -> None:
    expected = saliency(model, batch_of(pictured()), TARGETS)
    with torch.no_grad():
        ungraded = saliency(model, batch_of(pictured()), TARGETS)
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        inferred = saliency(model, batch_of(pictured()), TARGETS)  # the inputs are inference tensors too
        assert torch.is_inference_mode_enabled()
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    frozen = saliency(model, batch_of(pictured()), TARGETS)
    for parameter in trainable:
        parameter.requires_grad_(True)
    for name in MEASURES:
        for profile in (ungraded, inferred, frozen):
            assert torch.equal(profile.per_sample[name], expected.per_sample[name])


# -- the profile -------------------------------------------------------------------------------------------------------


def test_profiles_of_batches_join(model: PreTrainedModel) -> None:
    samples = pictured()
    whole = saliency(model, batch_of(samples), TARGETS)
    parts = [saliency(model, batch_of(samples[:2]), TARGETS[:2]), saliency(model, batch_of(samples[2:]), TARGETS[2:])]
    joined = Saliency.joined(parts)
    assert joined.num_samples == 3
    for name in MEASURES:
        torch.testing.assert_close(joined.per_sample[name], whole.per_sample[name], rtol=1e-9, atol=1e-13)


def test_profiles_that_differ_in_kind_do_not_join(model: PreTrainedModel) -> None:
    one, other = (saliency(model, prompt(3, "image", 6).inputs, [7], convention=name) for name in CONVENTIONS)
    with pytest.raises(VisionFlowError, match="differ"):
        Saliency.joined([one, other])
    with pytest.raises(VisionFlowError, match="nothing to join"):
        Saliency.joined([])


def test_a_profile_is_one_row_per_layer(model: PreTrainedModel) -> None:
    profile = saliency(model, batch_of(pictured()), TARGETS, objective="margin")
    data = profile.to_dict()
    layers = data.pop("layers")
    assert data == {"objective": "margin", "convention": "paper", "normalised": False, "samples": 3}
    assert [row["layer"] for row in layers] == list(range(LAYERS))
    for name in MEASURES:
        assert [row[name] for row in layers] == getattr(profile, name).tolist()


def test_normalised_samples_weigh_alike(model: PreTrainedModel) -> None:
    """Divided by the sum over all layers and pairs of tokens: sizes times the three regions' measures sum to one."""
    inputs = batch_of(pictured())
    plain, share = saliency(model, inputs, TARGETS), saliency(model, inputs, TARGETS, normalised=True)
    sizes = sequence_lengths(model, inputs)
    for sample, size in enumerate(sizes):
        total = sum(
            count * float(share.per_sample[name][sample].sum())
            for name, count in zip(MEASURES, (size.system, size.image, size.instruction), strict=False)
        )
        assert total == pytest.approx(1, rel=1e-4)
        ratios = torch.stack(
            [plain.per_sample[name][sample, :3] / share.per_sample[name][sample, :3] for name in MEASURES]
        )
        torch.testing.assert_close(ratios, ratios[:1, :1].expand_as(ratios), rtol=1e-3, atol=0)


def test_a_prompt_without_system_tokens_has_no_system_flow(model: PreTrainedModel) -> None:
    bare = Prompt([IMAGE_TOKEN] * PER_IMAGE + [5, 6], prompt("image").pictures)
    profile = saliency(model, bare.inputs, [7])
    assert torch.equal(profile.s_sys, torch.zeros(LAYERS))
    assert float(profile.s_img.sum()) > 0


@pytest.mark.parametrize("side", ["left", "right"])
def test_lengths_do_not_count_padding(model: PreTrainedModel, side: str) -> None:
    lengths = sequence_lengths(model, batch_of([*pictured(), prompt(9, seed=4)], side))
    assert lengths == [
        SequenceLengths(4, 25, 6),
        SequenceLengths(3, 50, 13),
        SequenceLengths(21, 25, 12),
        SequenceLengths(10, 0, 0),
    ]


def test_tokens_of_a_video_are_image_tokens() -> None:
    entry = ZOO["qwen2_5_vl"]
    inputs = entry.batch([entry.prompt(3, "video", 5)])
    [size] = sequence_lengths(entry.build(), inputs)
    assert size.image == int((inputs["input_ids"] == VIDEO).sum()) > 0


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("samples", "targets", "options", "message"),
    [
        ([prompt(3, "image", 6), prompt(9)], [7, 7], {}, "sample 1 has no picture"),
        ([prompt(3, "image")], [7], {}, "no text follows the picture in sample 0"),
        ([prompt(3, "image", 6)], [7, 8], {}, "1 token ids"),
        ([prompt(3, "image", 6)], [7.0], {}, "1 token ids"),
        ([prompt(3, "image", 6)], [128], {}, "between 0 and 127"),
        ([prompt(3, "image", 6)], [-1], {}, "between 0 and 127"),
        ([prompt(3, "image", 6)], [7], {"objective": "accuracy"}, "'accuracy' is no objective"),
        ([prompt(3, "image", 6)], [7], {"convention": "printed"}, "'printed' is no convention"),
    ],
)
def test_wrong_input_is_refused(
    model: PreTrainedModel, samples: list[Prompt], targets: list[Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(VisionFlowError, match=message):
        saliency(model, batch_of(samples), targets, **options)


def test_a_part_of_a_prompt_is_refused(model: PreTrainedModel) -> None:
    inputs = prompt(3, "image", 6).inputs
    for partial in ({"pixel_values": inputs["pixel_values"]}, inputs | {"past_key_values": object()}):
        with pytest.raises(UnsupportedUsageError, match="whole prompt"):
            saliency(model, partial, [7])


def test_models_that_cannot_be_differentiated_are_refused(model: PreTrainedModel) -> None:
    inputs = prompt(3, "image", 6).inputs
    with pytest.raises(UnsupportedModelError):
        saliency(torch.nn.Linear(2, 2), inputs, [7])  # type: ignore[arg-type]
    model.train()
    try:
        with pytest.raises(UnsupportedUsageError, match="training mode"):
            saliency(model, inputs, [7])
    finally:
        model.eval()


def test_a_zero_gradient_cannot_be_normalised(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OBJECTIVES, "loss", lambda logits, targets: 0 * logits[:, 0])
    inputs = prompt(3, "image", 6).inputs
    assert float(saliency(model, inputs, [7]).s_img.sum()) == 0
    with pytest.raises(VisionFlowError, match="sample 0 is zero"):
        saliency(model, inputs, [7], normalised=True)


def test_gradients_that_overflow_are_refused(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OBJECTIVES, "loss", lambda logits, targets: torch.inf * logits[:, 0])
    with pytest.raises(UnsupportedUsageError, match="not finite"):
        saliency(model, prompt(3, "image", 6).inputs, [7])
