"""`visionflow bench` and `visionflow scaling`, as a user types them, on a tiny shape with random weights."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from transformers import LlavaNextConfig, PreTrainedConfig

from tests.bench.test_bench_rows import AT_THE_TOWER
from tests.cli.running import Run
from tests.tiny import tiny_llava
from visionflow.bench import scaling as scaling_module
from visionflow.bench.rows import all_methods
from visionflow.bench.shapes import SHAPES
from visionflow.cli import bench as bench_command
from visionflow.cli import scaling as scaling_command
from visionflow.cli.app import app
from visionflow.methods import METHODS, PlanFile, Schedule

SMALL = ("--model", "tiny", "--image-tokens", 16, "--text-tokens", 8, "--new-tokens", 2, "--repeats", 2)
GROWTH = ("--model", "tiny", "--image-tokens", "16,32", "--batches", "1,2", "--text-tokens", 8, "--repeats", 1)


@pytest.fixture(autouse=True)
def tiny_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shape of 6 layers called tiny."""

    def config(layers: int) -> PreTrainedConfig:
        config = tiny_llava().config
        config.text_config.num_hidden_layers = layers
        return config

    monkeypatch.setitem(SHAPES, "tiny", (6, config))


def drawn(path: Path) -> bool:
    """Whether there is a picture that shows something."""
    with Image.open(path) as picture:
        colours = picture.convert("RGB").getcolors(picture.width * picture.height)
    return colours is not None and len(colours) > 50


def keys(of: dict[str, Any]) -> set[str]:
    return set(of)


def test_json_and_figure(visionflow: Run, tmp_path: Path) -> None:
    code, out, err = visionflow("bench", *SMALL, "--json", "--out", tmp_path / "run")
    told = json.loads(out)
    assert (code, err) == (0, "")
    assert json.loads((tmp_path / "run" / "bench.json").read_text()) == told
    assert drawn(tmp_path / "run" / "bench.png")
    assert keys(told) == {"machine", "repeats", "time_limit_s", "models"}
    assert {"words", "device", "processor", "cores", "threads", "memory_bytes", "torch", "transformers"} < keys(
        told["machine"]
    )
    [model] = told["models"]
    assert (model["model"], model["layers"], model["dtype"]) == ("tiny", 6, "float32")
    assert [note.split(":")[0] for note in model["notes"]] == [
        f"{name} is left out" for name in all_methods() if name in AT_THE_TOWER
    ]
    assert (model["batch"], model["image_tokens"], model["text_tokens"], model["new_tokens"]) == (1, 16, 8, 2)
    run = [name for name in all_methods() if name not in AT_THE_TOWER]
    assert [row["name"] for row in model["rows"]] == ["none", *run]
    assert len(model["order"]) == 2
    for row in model["rows"]:
        assert keys(row) == {
            "name", "method", "flops", "bound", "realised", "realised_processor", "efficiency", "efficiency_processor",
            "products_efficiency", "prefill_s", "prefill_processor_s", "first_token_s",
            "decode_s", "decode_speedup", "answer_s", "probe_s", "probe_share",
            "kv_bytes", "peak_bytes", "host_waits_prefill", "host_waits_answer", "note",
        }  # fmt: skip
        ratios = ("realised", "realised_processor", "efficiency", "efficiency_processor", "products_efficiency")
        for name in (*ratios, "decode_speedup"):
            assert keys(row[name]) == {"value", "low", "high"}
        for name in ("prefill_s", "prefill_processor_s", "first_token_s", "decode_s", "answer_s"):
            assert keys(row[name]) == {"median", "q1", "q3", "values"}
            assert len(row[name]["values"]) == 2
        assert row["realised"]["value"] == pytest.approx(row["efficiency"]["value"] * row["bound"])


def test_for_people(visionflow: Run) -> None:
    code, out, err = visionflow("bench", *SMALL, "--layers", 2, "--repeats", 1)
    assert (code, err) == (0, "")
    for text in (
        "tiny, 2 layers, float32: one prompt of 16 image and 8 text tokens, answers of 2",
        "2 of 6 decoder layers",
        "himap is left out: a method with 2 cuts needs at least 3 decoder layers",
        "RandomPruning(k=1, r=0.5)",
        "efficiency",
        "per further token",
        "in processor time",
        "products allow",
        "host waits",
        "vision encoder",
        "Rounds: 1. Medians",
        "RandomPruning",
        "transformers",
        " KiB",
    ):
        assert text in out, text


def test_a_short_prompt_says_that_pruning_cannot_pay(visionflow: Run) -> None:
    prompt = ("--image-tokens", 2, "--text-tokens", 40)
    code, out, _ = visionflow("bench", *SMALL, *prompt, "--methods", "fastv", "--json")
    [_, fastv] = json.loads(out)["models"][0]["rows"]
    assert code == 0
    assert fastv["note"].startswith("pruning cannot pay here: on so short a prompt the arithmetic allows no more than")


