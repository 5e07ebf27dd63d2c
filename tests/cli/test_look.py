"""`visionflow look`: a page, or one line that says why not."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.running import Run
from tests.zoo import ZOO
from tests.zoo.kit import TEMPLATE, save
from tests.zoo.kits import KITS


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.linear_gradient("L").convert("RGB").resize((60, 40)).save("wide.png")


OPTIONS = ("--max-new-tokens", 2, "--blocks", 1)


def test_it_writes_a_page_and_nothing_over_what_is_there(visionflow: Run, checkpoint: Path) -> None:
    for name in ("wide.look.html", "wide.look-2.html"):
        code, out, err = visionflow("look", "wide.png", "w12 w13", "--model", checkpoint, *OPTIONS)
        assert (code, err) == (0, "")
        assert f"The page is in {name}" in out
        assert Path(name).read_text().startswith("<!doctype html>")


def test_json_is_one_object_with_all_runs(visionflow: Run, checkpoint: Path) -> None:
    more = ("--method", "fastv:k=2,r=0.5", "--beside", "vtw:k=3", "-o", "p.html", "--json")
    code, out, _ = visionflow("look", "wide.png", "w12 w13", "--model", checkpoint, *OPTIONS, *more)
    found = json.loads(out)
    assert (code, found["page"], found["schema"]) == (0, "p.html", "visionflow.look/1")
    assert [run["spec"] for run in found["runs"]] == [None, "fastv:k=2,r=0.5", "vtw:k=3"]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("-o", "page.png"), "must end in .html"),
        (("-o", "no/page.html"), "there is no directory no"),
        (("--beside", "nonesuch"), "nonesuch"),
    ],
    ids=["suffix", "folder", "method"],
)
def test_wrong_input_is_refused_before_any_work(more: tuple[str, ...], says: str, visionflow: Run) -> None:
    code, out, err = visionflow("look", "wide.png", "w12 w13", *more)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert says in err


def test_two_models_are_asked_and_each_is_told(visionflow: Run, checkpoint: Path) -> None:
    more = ("--against", "embedded", "--method", "fastv:k=2,r=0.5", "-o", "two.html")
    code, out, _ = visionflow("look", "wide.png", "w12 w13", "--model", checkpoint, *OPTIONS, *more, "--json")
    found = json.loads(out)
    assert (code, [look["model"]["name"] for look in found["against"]]) == (0, ["embedded"])
    assert [run["spec"] for look in (found, *found["against"]) for run in look["runs"]] == [None, "fastv:k=2,r=0.5"] * 2
    assert Path("two.html").read_text().startswith("<!doctype html>")


def test_what_suits_one_model_alone_is_refused_before_either_is_loaded(visionflow: Run, checkpoint: Path) -> None:
    """The tiny model has 6 layers; the method's settings are for both."""
    more = ("--model", "embedded", "--against", checkpoint, "--method", "fastv:k=7,r=0.5")
    code, out, err = visionflow("look", "wide.png", "w12 w13", *more)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"for the model {checkpoint}: " in err
    code, out, err = visionflow("look", "wide.png", "w12 w13", "--against", "nonesuch")
    assert (code, out, err) == (2, "", err)
    assert "no such model: 'nonesuch'" in err


def test_a_video_is_refused_where_it_is_none_or_the_model_takes_none(visionflow: Run, checkpoint: Path) -> None:
    Path("frames").mkdir()
    model = ("--model", checkpoint)
    for more, says in (
        (("frames", "w12", *model), "there are no pictures in the folder frames"),
        (("clip.mp4", "w12", *model), "no such file: clip.mp4 (a video is a file here, or a folder of its frames)"),
        (("wide.png", "w12", "--frames", 3), "--frames is for a video, and wide.png is a picture"),
        (("frames", "w12", "--image", "wide.png"), "frames is a video, which is asked about alone"),
    ):
        code, out, err = visionflow("look", *more)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert says in err
    Image.open("wide.png").save("frames/1.png")
    code, out, err = visionflow("look", "frames", "w12", *model)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "a llava model takes pictures, not videos" in err


@pytest.mark.skipif(find_spec("torchvision") is None, reason="make test-processors has what video processors need")
@pytest.mark.parametrize(("family", "steps"), [("qwen2_5_vl", 2), ("llava_onevision", 4)])
def test_a_video_is_asked_about_and_kept_over_time(family: str, steps: int, visionflow: Run) -> None:
    for number in range(8):
        Path("frames").mkdir(exist_ok=True)
        Image.linear_gradient("L").convert("RGB").rotate(40 * number).resize((60, 40)).save(f"frames/{number}.png")
    more = ("--frames", 4, "--method", "fastv:k=1,r=0.5", "-o", "video.html", "--json")
    code, out, err = visionflow("look", "frames", "w12", "--model", _shown_videos(family), *OPTIONS, *more)
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert [view["frame"] for view in found["views"]] == list(range(0, 4, 4 // steps))
    assert (len(found["pictures"]), found["unplaced"]) == (4, "")
    assert 0 < len(found["runs"][1]["stages"][0]["kept"]) < found["prompt"]["groups"].count("image")


def _shown_videos(family: str) -> Path:
    """A tiny checkpoint whose template shows videos, in frames that are small enough for it."""
    model, kit = save(ZOO[family], KITS[family], Path("model")), KITS[family]
    shown = {"qwen2_5_vl": kit.shown.replace("image_pad", "video_pad"), "llava_onevision": "<video>"}[family]
    template = TEMPLATE.replace("PLACEHOLDER", kit.shown)
    turned = template.replace("{% else %}", f"{{% elif part['type'] == 'video' %}}{shown} {{% else %}}")
    (model / "chat_template.jinja").write_text(turned)
    described = json.loads((model / "processor_config.json").read_text())
    described["video_processor"]["size"] = described["image_processor"]["size"]
    (model / "processor_config.json").write_text(json.dumps(described))
    return model
