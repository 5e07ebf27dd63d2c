"""`visionflow ask`, as a user types it, on a tiny LLaVA with random weights."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from tests.cli.running import Run
from tests.tiny import LAYERS, PER_IMAGE, tiny_llava
from tests.tiny_processor import tiny_processor
from visionflow import HiMAP
from visionflow.answering import compare
from visionflow.cli.field_options import field_options
from visionflow.errors import VisionFlowError
from visionflow.loading.prompts import make_prompt
from visionflow.methods import METHODS, method
from visionflow.methods.fields import settings_of
from visionflow.report.ask import layer_ranges

QUESTION = "w5 w6 w7"
SHORT = ("--max-new-tokens", 2)
"""What is seen in the prompt needs no long answer."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of each test, with two pictures in it."""
    monkeypatch.chdir(tmp_path)
    gradient = Image.linear_gradient("L").convert("RGB")
    gradient.resize((60, 40)).save("wide.png")
    gradient.resize((30, 50)).save("tall.jpg")
    return tmp_path


@pytest.fixture
def ask(visionflow: Run) -> Run:
    return partial(visionflow, "ask")


def test_the_facts_as_json(ask: Run, checkpoint: Path) -> None:
    code, out, err = ask("wide.png", QUESTION, "--model", checkpoint, "--json", "--max-new-tokens", 8)
    facts = json.loads(out)
    assert (code, err) == (0, "")
    assert facts["image"] == "wide.png"
    assert facts["question"] == QUESTION
    assert facts["model"] == str(checkpoint)
    assert facts["method"] == str(HiMAP(1, 0.5, 3, 0.75))
    assert facts["image_tokens"] == [25, 13, 13, 4, 4, 4]
    assert facts["dense_answer"].split()
    assert facts["pruned_answer"].split()
    # 6 text tokens; keys and values of 4 heads x 8 x 4 bytes in each layer
    assert facts["kv_bytes_dense"] == (6 + 25) * LAYERS * 256
    assert facts["kv_bytes_pruned"] == (6 * LAYERS + sum(facts["image_tokens"])) * 256
    assert set(facts["cost"]) == {"flops", "paper", "gated"}
    assert all(cost["ratio"] == cost["pruned"] / cost["dense"] < 1 for cost in facts["cost"].values())
    assert facts["ttft_dense_s"] > 0
    assert facts["ttft_pruned_s"] > 0
    assert facts["overlay"] == "wide.kept.png"
    assert [(stage["layer"], len(stage["kept"])) for stage in facts["stages"]] == [(1, 13), (3, 4)]
    # the template is "<s> USER: <image>...": the picture begins in column 2
    assert all(stage["patches"] == [[column - 2 for column in stage["kept"]]] for stage in facts["stages"])
    with Image.open("wide.kept.png") as overlay:
        assert overlay.format == "PNG"


