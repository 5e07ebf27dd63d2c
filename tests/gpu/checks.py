"""What the documents say of a GPU, as twelve checks of figures beside what is expected of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from typing import Any
from unittest.mock import patch

import torch
from transformers import PreTrainedModel, StaticCache

from tests.gpu.setting import Finding, Setting
from tests.tiny import batch_of, prompt, tiny_llava
from visionflow import VTW, FastV, HiMAP, Method, RandomPruning, VisiPruner, prune
from visionflow.bench.clock import clock_for, host_waits
from visionflow.bench.memory import peak_memory
from visionflow.bench.passes import TimedProbes, answer, prefill
from visionflow.bench.prompt import make_prompt
from visionflow.core import AttentionRows, find_tokens, paid, received
from visionflow.core import log_sum_exp as by_log_sum_exp
from visionflow.engines.hf.families import family_of
from visionflow.flow import saliency

Check = Callable[[Setting], Iterator[Finding]]


def methods_for(model: PreTrainedModel) -> list[Method]:
    """The methods of the tables, with settings that the model's depth has room for."""
    last = model.config.get_text_config().num_hidden_layers - 1
    deep = min(8, last)
    return [HiMAP(2, 0.5, deep, 0.75), FastV(2, 0.5), VTW(min(16, last)), RandomPruning(2, 0.5)]


def himap(model: PreTrainedModel, criterion: Any = "paid") -> HiMAP:
    """HiMAP as the paper has it."""
    last = model.config.get_text_config().num_hidden_layers - 1
    return HiMAP(2, 0.5, min(8, last), 0.75, criterion)


def choices(setting: Setting) -> Iterator[Finding]:
    """The same tokens are kept as on the CPU."""
    inputs = batch_of([prompt(3, "image", 6), prompt(20, "image", 12)])
    there = {name: part.to(setting.device) for name, part in inputs.items()}
    here, model = tiny_llava(2), tiny_llava(2).to(setting.device)
    for method in (*methods_for(here), VisiPruner(2, 0.85, 0.3, 0.97, exit_patience=1)):
        kept = []
        for each, given in ((here, inputs), (model, there)):
            with prune(each, method) as trace, torch.no_grad():
                each(**given)
            kept.append([[columns.tolist() for columns in stage.kept] for stage in trace.stages])
        yield Finding(f"{method.name} keeps what it keeps on the CPU", kept[0] == kept[1], "True", kept[0] == kept[1])


@contextmanager
def _no_wait_in_layers(model: PreTrainedModel) -> Iterator[None]:
    """Waits for the GPU between the first layer's beginning and the last one's end are errors."""
    layers = family_of(model).layers_of(model)
    debug: Any = torch.cuda.set_sync_debug_mode
    first = layers[0].register_forward_pre_hook(lambda *_: debug("error"))
    last = layers[-1].register_forward_hook(lambda *_: debug("default"))
    try:
        yield
    finally:
        debug("default")
        first.remove()
        last.remove()


def waits(setting: Setting) -> Iterator[Finding]:
    """The layer loop waits for nothing."""
    model = tiny_llava(2).to(setting.device)
    inputs = batch_of([prompt(3, "image", 6), prompt(20, "image", 12)])
    inputs = {name: part.to(setting.device) for name, part in inputs.items()}
    cuda = setting.device.type == "cuda"
    for method in methods_for(model):
        found = "none"
        with prune(model, method), torch.no_grad():
            try:
                if cuda:
                    with _no_wait_in_layers(model):
                        model(**inputs)
                else:
                    model(**inputs)
            except RuntimeError as error:
                found = str(error).splitlines()[0]
        yield Finding(f"{method.name}: waits in the layer loop", found, "none", found == "none" if cuda else None)


def _efficiencies(
    setting: Setting, shape: str, batch: int, image_tokens: int, least: float, some: int = 4
) -> Iterator[Finding]:
    model = setting.model(shape)
    inputs = setting.inputs(model, batch, image_tokens)
    seconds, bounds = setting.prefills(model, inputs, methods_for(model)[:some])
    for name, bound in bounds.items():
        realised = seconds["dense"] / seconds[name]
        times = f"{1e3 * seconds['dense']:.1f} ms became {1e3 * seconds[name]:.1f}, bound {bound:.2f}"
        told = f"{realised / bound:.3f} ({times})"
        holds = setting.judged(realised / bound >= least)
        yield Finding(f"{shape}, batch {batch}, {image_tokens} tokens, {name}: efficiency", told, f">= {least}", holds)


def batch_8(setting: Setting) -> Iterator[Finding]:
    """7B, batch 8: what the arithmetic allows."""
    return _efficiencies(setting, "llava-1.5-7b", 8, 576, 0.85)