def test_models_side_by_side_and_methods_with_settings(visionflow: Run, checkpoint: Path, tmp_path: Path) -> None:
    options = ("--methods", "fastv:k=3:r=0.75,vtw", "--batch", 2, "--model", f"tiny,{checkpoint}", "--out", tmp_path)
    code, out, err = visionflow("bench", *SMALL, *options, "--json")
    models = json.loads(out)["models"]
    assert (code, err) == (0, "")
    assert [model["model"] for model in models] == ["tiny", str(checkpoint)]
    for model in models:
        assert [row["method"] for row in model["rows"]] == ["no pruning", "FastV(k=3, r=0.75)", "VTW(k=3)"]
        assert model["rows"][1]["bound"] == models[0]["rows"][1]["bound"]
    assert drawn(tmp_path / "bench.png")


def test_a_plan_file_is_a_row(visionflow: Run, tmp_path: Path) -> None:
    """As `visionflow tune` writes it, and refused for a model of another depth."""
    file, schedule = tmp_path / "plan.json", Schedule(("0/cover/0.5", "3/text/0.25"))
    PlanFile.of(schedule, 6, "llava").write(file)
    code, out, err = visionflow("bench", *SMALL, "--methods", f"{file},fastv", "--repeats", 1, "--json")
    assert (code, err) == (0, "")
    rows = {row["name"]: row for row in json.loads(out)["models"][0]["rows"]}
    assert rows["schedule"]["method"] == str(schedule)
    assert rows["schedule"]["bound"] > rows["fastv"]["bound"]
    code, out, err = visionflow("bench", *SMALL, "--methods", file, "--layers", 4)
    assert (code, out) == (2, "")
    assert "the plan is for 6 decoder layers, the model has 4" in err


def test_sizes_of_prompts_stand_side_by_side(visionflow: Run, tmp_path: Path) -> None:
    options = ("--methods", "fastv", "--batch", "1,2", "--image-tokens", "16,32", "--repeats", 1, "--out", tmp_path)
    code, out, err = visionflow("bench", *SMALL, *options, "--json")
    models = json.loads(out)["models"]
    assert (code, err) == (0, "")
    assert [(each["batch"], each["image_tokens"]) for each in models] == [(1, 16), (1, 32), (2, 16), (2, 32)]
    assert models[3]["rows"][0]["kv_bytes"] == 2 * models[1]["rows"][0]["kv_bytes"]
    assert drawn(tmp_path / "bench.png")


def test_the_embedded_model_is_loaded_without_a_word(visionflow: Run) -> None:
    options = ("--model", "embedded", "--methods", "fastv", "--repeats", 1, "--new-tokens", 1, "--json")
    code, out, err = visionflow("bench", *options)
    [model] = json.loads(out)["models"]
    assert (code, err) == (0, "")
    assert (model["model"], model["image_tokens"], model["rows"][1]["decode_s"]) == ("embedded", 144, None)


def test_scaling_as_json_with_a_figure(visionflow: Run, tmp_path: Path) -> None:
    code, out, err = visionflow("scaling", *GROWTH, "--layers", 6, "--json", "--out", tmp_path)
    told = json.loads(out)
    assert (code, err) == (0, "")
    assert json.loads((tmp_path / "scaling.json").read_text()) == told
    assert drawn(tmp_path / "scaling.png")
    assert told["base"] == {"image_tokens": 25, "batch": 1, "layers": 6}
    sizes = {axis: [point[axis] for point in points] for axis, points in told["axes"].items()}
    assert sizes == {"image_tokens": [16, 25, 32], "batch": [1, 2], "layers": [2, 3, 4, 6]}
    assert told["rows"] == {"none": "no pruning", "himap": "HiMAP(k1=1, r1=0.5, k2=3, r2=0.75)"}
    assert told["skipped"] == []
    fitted = {(each["axis"], each["row"]): each["flops"] for each in told["exponents"]}
    assert fitted["batch", "none"] == pytest.approx(1)
    assert len(fitted) == 6


def test_scaling_for_people_names_what_is_left_out(visionflow: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling_module, "free_memory", lambda device: 100_000)
    code, out, err = visionflow("scaling", *GROWTH, "--image-tokens", "16,320", "--depths", "3,6")
    assert (code, err) == (0, "")
    for text in ("base: 25 image tokens, batch 1, 6 layers", "himap TFLOP", "Exponents", "left out: 320 image tokens"):
        assert text in out, text


