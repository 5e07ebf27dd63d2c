"""Docstrings mark examples with two colons, as help() shows them; Markdown needs the indentation alone."""

import re
from typing import Any

import griffe


class Literals(griffe.Extension):
    """Takes the marks out: a line of two colons goes, two colons at the end of a line become one."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of every class, function and attribute."""
        if obj.docstring:
            alone = re.sub(r"^ *::\n", "", obj.docstring.value, flags=re.M)
            obj.docstring.value = re.sub(r"::$", ":", alone, flags=re.M)