def test_a_decoder_without_a_cost_model_is_asked(ask: Run, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visionflow.cost.shape.GATED_DENSE", frozenset())
    asked = ("wide.png", QUESTION, "--model", checkpoint, "--max-new-tokens", 2)
    assert json.loads(ask(*asked, "--json")[1])["cost"] is None
    code, out, _ = ask(*asked)
    assert (code, "whose cost is not modelled" in out) == (0, True)


def test_the_embedded_model_has_a_name(ask: Run) -> None:
    told = json.loads(ask("wide.png", QUESTION, "--model", "embedded", "--max-new-tokens", 1, "--json")[1])
    assert (told["model"], told["dtype"]) == ("embedded", "float32")


def test_the_answers_are_the_models_own(ask: Run, checkpoint: Path) -> None:
    facts = json.loads(ask("wide.png", QUESTION, "--model", checkpoint, "--json", "--max-new-tokens", 6)[1])
    model, processor = tiny_llava(), tiny_processor()
    inputs = make_prompt(model, processor, [Image.open("wide.png")], QUESTION)
    tokens = model.generate(**inputs, max_new_tokens=6, do_sample=False)
    dense = processor.tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()
    assert facts["dense_answer"] == dense
    assert compare(model, processor, inputs, HiMAP(1, 0.5, 3, 0.75), 6).pruned.answer == facts["pruned_answer"]


def test_the_facts_for_people(ask: Run, checkpoint: Path) -> None:
    code, out, err = ask("wide.png", QUESTION, "--model", checkpoint, "--method", "vtw", "--max-new-tokens", 4)
    assert (code, err) == (0, "")
    for text in ("VTW(k=3), the default for 6 layers", QUESTION, "layers 0-2: 25, 3-5: 0", "FLOPs", "KV cache", "KiB"):
        assert text in out
    assert "wide.kept.png" in out


def test_further_pictures_and_another_place(ask: Run, checkpoint: Path, folder: Path) -> None:
    options = ("--method", "random", "--k", 2, "--r", 0.6, "--seed", 3, "--dtype", "bf16", "--attention", "eager")
    code, out, err = ask(
        *("wide.png", QUESTION, "--image", "tall.jpg", "--model", checkpoint, "--json", "--max-new-tokens", 2),
        *("--out", "over.jpg", *options),
    )
    facts = json.loads(out)
    assert (code, err) == (0, "")
    assert facts["images"] == ["wide.png", "tall.jpg"]
    assert facts["dtype"] == "bfloat16"
    assert facts["image_tokens"] == [50, 50, 20, 20, 20, 20]
    first, second = facts["stages"][0]["patches"]
    assert len(first) + len(second) == 20
    assert all(0 <= patch < PER_IMAGE for patch in first + second)
    assert (folder / "over.jpg").is_file()
    assert not (folder / "wide.kept.png").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nothing.png", "q"], "no such file: nothing.png"),
        ([".", "q"], ". is a directory"),
        (["notes.txt", "q"], "notes.txt is not a picture"),
        (["cut.png", "q"], "cut.png is truncated"),
        (["wide.png", "q", "--image", "nothing.png"], "no such file: nothing.png"),
        (["wide.png", "  "], "the question is empty"),
        (["wide.png", "what is <image>"], "<image>, which stands for a picture"),
        (
            ["wide.png", "q", "--method", "magic"],
            "unknown method 'magic': choose one of himap, fastv, vtw, visipruner",
        ),
        (["wide.png", "q", "--method", "fastv", "--k1", "2"], "--k1 is not an option of method fastv"),
        (["wide.png", "q", "--r", "0.5"], "--r is not an option of method himap"),
        (["wide.png", "q", "--r1", "1.0"], "r1 is the fraction of image tokens dropped: 0 <= r1 < 1, not 1.0"),
        (["wide.png", "q", "--r1", "nan"], "'--r1': r1 must be a finite number, not 'nan'"),
        (
            ["wide.png", "q", "--method", "fastv", "--r", "-0.1"],
            "r is the fraction of image tokens dropped: 0 <= r < 1, not -0.1",
        ),
        (["wide.png", "q", "--k1", "3", "--k2", "3"], "k1 must be smaller than k2"),
        (["wide.png", "q", "--method", "vtw", "--k", "6"], "beyond the model's 6 decoder layers"),
        (["wide.png", "q", "--method", "vtw", "--k", "-1"], "k must be a whole number of layers, at least 0, not -1"),
        (["wide.png", "q", "--deep-criterion", "both"], "deep_criterion must be one of paid, received, not 'both'"),
        (["wide.png", "q", "--dtype", "int8"], "unknown dtype 'int8'"),
        (["wide.png", "q", "--device", "abacus"], "unknown device 'abacus': choose cpu"),
        (["wide.png", "q", "--device", "meta"], "holds no numbers"),
        (["wide.png", "q", "--attention", "flash"], "unknown attention 'flash'"),
        (["wide.png", "q", "--out", "over.xyz"], "must end in .png"),
        (["wide.png", "q", "--out", "none/over.png"], "there is no directory none"),
        (["wide.png", "q", "--out", "folder.png"], "is a directory"),
        (["wide.png", "q", "--out", "wide.png"], "is the picture itself"),
        (["wide.png", "q", "--out", "x" * 300 + ".png"], "is no valid path"),
        (["http://127.0.0.1:1/" + "x" * 300 + ".png", "q"], "could not be fetched"),
        (["wide.png", "q", "--max-new-tokens", "5000"], "more than the model's 512 positions"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_bad_input_is_one_line(args: list[str], message: str, ask: Run, checkpoint: Path, folder: Path) -> None:
    (folder / "notes.txt").write_text("hello")
    (folder / "cut.png").write_bytes((folder / "wide.png").read_bytes()[:90])
    (folder / "folder.png").mkdir()
    before = sorted(folder.iterdir())
    code, out, err = ask(*args, "--model", checkpoint)
    assert code == 2
    assert out == ""
    assert message in err
    assert err.startswith("visionflow: ")
    assert err.count("\n") == 1
    assert sorted(folder.iterdir()) == before


def test_a_file_that_is_there_is_replaced_only_where_it_is_named(ask: Run, checkpoint: Path, folder: Path) -> None:
    (folder / "wide.kept.png").write_text("mine")
    quick = ("wide.png", QUESTION, "--model", checkpoint, "--max-new-tokens", 1)
    for name in ("wide.kept-2.png", "wide.kept-3.png"):
        code, out, _ = ask(*quick)
        assert (code, name in out, (folder / name).is_file()) == (0, True, True)
    assert (folder / "wide.kept.png").read_text() == "mine"
    assert ask(*quick, "--out", "wide.kept.png")[0] == 0
    assert (folder / "wide.kept.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
def test_a_device_that_is_not_there(ask: Run, checkpoint: Path) -> None:
    code, _, err = ask("wide.png", "q", "--model", checkpoint, "--device", "cuda")
    assert code == 2
    assert err.startswith("visionflow: device 'cuda' is not available here")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(ask: Run, checkpoint: Path, folder: Path) -> None:
    (folder / "locked").mkdir(mode=0o500)
    code, _, err = ask("wide.png", "q", "--model", checkpoint, "--out", "locked/over.png")
    assert (code, "cannot write" in err) == (2, True)


def _without(*names: str) -> Callable[[Path], None]:
    def damage(directory: Path) -> None:
        for name in names:
            (directory / name).unlink()

    return damage


def _with(name: str, content: str) -> Callable[[Path], None]:
    return lambda directory: (directory / name).write_text(content) and None


def _cut_weights(directory: Path) -> None:
    weights = directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])


def _lose_one_weight(directory: Path) -> None:
    weights = load_file(directory / "model.safetensors")
    del weights["language_model.lm_head.weight"]
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})