def batch_1(setting: Setting) -> Iterator[Finding]:
    """7B, batch 1: time of the kernels beside that on the wall."""
    yield from _efficiencies(setting, "llava-1.5-7b", 1, 576, 0.0, 1)
    model = setting.model("llava-1.5-7b")
    inputs = setting.inputs(model, 1, 576)
    dense, _ = setting.kernels(lambda: prefill(model, inputs))
    with prune(model, himap(model)):
        pruned, _ = setting.kernels(lambda: prefill(model, inputs))
    ratio = dense / pruned
    yield Finding("himap: time of dense kernels over its own", round(ratio, 2), ">= 2.3", setting.judged(ratio >= 2.3))


def _probe_share(setting: Setting, inputs: dict[str, Any], method: Method, most: float) -> Finding:
    model = setting.model("llava-1.5-7b")
    clock = clock_for(setting.device)
    with prune(model, TimedProbes(method, clock)):
        prefill(model, inputs)
        clock.laps()
        prefill(model, inputs)
    probes = sum(clock.laps()[::2])
    with prune(model, method):
        prefill(model, inputs)
        whole = setting.seconds({"pruned": lambda: prefill(model, inputs)})["pruned"]
    share = probes / whole
    told = f"{100 * share:.2f} %"
    tokens = inputs["input_ids"].shape[1]
    return Finding(
        f"{tokens} tokens, {method}: share of the probes",
        told,
        f"<= {100 * most:g} %",
        setting.judged(share <= most),
    )


def tokens_2880(setting: Setting) -> Iterator[Finding]:
    """7B, 2,880 image tokens: efficiency, and what the probes take."""
    yield from _efficiencies(setting, "llava-1.5-7b", 1, 2880, 0.8, 1)
    model = setting.model("llava-1.5-7b")
    yield _probe_share(setting, setting.inputs(model, 1, 2880), himap(model), 0.03)


def attention_kernels(setting: Setting) -> Iterator[Finding]:
    """Flash attention where no mask is needed, the efficient kernel where one is."""
    model = setting.model("llava-1.5-7b")
    for batch in (1, 2):
        inputs = setting.inputs(model, batch, 576)
        with prune(model, himap(model)):
            _, names = setting.kernels(lambda inputs=inputs: prefill(model, inputs))
        yield _kernel(setting, f"batch of {batch} alike", names, ("flash", "cudnn"), ("fmha_cutlass", "efficient"))
    inputs = setting.inputs(model, 2, 576)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    inputs["attention_mask"][0, :2] = 0
    with prune(model, himap(model)):
        _, names = setting.kernels(lambda: prefill(model, inputs))
    yield _kernel(setting, "padded batch", names, ("fmha_cutlass", "efficient", "cudnn"), ())


def _kernel(
    setting: Setting, figure: str, names: list[str], wanted: tuple[str, ...], unwanted: tuple[str, ...]
) -> Finding:
    attention = [name for name in names if _some(("flash", "fmha", "efficient", "cudnn", "softmax"), [name])]
    found = _some(wanted, names) and not _some(unwanted, names)
    told = ", ".join(sorted(name[:60] for name in attention)) or "none"
    return Finding(f"{figure}: attention kernels", told, " or ".join(wanted), setting.judged(found))


def _some(parts: tuple[str, ...], names: list[str]) -> bool:
    return any(part in name for name in names for part in parts)


def tokens_16384(setting: Setting) -> Iterator[Finding]:
    """7B, 16,384 image tokens: memory, probes, and the two ways to what rows pay."""
    model = setting.model("llava-1.5-7b")
    inputs = setting.inputs(model, 1, 16384)
    dense, _ = peak_memory(setting.device, lambda: prefill(model, inputs))
    assert dense is not None
    for criterion, most in (("paid", 0.02), ("received", 0.03)):
        method = himap(model, criterion)
        with prune(model, method):
            peak, _ = peak_memory(setting.device, lambda: prefill(model, inputs))
        assert peak is not None
        told = f"{peak / 2**30:.3f} GiB, dense {dense / 2**30:.3f}"
        yield Finding(
            f"16384 tokens, {criterion}: peak memory", told, "no more than dense", setting.judged(peak <= dense)
        )
        yield _probe_share(setting, inputs, method, most)
    yield from _log_sum_exp(setting)


