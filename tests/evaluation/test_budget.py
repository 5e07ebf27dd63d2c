"""Rows at equal cost: the ratios that meet a share of the FLOPs, who cannot get there, and smaller pictures."""

from pathlib import Path

import pytest

from tests.questions import samples, tiny_loaded
from tests.zoo import ZOO
from tests.zoo.kit import save
from tests.zoo.kits import KITS
from visionflow import VTW, FastV, HiMAP, TextRows, VisionFlowError, VisiPruner
from visionflow.core import Plan
from visionflow.cost import PRESETS, cost_of
from visionflow.evaluation.budget import Budget, Lengths, budget_of, budget_rows, lengths_of, scale_for
from visionflow.evaluation.run import check_against, run_of
from visionflow.evaluation.runner import run_batch
from visionflow.loading.models import load_model
from visionflow.methods import METHODS, parse

LLAVA = PRESETS["llava-1.5-7b"]
BY_PROMPT = {"visipruner", "autoprune"}
"""Their cost is known when a prompt has run."""
AS_IT_IS = {"schedule"}
"""Found for a budget of its own."""
PROMPTS = (Lengths(35, 576, 60), Lengths(35, 576, 20))


@pytest.mark.parametrize("share", [0.5, 0.33, 0.25])
@pytest.mark.parametrize("name", [name for name in METHODS if name not in {"vtw", *BY_PROMPT, *AS_IT_IS}])
def test_ratios_meet_the_budget(name: str, share: float) -> None:
    """A token or two below it, with the layers of the paper where these can get there."""
    budget = Budget(share, LLAVA, PROMPTS)
    usual = parse(name).of(32)
    found = budget.met_by(usual)
    assert share - 0.005 < budget.taken(found) <= share
    if share == 0.5:
        assert [cut.layer for cut in found.plan().cuts] == [
            cut.layer for cut in usual.plan().cuts
        ] or name == "pyramiddrop"


def test_a_schedule_keeps_its_proportions_and_moves_where_it_must() -> None:
    found = Budget(0.33, LLAVA, PROMPTS).met_by(HiMAP(2, 0.5, 8, 0.75))
    assert isinstance(found, HiMAP)
    assert (1 - found.r1) ** 2 == pytest.approx(1 - found.r2, abs=1e-3)  # 0.25 is the square of 0.5
    low = Budget(0.18, LLAVA, PROMPTS)
    moved = low.met_by(TextRows((4, 20), (0.5, 0.75)))
    assert isinstance(moved, TextRows)
    assert moved.layers[0] < 4
    assert low.taken(moved) <= 0.18
    assert Budget(0.5, LLAVA, PROMPTS).met_by(VTW(30)) == VTW(13)
    with pytest.raises(VisionFlowError, match="fastv cannot get down to 10"):
        Budget(0.1, LLAVA, PROMPTS).met_by(FastV(2, 0.5))
    with pytest.raises(VisionFlowError, match="depends on the prompt"):
        low.met_by(VisiPruner())
    with pytest.raises(VisionFlowError, match="above 0 and below 1, not 1"):
        Budget(1, LLAVA, PROMPTS)


def test_a_budget_of_the_image_tokens_alone() -> None:
    """A tenth of eq. 10 is within reach where a tenth of all FLOPs is not: text has no part in it."""
    tenth = Budget(0.1, LLAVA, PROMPTS, "paper")
    found = tenth.met_by(FastV(2, 0.5))
    [cut] = found.plan().cuts
    images = [576] * cut.layer + [found.plan().image_tokens(576, 32)[-1]] * (32 - cut.layer)
    d, m = 4096, 11008
    work = [4 * n * d**2 + 2 * n**2 * d + 2 * n * d * m for n in images]
    dense = 4 * 576 * d**2 + 2 * 576**2 * d + 2 * 576 * d * m
    assert tenth.taken(found) == pytest.approx(sum(work) / (32 * dense))
    assert 0.097 < tenth.taken(found) <= 0.1
    with pytest.raises(VisionFlowError, match=r"fastv cannot get down to 3\.0% of the image tokens' multiply-adds"):
        Budget(0.03, LLAVA, PROMPTS, "paper").met_by(FastV(2, 0.5))


