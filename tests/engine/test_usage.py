"""Ways of running a model inside a scope: those that work, and those that are refused by name."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from transformers import (
    DynamicCache,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    ShieldGemma2ForImageClassification,
)
from transformers.generation.configuration_utils import (
    DEPRECATED_STATIC_CACHE_IMPLEMENTATIONS,
    DYNAMIC_CACHE_IMPLEMENTATIONS,
    STATIC_CACHE_IMPLEMENTATIONS,
)

from tests.exact import EXACTLY
from tests.matrix import METHODS, in_turns, model_of, models, models_in_turns, prompts, quick_or_slow
from tests.reference import Keep, masked_from
from tests.tiny import LAYERS, PER_IMAGE, Prompt, batch_of, positions, prompt, tiny_llava
from tests.zoo import ZOO
from visionflow import VTW, FastV, HiMAP, Method, UnsupportedModelError, UnsupportedUsageError, VisionFlowError, prune
from visionflow.core import Cut, Plan, keep
from visionflow.engines.hf.scope import Scope, scope_on
from visionflow.methods import DivPrune, Grid, PyramidDrop

HIMAP = HiMAP(2, 0.5, 4, 0.75)


def follow_up(inputs: dict[str, Any], answer: Tensor, text: Prompt) -> dict[str, Any]:
    """The ids and mask of a second turn: everything so far and some more text."""
    more = torch.tensor(text.ids[1:]).expand(len(answer), -1)
    ids = torch.cat([answer, more], 1)
    extra = torch.ones(len(answer), ids.shape[1] - inputs["attention_mask"].shape[1], dtype=torch.long)
    return {"input_ids": ids, "attention_mask": torch.cat([inputs["attention_mask"], extra], 1)}


# What works --------------------------------------------------------------------------------------------------------


@models_in_turns(METHODS)
def test_a_second_turn_on_the_same_cache(model: PreTrainedModel, method: Method) -> None:
    """Its tokens are those of one uncached run over both turns with the same image tokens kept."""
    inputs = batch_of([prompt(3, "image", 6), prompt(20, "image", 12, seed=5)])
    settings = {"max_new_tokens": 4, "do_sample": False}
    with prune(model, method) as trace:
        first = model.generate(**inputs, **settings, return_dict_in_generate=True)
        stages = len(trace.stages)
        turn = follow_up(inputs, first.sequences, prompt(7, seed=9))
        second = model.generate(**turn, **settings, past_key_values=first.past_key_values)
        assert len(trace.stages) == stages
    with prune(model, Keep.of(trace, method)):
        uncached = model.generate(**turn, pixel_values=inputs["pixel_values"], **settings, use_cache=False)
    assert torch.equal(second, uncached)


@pytest.mark.parametrize("method", [FastV(2, 0.5), PyramidDrop((0, 3)), DivPrune(0.5), Grid(0.5, 3)], ids=str)
def test_a_second_turn_may_bring_a_picture(model: PreTrainedModel, method: Method) -> None:
    """Dropping in both turns equals masking in both, on one cache."""
    first, second = prompt(3, "image", 6), prompt(4, "image", 5, seed=8)
    both = Prompt(first.ids + second.ids, torch.cat([first.pictures, second.pictures]))
    with prune(model, method) as trace, torch.no_grad():
        cache = model(**first.inputs).past_key_values
        inputs = {k: v for k, v in second.inputs.items() if k != "attention_mask"}
        pruned = model(**inputs, past_key_values=cache).logits
    assert trace.image_tokens[:, 0].tolist() == [2 * n for n in method.plan().image_tokens(PER_IMAGE, LAYERS)]
    assert trace.given_image_tokens.tolist() == [2 * PER_IMAGE]
    columns = {*torch.nonzero(both.inputs["input_ids"][0] == 99).flatten().tolist()}
    gone = {}
    for cut in method.cuts():
        kept = [{*stage.kept[0].tolist()} for stage in trace.stages if stage.layer == cut.layer]
        assert len(kept) == 2
        assert not kept[0] & kept[1]
        gone[cut.layer] = [sorted(columns - kept[0] - kept[1])]
    with masked_from(model, gone, both.inputs), torch.no_grad():
        masked = model(**both.inputs).logits
    torch.testing.assert_close(pruned[0, -5:], masked[0, -5:], **EXACTLY)


@models
def test_manual_decoding_without_generate(model: PreTrainedModel) -> None:
    inputs = prompt(3, "image", 6).inputs
    with prune(model, HIMAP), torch.inference_mode():
        expected = model.generate(**inputs, max_new_tokens=4, do_sample=False)[0, -4:]
        out = model(**inputs)
        tokens = [out.logits[:, -1].argmax(-1)]
        for _ in range(3):
            out = model(input_ids=tokens[-1][:, None], past_key_values=out.past_key_values)
            tokens.append(out.logits[:, -1].argmax(-1))
    assert torch.cat(tokens).tolist() == expected.tolist()


@pytest.mark.parametrize("method", quick_or_slow(METHODS, METHODS[::4]), ids=str)
def test_num_return_sequences_and_beams_in_a_padded_batch(model: PreTrainedModel, method: Method) -> None:
    settings = {"max_new_tokens": 4, "num_beams": 3, "num_return_sequences": 2}
    with prune(model, method):
        together = model.generate(**batch_of(prompts()), **settings)[:, -4:]
        for number, sample in enumerate(prompts()):
            alone = model.generate(**sample.inputs, **settings)[:, -4:]
            assert torch.equal(together[2 * number : 2 * number + 2], alone)


@in_turns("attention", [("sdpa",), ("eager",)], [[("sdpa",)], [("eager",)]], METHODS)
def test_bf16(method: Method, attention: str) -> None:
    model = model_of("llava-grouped", attention, torch.bfloat16)
    with prune(model, method) as trace:
        tokens = model.generate(**batch_of(prompts()), max_new_tokens=4, do_sample=False)
        assert torch.isfinite(model(**batch_of(prompts())).logits).all()
    assert tokens.shape[0] == 4
    assert trace.image_tokens[-1].max() < 2 * PER_IMAGE


@models
def test_gradients_flow_through_a_pruned_forward(model: PreTrainedModel) -> None:
    """The gradient of a text logit with respect to the pixels is that of the masked run."""
    inputs = prompt(3, "image", 6).inputs

    def gradient() -> Tensor:
        pixels = inputs["pixel_values"].clone().requires_grad_()
        model(**{**inputs, "pixel_values": pixels}).logits[0, -1, 5].backward()
        assert pixels.grad is not None
        return pixels.grad

    with prune(model, HIMAP) as trace:
        pruned = gradient()
    columns = torch.nonzero(inputs["input_ids"][0] == 99).flatten().tolist()
    dropped = {stage.layer: [sorted(set(columns) - set(stage.kept[0].tolist()))] for stage in trace.stages}
    with masked_from(model, dropped, inputs):
        torch.testing.assert_close(pruned, gradient(), **EXACTLY)
    model.zero_grad()


def test_a_model_dispatched_by_device_map(tmp_path: Path) -> None:
    """Layers off-loaded to disk come and go around the hooks."""
    accelerate = pytest.importorskip("accelerate")
    inputs = batch_of(prompts())
    model = tiny_llava(2)
    with prune(model, HIMAP), torch.no_grad():
        expected = model(**inputs).logits
    place = {"model.vision_tower": "cpu", "model.multi_modal_projector": "cpu", "lm_head": "cpu"}
    place |= {f"model.language_model.{part}": "cpu" for part in ("embed_tokens", "norm", "rotary_emb")}
    place |= {f"model.language_model.layers.{i}": "disk" if i % 2 else "cpu" for i in range(6)}
    dispatched = accelerate.dispatch_model(model, place, main_device="cpu", offload_dir=tmp_path)
    with prune(dispatched, HIMAP), torch.no_grad():
        torch.testing.assert_close(dispatched(**inputs).logits, expected)


def test_threads_share_a_scope(model: PreTrainedModel) -> None:
    """Batches of one to four samples."""
    samples = [batch_of([prompt(3 + i, "image", 6, seed=i) for i in range(size)]) for size in range(1, 5)]
    results: dict[int, Tensor] = {}
    with prune(model, HIMAP):
        alone = [model.generate(**each, max_new_tokens=5, do_sample=False) for each in samples]

        def run(i: int) -> None:
            results[i] = model.generate(**samples[i], max_new_tokens=5, do_sample=False)

        threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(torch.equal(results[i], alone[i]) for i in range(4))


def test_hidden_states_keep_their_shape_and_the_caches_shrink(model: PreTrainedModel) -> None:
    inputs = batch_of(prompts())
    with prune(model, HIMAP) as trace, torch.no_grad():
        out = model(**inputs)
    assert out.logits.shape[1] == inputs["input_ids"].shape[1]
    lengths = [out.past_key_values.get_seq_length(layer) for layer in range(6)]
    assert lengths == trace.lengths
    assert lengths[0] > lengths[2] > lengths[4]


def test_the_trace_is_that_of_the_latest_prompt(model: PreTrainedModel) -> None:
    with prune(model, HIMAP) as trace:
        model.generate(**batch_of(prompts()), max_new_tokens=3, do_sample=False)
        model.generate(**prompt(3, "image", 6).inputs, max_new_tokens=3, do_sample=False)
    assert trace.image_tokens.tolist() == [[25], [25], [13], [13], [4], [4]]
    assert [len(stage.kept) for stage in trace.stages] == [1, 1]
    assert trace.text_tokens.tolist() == [10]
    assert trace.instruction_tokens.tolist() == [6]


@pytest.mark.parametrize("use_cache", [True, False])
def test_guidance_leaves_the_trace_to_the_prompt_with_the_picture(model: PreTrainedModel, use_cache: bool) -> None:
    """It runs a prompt of text alone beside, in the same call of `generate`."""
    inputs = batch_of(prompts())
    settings = {"max_new_tokens": 3, "do_sample": False, "use_cache": use_cache}
    with prune(model, HIMAP) as trace:
        model.generate(**inputs, **settings)
        expected, ratio = trace.image_tokens, trace.cost("flops").ratio
        model.generate(**inputs, **settings, guidance_scale=1.5)
        assert torch.equal(trace.image_tokens, expected)
        assert trace.cost("flops").ratio == ratio < 1
        model.generate(**batch_of([prompt(9, seed=1)]), **settings)  # a new prompt starts it anew, pictures or not
    assert trace.image_tokens.sum() == 0


def test_the_cost_needs_a_run(model: PreTrainedModel) -> None:
    with prune(model, HIMAP) as trace, pytest.raises(VisionFlowError, match="run the model"):
        trace.cost("flops")


def test_generated_tokens_may_be_cropped_off(model: PreTrainedModel) -> None:
    inputs = prompt(3, "image", 6).inputs
    with prune(model, HIMAP), torch.no_grad():
        cache = model(**inputs).past_key_values
        expected = model(input_ids=torch.tensor([[5]]), past_key_values=cache).logits
        model(input_ids=torch.tensor([[7]]), past_key_values=cache)
        cache.crop(-2)
        assert torch.equal(model(input_ids=torch.tensor([[5]]), past_key_values=cache).logits, expected)


# What is refused ---------------------------------------------------------------------------------------------------


@pytest.fixture
def scope(model: PreTrainedModel) -> Iterator[PreTrainedModel]:
    with prune(model, HIMAP):
        yield model


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cache_implementation": "quantized"}, "quantized"),
        ({"prefill_chunk_size": 8}, "prefill_chunk_size"),
        ({"prompt_lookup_num_tokens": 3}, "assisted generation"),
        ({"assistant_model": model_of("llava")}, "assisted generation"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_generation_that_cannot_be_right_is_refused(
    scope: PreTrainedModel, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnsupportedUsageError, match=message):
        scope.generate(**prompt(3, "image", 6).inputs, max_new_tokens=3, **settings)


def test_settings_of_the_generation_config_are_refused_too(scope: PreTrainedModel) -> None:
    scope.generation_config.prefill_chunk_size = 8
    try:
        with pytest.raises(UnsupportedUsageError, match="prefill_chunk_size"):
            scope.generate(**prompt(3, "image", 6).inputs, max_new_tokens=3)
    finally:
        scope.generation_config.prefill_chunk_size = None


@pytest.mark.parametrize(
    "settings",
    [{"cache_implementation": "hybrid"}, {"cache_implementation": "static", "use_cache": False}],
    ids=["as-checkpoints-of-gemma-3", "no-cache-at-all"],
)
def test_what_generate_makes_nothing_of_is_let_pass(settings: dict[str, Any]) -> None:
    """In the generation config or as arguments, the tokens are those without it."""
    model, inputs = ZOO["gemma3"].build(), ZOO["gemma3"].batch([ZOO["gemma3"].prompt(3, "image", 6)])
    plain = {name: value for name, value in settings.items() if name == "use_cache"}
    with prune(model, FastV(2, 0.5)) as trace:
        expected = model.generate(**inputs, max_new_tokens=3, do_sample=False, **plain)
        kept = trace.stages[0].kept
        assert torch.equal(model.generate(**inputs, max_new_tokens=3, do_sample=False, **settings), expected)
        model.generation_config.update(**settings)
        assert torch.equal(model.generate(**inputs, max_new_tokens=3, do_sample=False), expected)
    assert [len(each) for each in kept] == [5]


def test_the_caches_that_are_refused_are_those_that_generate_would_make(scope: PreTrainedModel) -> None:
    """All that transformers knows of, but the dynamic ones: a name that is new to it is looked at here."""
    inputs = prompt(3, "image", 6).inputs
    for name in (*STATIC_CACHE_IMPLEMENTATIONS, *DEPRECATED_STATIC_CACHE_IMPLEMENTATIONS, "quantized", "paged"):
        if name in ("hybrid", "static"):
            continue
        with pytest.raises(UnsupportedUsageError, match=f"cache_implementation='{name}' cannot hold"):
            scope.generate(**inputs, max_new_tokens=1, cache_implementation=name)
    assert {"dynamic", "offloaded", "quantized"} == set(DYNAMIC_CACHE_IMPLEMENTATIONS)


def test_llama_4_is_refused_where_it_counts_tokens_itself() -> None:
    """Its layers without rotary positions scale attention by a token's place among those that are left."""
    model, inputs = ZOO["llama4"].build(), ZOO["llama4"].batch([ZOO["llama4"].prompt(3, "image", 6)])
    length = inputs["input_ids"].shape[1]
    config = model.config.get_text_config()
    config.attn_temperature_tuning, config.floor_scale = True, length + 1
    with prune(model, VTW(1)):
        model(**inputs)
        with pytest.raises(UnsupportedUsageError, match=f"from {length + 1} tokens on a llama4_text"):
            model.generate(**inputs, max_new_tokens=2, do_sample=False)
    with Scope(model, Plan()):
        model.generate(**inputs, max_new_tokens=2, do_sample=False)