def _log_sum_exp(setting: Setting) -> Iterator[Finding]:
    cuda = setting.device.type == "cuda"
    generator = torch.Generator().manual_seed(0)
    ids = torch.tensor([[5] * 35 + [9] * (64 if setting.tiny else 4096) + [5] * 29])
    tokens = find_tokens(ids.to(setting.device), None, 9)
    shape = (1, 4 if setting.tiny else 32, ids.shape[1], 64)
    dtype = torch.bfloat16 if cuda else torch.float32
    query, key = (torch.randn(shape, generator=generator).to(setting.device, dtype) for _ in range(2))
    rows = AttentionRows.of("image", query, key, 0.125, None, tokens)
    for criterion, reduce, least in (
        ("paid", lambda: paid(rows, "image"), by_log_sum_exp._WORTHWHILE),
        ("received", lambda: received(rows), by_log_sum_exp._WORTHWHILE_RECEIVED),
    ):
        found = []
        for fewest in (1, 1 << 40):
            with patch.dict(least, {setting.device.type: fewest}):
                found.append(reduce())
        apart = float(((found[0] - found[1]).abs() / found[1].clamp(min=1)).max())
        figure = f"{criterion}, by log-sum-exp and in chunks: largest difference"
        yield Finding(figure, f"{apart:.1e}", "<= 1e-3", apart <= 1e-3)


def decoding(setting: Setting) -> Iterator[Finding]:
    """64 decoded tokens take no longer than dense."""
    model, steps = setting.model("llava-1.5-7b"), 2 if setting.tiny else 64
    for batch in (1, 8):
        inputs = setting.inputs(model, batch, 576)
        taken: dict[str, list[float]] = {"dense": [], "himap": []}
        for _ in range(1 if setting.tiny else 3):
            for name, laps in taken.items():
                clock = clock_for(setting.device)
                if name == "dense":
                    answer(model, inputs, steps, clock.mark)
                else:
                    with prune(model, himap(model)):
                        answer(model, inputs, steps, clock.mark)
                laps.append(clock.laps()[1])
        ratio = min(taken["dense"]) / min(taken["himap"])
        told = f"{ratio:.3f} ({1e3 * min(taken['dense']) / steps:.1f} ms a token dense)"
        yield Finding(
            f"batch {batch}: time of dense decoding over himap's",
            told,
            ">= 0.97",
            setting.judged(ratio >= 0.97),
        )


def captured(setting: Setting) -> Iterator[Finding]:
    """Steps of an answer on static layers, recorded once in a CUDA graph: the same tokens, and how fast."""
    model, steps = setting.model("llava-1.5-7b"), 3 if setting.tiny else 64
    inputs = setting.inputs(model, 1, 576)
    for name, scope in {"dense": nullcontext, "himap": lambda: prune(model, himap(model))}.items():
        with scope(), torch.no_grad():
            expected, _ = _static_answer(setting, model, inputs, steps, captured=False)
            found, seconds = _static_answer(setting, model, inputs, steps, captured=True)
        same = sum(one == other for one, other in zip(found, expected, strict=True))
        yield Finding(f"{name}: captured tokens as eager ones", f"{same} of {steps}", f"{steps}", same == steps)
        speed = steps / seconds
        holds = setting.judged(speed >= 200) if name == "himap" else None
        yield Finding(f"{name}: captured decoding", f"{speed:.0f} tokens a second", ">= 200 (himap)", holds)


def _static_answer(
    setting: Setting, model: PreTrainedModel, inputs: dict[str, Any], steps: int, captured: bool
) -> tuple[list[int], float]:
    """Greedy tokens of an answer on a static cache, and the seconds of its steps; on a CPU nothing is captured."""
    warm_up = 3  # steps before those that count, as a capture needs them
    columns = inputs["input_ids"].shape[1] + warm_up + steps
    cache = StaticCache(model.config.get_text_config(), columns)
    token = model(**inputs, past_key_values=cache, logits_to_keep=1).logits.argmax(-1)

    def step() -> None:
        token.copy_(model(input_ids=token, past_key_values=cache).logits.argmax(-1))

    if captured and setting.device.type == "cuda":
        step = _recorded(step, warm_up)
    else:
        for _ in range(warm_up):
            step()
    tokens, clock = [], clock_for(setting.device)
    clock.mark()
    for _ in range(steps):
        step()
        tokens.append(token.clone())
    clock.mark()
    [seconds] = clock.laps()
    return torch.cat(tokens).flatten().tolist(), seconds


def _recorded(step: Callable[[], None], warm_up: int) -> Callable[[], None]:
    """The step as a CUDA graph, after some that run as they are."""
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(warm_up):
            step()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    replay: Callable[[], None] = graph.replay
    return replay


def larger(setting: Setting) -> Iterator[Finding]:
    """13B, batch 4."""
    return _efficiencies(setting, "llava-1.5-13b", 4, 576, 0.85)