def test_a_stopped_scaling_goes_on(visionflow: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measure = scaling_module._measure
    points: list[object] = []

    def stopped(*args: Any) -> Any:
        if len(points) == 3:
            raise KeyboardInterrupt
        points.append(args[1])
        return measure(*args)

    with monkeypatch.context() as patch:
        patch.setattr(scaling_module, "_measure", stopped)
        code, out, err = visionflow("scaling", *GROWTH, "--out", tmp_path)
    assert (code, out) == (130, "")
    assert err == f"visionflow: stopped after 3 of 7 points; the same command goes on from {tmp_path}\n"
    monkeypatch.setattr(scaling_module, "_measure", lambda *args: points.append(args[1]) or measure(*args))
    code, out, err = visionflow("scaling", *GROWTH, "--out", tmp_path, "--json")
    assert (code, err) == (0, "")
    assert len(points) == len(set(points)) == 7
    code, _, err = visionflow("scaling", *GROWTH, "--out", tmp_path, "--text-tokens", 9)
    assert code == 2
    assert "choose another --out" in err


@pytest.mark.parametrize("command", [bench_command.bench, scaling_command.scaling])
def test_help_names_every_shape(visionflow: Run, command: Any) -> None:
    code, out, _ = visionflow(command.__name__, "--help")
    assert code == 0
    for name in SHAPES:
        assert name == "tiny" or name in " ".join(out.split())


def test_help_names_every_method(visionflow: Run) -> None:
    told = " ".join(visionflow("bench", "--help")[1].split())
    for name in METHODS:
        assert name in told.replace("- ", "-")


def test_the_commands_are_there() -> None:
    assert {"bench", "scaling"} <= {command.name for command in app.registered_commands}


@pytest.mark.parametrize(
    ("command", "options", "says"),
    [
        ("bench", ("--model", "llava-2"), "no such model: 'llava-2'"),
        ("bench", ("--model", ","), "Invalid value for '--model': it is a list of names"),
        ("bench", ("--model", "tiny,/nowhere"), "no such model: '/nowhere'"),
        ("bench", ("--methods", "fastv:r=nan"), "r must be a finite number, not 'nan'"),
        ("bench", ("--methods", "visipruner:token_threshold=inf"), "token_threshold must be a finite number"),
        ("bench", ("--layers", 7), "tiny has 6 decoder layers: --layers must be 1 to 6, not 7"),
        ("bench", ("--model", "embedded", "--layers", 3), "the model embedded has the depth it has"),
        ("bench", ("--methods", "flashv"), "unknown method 'flashv': choose one of himap"),
        ("bench", ("--methods", "vtw:k=9"), "the cut before layer 9 is beyond the model's 6 decoder layers"),
        (
            "bench",
            ("--image-tokens", 0),
            "its numbers must be from 1 to 10000000, not '0'; see visionflow bench --help",
        ),
        (
            "bench",
            ("--text-tokens", 1),
            "it must be a whole number from 2 to 10000000, not '1'; see visionflow bench --help",
        ),
        ("bench", ("--dtype", "int8"), "unknown dtype 'int8'"),
        ("bench", ("--device", "cuda:9"), "device 'cuda:9' is not available here"),
        ("bench", ("--threads", 0), "'--threads': it must be a whole number from 1 to 1024, not '0'"),
        ("bench", ("--repeats", 0), "see visionflow bench --help"),
        (
            "scaling",
            ("--image-tokens", "16,many"),
            "'--image-tokens': it is a list of whole numbers like 1,2,4 or 0-4,7, not",
        ),
        ("scaling", ("--batches", "0"), "'--batches': its numbers must be from 1 to 10000, not '0'"),
        ("scaling", ("--depths", "3,9"), "--depths goes up to 9, the model has 6 decoder layers: raise --layers"),
        ("scaling", ("--methods", "himap:k2=9"), "the cut before layer 9 is beyond the model's 6 decoder layers"),
    ],
)
def test_wrong_input_is_told_in_one_line(visionflow: Run, command: str, options: tuple[object, ...], says: str) -> None:
    code, out, err = visionflow(command, *(SMALL if command == "bench" else GROWTH), *options)
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", ["bench", "scaling"])
def test_a_type_without_pictures_is_refused_before_its_weights(visionflow: Run, command: str, tmp_path: Path) -> None:
    LlavaNextConfig().save_pretrained(tmp_path)
    code, out, err = visionflow(command, "--model", tmp_path)
    assert (code, out) == (2, "")
    assert err.endswith(
        "have no pictures for model type 'llava_next' yet, only for llava, qwen2_vl, qwen2_5_vl, qwen3_5, qwen3_5_moe\n"
    )


def test_a_folder_that_cannot_be_made_is_refused_before_the_work(visionflow: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, out, err = visionflow("bench", *SMALL, "--out", tmp_path / "file" / "run")
    assert (code, out) == (2, "")
    assert f"cannot be a folder, {tmp_path / 'file'} is a file: choose another --out" in err