def test_right_padding_is_refused_in_generate(scope: PreTrainedModel) -> None:
    with pytest.raises(UnsupportedUsageError, match="padding_side"):
        scope.generate(**batch_of(prompts(), "right"), max_new_tokens=3)


def test_continuous_batching_is_refused(scope: PreTrainedModel) -> None:
    with pytest.raises(UnsupportedUsageError, match="continuous batching"):
        scope.generate_batch([[1, 2, 3]])
    with pytest.raises(UnsupportedUsageError, match="continuous batching"):
        scope.init_continuous_batching()


def test_training_is_refused(scope: PreTrainedModel) -> None:
    scope.train()
    try:
        with pytest.raises(UnsupportedUsageError, match=r"model\.eval"):
            scope(**prompt(3, "image", 6).inputs)
    finally:
        scope.eval()


def test_embeddings_without_ids_are_refused(scope: PreTrainedModel) -> None:
    embeddings = scope.get_input_embeddings()(prompt(3, "image", 6).inputs["input_ids"])
    with pytest.raises(UnsupportedUsageError, match="input_ids"):
        scope(inputs_embeds=embeddings)


def test_a_4d_mask_is_refused(scope: PreTrainedModel) -> None:
    inputs = prompt(3, "image", 6).inputs
    inputs["attention_mask"] = torch.ones(1, 1, 35, 35, dtype=torch.bool).tril()
    with pytest.raises(UnsupportedUsageError, match="4-D"):
        scope(**inputs)