def test_a_budget_is_of_the_prompts_that_are_asked() -> None:
    loaded, asked = tiny_loaded(), samples(9, "choice", "open")
    budget = budget_of(loaded, asked, 0.5)
    assert len(budget.prompts) == 16
    assert {each.image for each in budget.prompts} == {25}
    method = budget.met_by(FastV(2, 0.5))
    total = [
        cost_of(course, budget.shape, "flops", image_tokens=each.image, text_tokens=each.system + each.instruction,
                instruction_tokens=each.instruction).pruned
        for course in (method, Plan()) for each in budget.prompts
    ]  # fmt: skip
    assert budget.taken(method) == sum(total[:16]) / sum(total[16:]) <= 0.5


def test_the_rows_of_the_fair_table() -> None:
    """All controls and methods of the package; one picture size is all that this processor knows."""
    rows, missing = budget_rows(tiny_loaded(), samples(2, "open"), 0.6)
    assert [row.name for row in rows[:4]] == ["dense", "random", "grid", "unlike-mean"]
    assert rows[-1].name == "no-image"
    assert {*METHODS} - BY_PROMPT - AS_IT_IS == ({row.name for row in rows[1:-1]} | {*missing}) - {
        "resize",
        "oracle-margin",
    }
    assert "as many tokens of a picture of any size" in missing["resize"]
    named, missing = budget_rows(tiny_loaded(), samples(2, "open"), 0.6, ["fastv:k=3", "visipruner", "schedule"])
    assert [row.name for row in named[4:-1]] == ["fastv:k=3", "schedule", "oracle-margin"]
    assert named[5].method == parse("schedule").of(6)
    assert isinstance(named[4].method, FastV)
    assert "depends on the prompt" in missing["visipruner"]
    with pytest.raises(VisionFlowError, match="unknown method 'fastw'"):
        budget_rows(tiny_loaded(), samples(2, "open"), 0.6, ["fastw"])


def test_a_run_says_its_budget_and_what_is_missing() -> None:
    run = run_of(tiny_loaded(), "scenes", samples(2, "open"), budget=0.6)
    assert (run.described["budget"], run.described["cost"]) == (0.6, "flops")
    assert "resize" in run.missing
    check_against(["dense", "random"], run.rows)
    with pytest.raises(VisionFlowError, match="there is no row 'himap-paid' to compare with: choose of dense, random"):
        check_against(["himap-paid"], run.rows)


def test_smaller_pictures_where_the_processor_makes_fewer_tokens_of_them(tmp_path: Path) -> None:
    """LLaVA-NeXT takes fewer tiles."""
    loaded = load_model(str(save(ZOO["llava_next"], KITS["llava_next"], tmp_path / "model")))
    asked, budget = samples(2, "open"), budget_of(loaded, samples(2, "open"), 0.75)
    scale = scale_for(loaded, asked, budget)

    def taken(scale: float) -> int:
        lengths = lengths_of(loaded, asked, scale)
        texts = [(each.image, each.system + each.instruction) for each in lengths]
        costs = [cost_of(Plan(), budget.shape, "flops", image_tokens=n, text_tokens=text) for n, text in texts]
        return sum(cost.dense for cost in costs)

    assert taken(scale) <= 0.75 * taken(1.0) < taken(scale + 0.025)
    rows, _ = budget_rows(loaded, asked, 0.75, ["grid"])
    assert [row.settings for row in rows if row.name == "resize"] == [
        f"no pruning, pictures at {scale:g} of their size"
    ]
    record = run_batch(loaded, asked[:1], rows[:1] + rows[-2:-1])[0]
    assert record["rows"]["resize"]["flops"] < record["rows"]["dense"]["flops"]
    with pytest.raises(VisionFlowError, match="still take"):
        scale_for(loaded, asked, budget_of(loaded, asked, 0.01))
