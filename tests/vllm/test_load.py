"""A server under more requests than its cache holds; ``python -m tests.vllm.load`` sends it a thousand."""

from tests.vllm.client import started
from tests.vllm.load import TIGHT, load


def test_every_answer_is_that_of_the_question_asked_alone() -> None:
    with started(more=TIGHT) as address:
        figures = load(address, requests=120)
    assert figures.wrong == 0
    assert min(figures.streamed, figures.cancelled, figures.preemptions) > 0
    assert figures.held_after == figures.held_before == 0
    assert figures.mib[-1] < 1.05 * figures.mib[2]