def test_a_prompt_that_ends_in_its_picture_is_refused(scope: PreTrainedModel) -> None:
    with pytest.raises(UnsupportedUsageError, match="no text follows"):
        scope(**prompt(3, "image").inputs)


def test_the_decoder_by_itself_is_refused(scope: PreTrainedModel) -> None:
    with pytest.raises(UnsupportedUsageError, match="whole model"):
        scope.model.language_model(input_ids=torch.tensor([[1, 2, 3]]))


def test_a_cache_cropped_into_the_prompt_is_refused(scope: PreTrainedModel) -> None:
    cache = scope(**prompt(3, "image", 6).inputs).past_key_values
    cache.crop(-2)
    with pytest.raises(UnsupportedUsageError, match="cropped"):
        scope(input_ids=torch.tensor([[5]]), past_key_values=cache)


def test_a_dense_cache_goes_on_in_a_scope(model: PreTrainedModel) -> None:
    inputs = prompt(3, "image", 6).inputs
    with torch.no_grad():
        dense = model(**inputs, past_key_values=DynamicCache()).past_key_values
        expected = model(input_ids=torch.tensor([[5]]), past_key_values=dense).logits
        again = model(**inputs).past_key_values
        with prune(model, HIMAP):
            assert torch.equal(model(input_ids=torch.tensor([[5]]), past_key_values=again).logits, expected)