def _shrink_one_weight(directory: Path) -> None:
    weights = load_file(directory / "model.safetensors")
    weights["language_model.lm_head.weight"] = weights["language_model.lm_head.weight"][:3].clone()
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})


def _become_a_llama(directory: Path) -> None:
    config = LlamaConfig(
        vocab_size=128, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2
    )
    LlamaForCausalLM(config).save_pretrained(directory)


def _become_another_vlm(directory: Path) -> None:
    (directory / "config.json").write_text('{"model_type": "mllama"}')


def _change(file: str, key: str, value: object) -> Callable[[Path], None]:
    def damage(directory: Path) -> None:
        content = json.loads((directory / file).read_text())
        (directory / file).write_text(json.dumps(content | {key: value}))

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_without("model.safetensors"), "cannot load the weights"),
        (_without("config.json"), "there is no config.json in the directory"),
        (_without("processor_config.json"), "processor"),
        (_without("tokenizer.json", "tokenizer_config.json"), "cannot load the processor"),
        (_without("chat_template.jinja"), "has no chat template"),
        (_with("config.json", "{"), "cannot be read as a JSON object"),
        (_with("config.json", '{"model_type": "abacus"}'), "names model type 'abacus', which this transformers"),
        (_with("chat_template.jinja", "USER: no picture"), "no image token"),
        (_with("chat_template.jinja", "{{ raise_exception('no pictures please') }}"), "no pictures please"),
        (_with("chat_template.jinja", "<image> <image>"), "cannot make this prompt"),
        (_change("processor_config.json", "num_additional_image_tokens", 0), "made 24 image tokens"),
        (_cut_weights, "cannot load the weights"),
        (_lose_one_weight, "weights missing: 1, for example lm_head.weight"),
        (_shrink_one_weight, "1 of another shape, for example lm_head.weight"),
        (_become_a_llama, "model type 'llama' is not supported: the"),
        (_become_another_vlm, "model type 'mllama' is not supported: its decoder reads pictures by cross-attention"),
    ],
)
def test_a_bad_model_is_one_line(
    damage: Callable[[Path], None], message: str, ask: Run, checkpoint: Path, folder: Path
) -> None:
    directory = folder / "bad"
    shutil.copytree(checkpoint, directory)
    damage(directory)
    code, out, err = ask("wide.png", "q", "--model", "bad")
    assert code == 2
    assert out == ""
    assert message in err
    assert err.startswith("visionflow: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("missing", "neither a directory nor an owner/name"),
        ("./owner/name", "neither a directory nor an owner/name"),
        ("wide.png", "is a file: give the directory"),
        ("nobody/nothing", "cannot load the model nobody/nothing"),
    ],
)
def test_a_model_that_is_not_there(model: str, message: str, ask: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # no waiting for a network in tests
    code, out, err = ask("wide.png", "q", "--model", model)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


@pytest.mark.slow
def test_the_process_keeps_standard_output_clean(checkpoint: Path, folder: Path) -> None:
    command = [sys.executable, "-m", "visionflow", "ask", "-", QUESTION, "--model", checkpoint, "--json"]
    with (folder / "wide.png").open("rb") as picture:
        done = subprocess.run([*command, "--max-new-tokens", "2"], stdin=picture, capture_output=True, timeout=600)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["overlay"] == "stdin.kept.png"
    assert (folder / "stdin.kept.png").is_file()


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys; from visionflow.cli import app; print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=True)
    assert done.stdout.strip() == "[]"


