"""CIDEr: how well captions agree with what several people wrote about the same picture."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from visionflow.errors import VisionFlowError
from visionflow.evaluation.answers import words


def cider(captions: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.float64] | None:
    """The CIDEr score of each caption, float64 [pictures], from 0 to 10; their mean is the score of the set.

    Computed by pycocoevalcap's ``Cider``, which is the CIDEr-D of the paper (arXiv:1411.5726: counts clipped to the
    reference's, a Gaussian penalty with sigma 6 on the difference in length, no stemming), except that it weighs raw
    n-gram counts where the paper divides them by the sentence's number of n-grams.

    **Not comparable with published scores**: those cut sentences by the Penn Treebank tokeniser, which needs Java;
    here `words` does. Nor are two sets of pictures comparable, for the rarity of an n-gram is taken from the
    references given: an n-gram known to every picture weighs nothing. A caption of fewer than four words has no
    4-grams and cannot reach 10. Undefined, None, for fewer than two pictures.

    Args:
        captions: one of each picture, as written.
        references: one or more of each picture, as written.

    Raises:
        VisionFlowError: pycocoevalcap is missing, or a caption has no reference with words.
    """
    gold = {picture: [_tokenised(each) for each in several] for picture, several in enumerate(references)}
    said = {picture: [_tokenised(caption)] for picture, caption in enumerate(captions)}
    if len(captions) != len(references) or not all(map(any, gold.values())):
        raise VisionFlowError("every caption needs a reference with words in it: give at least one for each picture")
    try:
        from pycocoevalcap.cider.cider import Cider
    except ImportError as error:
        raise VisionFlowError("CIDEr needs the package pycocoevalcap: pip install visionflow[eval]") from error
    if len(captions) < 2:
        return None
    _, scores = Cider().compute_score(gold, said)
    return np.asarray(scores, dtype=np.float64)


def _tokenised(sentence: str) -> str:
    return " ".join(words(sentence))