def test_a_nested_scope_is_refused(scope: PreTrainedModel) -> None:
    with pytest.raises(UnsupportedUsageError, match="already"):
        prune(scope, FastV(2, 0.5))
    scope(**prompt(3, "image", 6).inputs)  # the outer one still works


@pytest.mark.parametrize("method", [HiMAP(2, 0.5, 6, 0.5), FastV(6, 0.5)], ids=str)
def test_a_layer_beyond_the_depth_is_refused(model: PreTrainedModel, method: Method) -> None:
    with pytest.raises(UnsupportedUsageError, match="beyond the model's 6 decoder layers"):
        prune(model, method)
    model(**prompt(3, "image", 6).inputs)  # nothing was left on the model


def test_unsupported_models_are_refused_by_name(model: PreTrainedModel) -> None:
    config = LlamaConfig(vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=2, num_attention_heads=2)
    with pytest.raises(UnsupportedModelError, match=r"LlamaForCausalLM.*supported ones, such as llava"):
        prune(LlamaForCausalLM(config), HIMAP)
    for part in (model.model.language_model, model.model.vision_tower):
        with pytest.raises(UnsupportedModelError, match=rf"{type(part).__name__}.*supported ones, such as llava"):
            prune(part, HIMAP)
    wrapped = ShieldGemma2ForImageClassification(ZOO["shieldgemma2"].config())
    with pytest.raises(UnsupportedModelError, match="has no text decoder where models of type 'shieldgemma2'"):
        prune(wrapped, HIMAP)
    with pytest.raises(UnsupportedModelError, match=r"torch\.compile"):
        prune(torch.compile(model), HIMAP)  # type: ignore[arg-type]
    with pytest.raises(UnsupportedModelError, match="not Linear"):
        prune(torch.nn.Linear(2, 2), HIMAP)  # type: ignore[arg-type]


