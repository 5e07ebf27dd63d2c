"""What a layer's cache holds, as an answer grows."""

import torch

from visionflow.engines.hf.layout import Layout


def test_places_are_those_of_the_columns_held_however_long_the_answer() -> None:
    """They are made ahead, and made anew when the answer has outgrown them; fillers have none."""
    index, real = torch.tensor([[0, 1, 4, 5], [2, 0, 3, 5]]), torch.tensor([[True] * 4, [False] + [True] * 3])
    layout = Layout(index, real, full=False, covered=6)
    for total in (6, 7, 70, 71, 72, 200, 8):
        held = layout.until(total)
        assert torch.equal(layout.places(total), (held.index + 1) * held.real)
        assert layout.places(total).shape[1] == layout.length(total)
