"""What a layer's cache holds, as an answer grows."""

import torch

from visionflow.engines.hf.layout import Layout, append


def test_places_are_those_of_the_columns_held_however_long_the_answer() -> None:
    """They are made ahead, and made anew when the answer has outgrown them; fillers have none."""
    index, real = torch.tensor([[0, 1, 4, 5], [2, 0, 3, 5]]), torch.tensor([[True] * 4, [False] + [True] * 3])
    layout = Layout(index, real, full=False, covered=6)
    for total in (6, 7, 70, 71, 72, 200, 8):
        held = layout.until(total)
        assert torch.equal(layout.places(total), (held.index + 1) * held.real)
        assert layout.places(total).shape[1] == layout.length(total)


def test_how_far_positions_were_closed_up_is_known_whatever_becomes_of_the_keys() -> None:
    """Two tokens of one sample and one of the other are gone."""
    index, real = torch.tensor([[0, 1, 4, 5], [0, 2, 3, 5]]), torch.ones(2, 4, dtype=torch.bool)
    layout = Layout(index, real, full=True, covered=6, closed=torch.tensor([2, 1]))
    place, left, dropped = layout.without(torch.tensor([[True] + [False] * 5, [False] * 5 + [True]]))
    assert (place.tolist(), dropped) == ([[1, 2, 3], [0, 1, 2]], [1, 1])
    later = append(left, 6, torch.tensor([[6], [6]]), torch.ones(2, 1, dtype=torch.bool), True, 7)
    for each in (left, layout.until(9), later):
        assert each.closed is not None
        assert each.closed.tolist() == [2, 1]
    turned = later.moved("order", lambda part: part.flip(0))
    assert turned.closed is not None
    assert (turned.closed.tolist(), turned.index.tolist()) == ([1, 2], [[0, 2, 3, 6], [1, 4, 5, 6]])