def compile_attention(layer: Any) -> None:
    layer.self_attn.compile()


def compile_forward(layer: Any) -> None:
    layer.forward = torch.compile(layer.forward)


@pytest.mark.parametrize("compile_part", [compile_attention, compile_forward])
def test_parts_of_layers_that_a_look_reaches_into_are_not_to_be_compiled(compile_part: Callable[[Any], None]) -> None:
    model = tiny_llava(4)
    compile_part(model.model.language_model.layers[3])
    with pytest.raises(UnsupportedModelError, match=r"compile whole layers, by layer\.compile\(\)"):
        prune(model, HIMAP)
    model = tiny_llava(4)
    with prune(model, HIMAP):
        compile_part(model.model.language_model.layers[3])
        with pytest.raises(UnsupportedModelError, match="compile whole layers"):
            model(**prompt(3, "image", 6).inputs)


@pytest.mark.parametrize("when", quick_or_slow(["before", "inside"], ["before"]))
def test_compiled_layers_are_compiled_once_and_pruned_as_others_are(when: str) -> None:
    """One graph for each layer that nobody looks at; none for a second prompt as long, another scope, or the look."""
    model, method = tiny_llava(4), FastV(1, 0.5)
    layers = model.model.language_model.layers = model.model.language_model.layers[:3]
    model.config.text_config.num_hidden_layers = 3
    first, second = prompt(3, "image", 6).inputs, prompt(3, "image", 6, seed=1).inputs
    with torch.no_grad(), prune(model, method):
        expected = [model(**each).logits for each in (first, second)]
    compiler = CompileCounterWithBackend("eager")

    def compile_layers() -> None:
        for layer in layers:
            layer.compile(backend=compiler)

    if when == "before":
        compile_layers()
    graphs = []
    for each, logits in [(first, expected[0]), (second, expected[1]), (first, expected[0])]:
        with torch.no_grad(), prune(model, method) as trace:
            if when == "inside" and not graphs:
                compile_layers()
            assert torch.equal(model(**each).logits, logits)
            graphs.append(len(compiler.graphs))
        assert [stage.layer for stage in trace.stages] == [1]
    assert graphs == [2, 2, 2]
    assert scope_on(model) is None


