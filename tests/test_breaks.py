"""What `make breaks` breaks is there to be broken: a renamed line would leave an oracle without its proof."""

import pytest

from tests.breaks import BREAKS, ROOT, Break


@pytest.mark.parametrize("broken", BREAKS, ids=lambda each: each.story)
def test_the_text_to_break_is_there_once(broken: Break) -> None:
    assert (ROOT / "src" / "visionflow" / broken.file).read_text().count(broken.old) == 1
