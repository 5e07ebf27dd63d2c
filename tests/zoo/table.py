"""Prints the survey as the tables of README.md: ``python -m tests.zoo.table``."""

from collections.abc import Iterator
from dataclasses import fields

from tests.zoo.refused import REFUSED
from tests.zoo.survey import SURVEY
from tests.zoo.traits import Traits

PARTS = ("merger", "decoder", "attention", "projection", "norm", "image_token", "image_inputs")
APART = ("text_type", "note", "video_inputs", "video_token", "caches", *PARTS)


def table() -> str:
    """Both tables in Markdown."""
    return "\n".join([*_supportable(), "", *_refused()])


def _supportable() -> Iterator[str]:
    yield "| model type | text model | parts | the runtime must know | cache layers | video | note |"
    yield "|---|---|---|---|---|---|---|"
    for name, traits in SURVEY.items():
        parts = _unusual(traits, PARTS)
        special = _unusual(traits, tuple(field.name for field in fields(Traits) if field.name not in APART))
        caches = ", ".join(kind.removeprefix("Dynamic").removesuffix("Layer") or "plain" for kind in traits.caches)
        video = traits.video_token
        yield f"| {name} | {traits.text_type} | {parts} | {special} | {caches} | {video} | {traits.note} |"


def _refused() -> Iterator[str]:
    yield "| model type | why it cannot be pruned |"
    yield "|---|---|"
    for name, reason in REFUSED.items():
        yield f"| {name} | {reason} |"


def _unusual(traits: Traits, names: tuple[str, ...]) -> str:
    """The named fields that differ from those of plain LLaVA."""
    usual = Traits()
    found = {name: getattr(traits, name) for name in names if getattr(traits, name) != getattr(usual, name)}
    return "; ".join(f"{name} {_plain(value)}".strip() for name, value in found.items())


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(str(part) for part in value)
    return "" if value is True else "no" if value is False else str(value) or "(the model)"


if __name__ == "__main__":
    print(table())
