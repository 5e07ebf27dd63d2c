"""Rows, keys and slots of a step, against a slow account of every token of every request at every stage."""

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visionflow import HiMAP
from visionflow.serving.requests import Served
from visionflow.serving.settings import Settings
from visionflow.serving.steps import Step

IMAGE = 99
SERVER = Settings(HiMAP(2, 0.5, 4, 0.75), 8, (IMAGE,), step_tokens=60)
CUTS = len(SERVER.cut_layers)


def request(text: int, pictures: int, question: int, asked: str | None = None) -> Served:
    return Served.of(SERVER, [1] * text + [IMAGE] * pictures + [5] * question, asked)


REQUESTS = st.builds(
    request, st.integers(1, 4), st.integers(0, 9), st.integers(1, 4), st.sampled_from([None, "off", "r1=0.2"])
)


def account(served: Served, stage: int, runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Rows and keys that were there before, of one request at one stage in each of its steps, token by token."""
    gone = served.dropped(stage) if served.pruned else 0
    first_image = served.prompt_ids.index(IMAGE) if IMAGE in served.prompt_ids else 0
    left = [place for place in range(1000) if not first_image <= place < first_image + gone]  # which ones is no matter
    return [(sum(start <= place < end for place in left), sum(place < start for place in left)) for start, end in runs]


@given(st.lists(st.tuples(REQUESTS, st.integers(0, 3), st.integers(1, 5)), min_size=1, max_size=5))
@settings(deadline=None, max_examples=60)
def test_every_token_has_one_row_and_one_slot(batch: list[tuple[Served, int, int]]) -> None:
    """Each request runs its prompt and some recomputed tokens, then one token after another."""
    cached: dict[tuple[int, int], list[int]] = defaultdict(list)
    runs: dict[int, list[tuple[int, int]]] = {
        place: [(0, (first := len(served.prompt_ids) + again)), *((first + n, first + n + 1) for n in range(more))]
        for place, (served, again, more) in enumerate(batch)
    }
    for turn in range(max(len(steps) for steps in runs.values())):
        here = [place for place, steps in runs.items() if turn < len(steps)]
        spans = [runs[place][turn] for place in here]
        step = Step.of([batch[place][0] for place in here], [end - start for start, end in spans],
                       [start for start, _ in spans], CUTS)  # fmt: skip
        assert step.cuts == (turn == 0 and any(batch[place][0].pruned for place in here))
        for number, stage in enumerate(step.stages):
            for row, place in enumerate(here):
                rows, before = account(batch[place][0], number, runs[place])[turn]
                assert (stage.rows[row], stage.before[row]) == (rows, before)
                places = stage.places[stage.starts[row] : stage.starts[row + 1]].tolist()
                cached[number, place] += places
                assert (stage.owners[stage.starts[row] : stage.starts[row + 1]] == row).all()
                assert stage.keys[row] == before + rows
    for places in cached.values():  # no slot is left out, none is written twice
        assert places == list(range(len(places)))


def test_a_chunked_dense_prompt_is_as_long_at_every_stage() -> None:
    step = Step.of([request(3, 8, 4, "off")], [5], [6], CUTS)
    assert all(stage.rows.tolist() == [5] and stage.before.tolist() == [6] for stage in step.stages)
    assert not step.cuts


@pytest.mark.parametrize(("rows", "computed"), [(5, 0), (5, 6), (14, 0)])
def test_a_prompt_in_parts_is_never_pruned(rows: int, computed: int) -> None:
    with pytest.raises(RuntimeError, match="split"):
        Step.of([request(3, 8, 4)], [rows], [computed], CUTS)


def test_recomputed_tokens_may_come_later() -> None:
    step = Step.of([request(3, 8, 4)], [2], [15], CUTS)
    assert [stage.before.tolist() for stage in step.stages] == [[15], [11], [8]]