def test_compiled_mlps_and_norms_are_pruned_as_others_are() -> None:
    """Traced by Dynamo and run as they are: what a back end makes of them is its own business."""
    model, inputs = tiny_llava(4), prompt(3, "image", 6).inputs
    with torch.no_grad(), prune(model, HIMAP):
        expected = model(**inputs).logits
    for layer in model.model.language_model.layers:
        for part in (layer.mlp, layer.input_layernorm, layer.post_attention_layernorm):
            part.compile(dynamic=True, backend="eager")
    with torch.no_grad(), prune(model, HIMAP) as trace:
        torch.testing.assert_close(model(**inputs).logits, expected)
    assert [stage.layer for stage in trace.stages] == [2, 4]


@dataclass(frozen=True)
class TooMany(keep.Keep):
    """One more than there are."""

    def __call__(self, n: int) -> int:
        return n + 1


def test_a_count_beyond_what_is_there_is_refused(model: PreTrainedModel) -> None:
    with (
        Scope(model, Plan((Cut(2, TooMany()),))),
        pytest.raises(UnsupportedUsageError, match=r"keep \[26\] of \[25\]"),
    ):
        model(**prompt(3, "image", 6).inputs)


def test_not_a_method(model: PreTrainedModel) -> None:
    with pytest.raises(VisionFlowError, match="needs a method"):
        prune(model, "himap")  # type: ignore[arg-type]


def test_positions_of_a_right_padded_batch_do_not_matter_to_the_padding(model: PreTrainedModel) -> None:
    """Rows of padding are zero in the output, whatever came in."""
    inputs = batch_of(prompts(), "right")
    with prune(model, HIMAP), torch.no_grad():
        logits = model(**inputs, position_ids=positions(inputs)).logits
    assert (logits[2, 10:] == 0).all()
