"""The words of a sentence: the one tokeniser of short answers and captions."""

import re
import unicodedata

_WORD = re.compile(r"\d+(?:\.\d+)+|[^\W_]+")
_APOSTROPHE = re.compile(r"['’]")


def words(text: str) -> list[str]:
    """`text` in lower case, cut at everything that is not a letter or a digit.

    Apostrophes vanish (``dog's`` is ``dogs``), hyphens separate, a decimal number stays whole, and full-width letters
    are those of ASCII (Unicode's NFKC form).
    """
    return _WORD.findall(_APOSTROPHE.sub("", unicodedata.normalize("NFKC", text)).lower())