def visipruner(setting: Setting) -> Iterator[Finding]:
    """VisiPruner waits once for each layer that it looks at, and three times beside."""
    model = setting.model("llava-1.5-7b")
    inputs = setting.inputs(model, 1, 576)
    depth = model.config.get_text_config().num_hidden_layers
    first = min(6, depth - 3)
    never = VisiPruner(first, -1.0, phases=("middle",))
    looked = depth - 1 - first
    with prune(model, never):
        prefill(model, inputs)
        found = host_waits(setting.device, lambda: prefill(model, inputs))
    dense = host_waits(setting.device, lambda: prefill(model, inputs))
    holds = found <= looked + 3 + (dense or 0) if found is not None else None
    yield Finding("waits of a prefill that looks at all layers", found, f"<= {looked} + 3 + those of dense", holds)

    def run() -> None:
        with prune(model, never):
            prefill(model, inputs)

    yield from _leave_one_out(setting)
    seconds = setting.seconds({"dense": lambda: prefill(model, inputs), "visipruner": run})
    each = 1e3 * (seconds["visipruner"] - seconds["dense"]) / looked
    yield Finding(
        "a layer that is looked at takes longer by",
        f"{each:.3f} ms",
        "< 0.5 ms",
        setting.judged(each < 0.5),
    )


def _leave_one_out(setting: Setting) -> Iterator[Finding]:
    """VisiPruner's leave-one-out fused, beside what it is made of: 7B, 16,384 keys, some of them masked."""
    plain: Any = import_module("visionflow.core.contribution")
    ids = torch.tensor([[0] * 3 + [5] * 35 + [9] * (64 if setting.tiny else 16384) + [5] * 29]).to(setting.device)
    tokens = find_tokens(ids, ids != 0, 9)
    dtype = torch.bfloat16 if setting.device.type == "cuda" else torch.float32
    shape = (1, 4 if setting.tiny else 32, ids.shape[1], 64 if setting.tiny else 128)
    query, key, value = (torch.randn(shape, device=setting.device, dtype=dtype) for _ in range(3))
    rows = AttentionRows.of("last", query, key, 0.1, tokens.valid, tokens)
    fused = plain._terms_for(rows, value)
    if fused is plain._terms:
        yield Finding("leave-one-out, fused", "no Triton for this device", "on a GPU", None)
        return
    pairs = zip(fused(rows, value), plain._terms(rows, value), strict=True)
    apart = max(float(((found - expected).abs() / expected.abs().max()).max()) for found, expected in pairs)
    yield Finding("leave-one-out, fused and plain: largest difference", f"{apart:.1e}", "<= 1e-4", apart <= 1e-4)
    works = {"plain": lambda: plain._terms(rows, value), "fused": lambda: fused(rows, value)}
    seconds = setting.seconds(works)
    told = f"{1e3 * seconds['fused']:.3f} ms, plain {1e3 * seconds['plain']:.3f}"
    yield Finding(
        "leave-one-out, 16384 keys", told, "faster fused", setting.judged(seconds["fused"] < seconds["plain"])
    )


def gradients(setting: Setting) -> Iterator[Finding]:
    """Saliency backward: finite, as on the CPU, and in memory."""
    inputs = batch_of([prompt(3, "image", 6)])
    here = saliency(tiny_llava(2), inputs, [5])
    there = saliency(tiny_llava(2).to(setting.device), {n: part.to(setting.device) for n, part in inputs.items()}, [5])
    apart = max(float((here.per_sample[name] - there.per_sample[name]).abs().max()) for name in here.per_sample)
    yield Finding("tiny model, largest difference from the CPU", f"{apart:.1e}", "<= 1e-4", apart <= 1e-4)
    model = setting.model("llava-1.5-7b")
    made = make_prompt(model)
    inputs = {"input_ids": made.ids, **made.pictures}
    peak, found = peak_memory(setting.device, lambda: saliency(model, inputs, [5]))
    finite = all(bool(values.isfinite().all()) for values in found.per_sample.values())
    yield Finding("7B, 640 tokens: finite", finite, "True", finite)
    assert peak is not None
    held = peak / 2**30 + sum(each.numel() * each.element_size() for each in model.parameters()) / 2**30
    yield Finding("7B, 640 tokens: memory with the weights", f"{held:.1f} GiB", "< 30 GiB", held < 30)


CHECKS: dict[str, Check] = {
    "choices": choices,
    "waits": waits,
    "batch-8": batch_8,
    "batch-1": batch_1,
    "tokens-2880": tokens_2880,
    "attention-kernels": attention_kernels,
    "tokens-16384": tokens_16384,
    "decoding": decoding,
    "captured": captured,
    "visipruner": visipruner,
    "gradients": gradients,
    "13b": larger,
}
"""In the order of their worth; the larger model comes last, for it takes the place of the other."""

QUICK = ("choices", "waits", "batch-8", "attention-kernels", "visipruner")