def test_a_reader_that_leaves_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "visionflow", "--help"], stdout=writer, stderr=subprocess.PIPE, timeout=600
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_interrupt_ends_quietly(ask: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(source: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("visionflow.loading.pictures.read_picture", interrupted)
    assert ask("wide.png", QUESTION) == (130, "", "")


def test_every_method_is_known_here() -> None:
    fields = {name for method in METHODS.values() for name in settings_of(method)}
    assert {option.name for option in field_options()} == fields


@pytest.mark.parametrize("depth", [3, 4, 6, 8, 9, 12, 32])
@pytest.mark.parametrize("name", METHODS)
def test_defaults_fit_any_depth(name: str, depth: int) -> None:
    if (name, depth) == ("sparsevlm", 3):
        pytest.skip("it makes three cuts")
    chosen = method(name, depth)
    if depth > 8 and name == "himap":
        assert chosen == HiMAP(2, 0.5, 8, 0.75)


def test_two_layers_have_no_room_for_two_cuts() -> None:
    with pytest.raises(VisionFlowError, match="at least 3 decoder layers, the model has 2"):
        method("himap", 2)


def test_layer_ranges() -> None:
    assert layer_ranges([144] * 2 + [72] * 6 + [18] * 8) == "layers 0-1: 144, 2-7: 72, 8-15: 18"
    assert layer_ranges([5, 4]) == "layers 0: 5, 1: 4"


def test_visipruner_tells_where_it_fired_and_what_it_kept(ask: Run, checkpoint: Path) -> None:
    settings = ("--method", "visipruner", "--layer-threshold", 1, "--at-most", 3, "--exit-threshold", -1, *SHORT)
    code, out, _ = ask("wide.png", QUESTION, "--model", checkpoint, "--json", *settings)
    facts = json.loads(out)
    decided = facts["decided"]
    assert code == 0
    assert (decided["firing_layer"], decided["exit_layer"]) == (1, 4)
    assert 1 <= len(decided["kept"]) == len(decided["similarity"]) == len(decided["norm"]) <= 3
    assert facts["image_tokens"] == [25, 25, *[len(decided["kept"])] * 2, 0, 0]
    assert facts["attention_pairs"]["pruned"] < facts["attention_pairs"]["dense"] == LAYERS * 31 * 31
    assert [stage["layer"] for stage in facts["stages"]] == [2, 4]
    _, out, _ = ask("wide.png", QUESTION, "--model", checkpoint, *settings)
    assert "firing layer" in out
    assert "layers 0-1: 25" in out


def test_visipruner_says_whose_thresholds_it_has(ask: Run, checkpoint: Path) -> None:
    out = " ".join(ask("wide.png", QUESTION, "--model", checkpoint, "--method", "visipruner", *SHORT)[1].split())
    assert "VisiPruner(shallow_layers=1, layer_threshold=0.995, token_threshold=0.2, token_scale='absolute')" in out
    assert "the default for 6 layers, with the thresholds that the paper found for LLaVA-1.5" in out


def test_visipruner_may_keep_everything(ask: Run, checkpoint: Path) -> None:
    settings = ("--method", "visipruner", "--layer-threshold", -1, *SHORT)
    code, out, err = ask("wide.png", QUESTION, "--model", checkpoint, *settings)
    assert (code, err) == (0, "")
    assert "layers 0-5: 25" in out
