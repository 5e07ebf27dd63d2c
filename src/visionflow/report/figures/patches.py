"""From positions in the prompt to patches of pictures."""

from collections.abc import Sequence

from torch import Tensor

from visionflow.errors import VisionFlowError


def patches_kept(kept: Tensor, image_columns: Tensor, patches: Sequence[int]) -> list[list[int]]:
    """The numbers of the kept patches of each picture, row by row from 0, ascending.

    Args:
        kept: int64, columns of the prompt, as in ``trace.stages[i].kept[sample]``.
        image_columns: int64, the columns of all image tokens of that prompt.
        patches: patches of each picture of that prompt, in order. A picture may have one token more than patches: the
            vision tower's class token, which comes first and has no place in the picture.

    Raises:
        VisionFlowError: the image tokens are not one per patch.
    """
    spare = len(image_columns) - sum(patches)
    if spare not in (0, len(patches)):
        raise VisionFlowError(
            f"{len(image_columns)} image tokens for {sum(patches)} patches: the overlay cannot tell which is where"
        )
    class_tokens = int(spare > 0)
    rank = {column: number for number, column in enumerate(image_columns.tolist())}
    ranks = [rank[column] for column in kept.tolist()]
    pictures = []
    first = 0
    for count in patches:
        first += class_tokens
        pictures.append([number - first for number in ranks if first <= number < first + count])
        first += count
    return pictures
