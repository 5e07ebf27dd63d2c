"""What `visionflow lens` found out, for people and for programs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from visionflow.answering import enough_memory
from visionflow.errors import VisionFlowError
from visionflow.flow import (
    PictureAttention,
    SequenceLengths,
    Sinks,
    ValueNorms,
    logit_lens,
    picture_attention,
    sequence_lengths,
    sinks,
    value_norms,
    value_output_lens,
    with_words,
)
from visionflow.flow.attention_maps import number, numbers
from visionflow.loading.models import Loaded
from visionflow.report.figures import Scene
from visionflow.report.figures.lens import FIGURES, attention_figure, sinks_figure, visible, words_figure
from visionflow.report.figures.plotting import save
from visionflow.report.numbers import percent
from visionflow.report.sheet import Pairs, Sheet

GROUPS = ("image", "system", "instruction")
TOP, SHOWN = 5, 3  # words found for each depth and head, and those that have room in a line
HEADS_PER_LINE = 4
NORM_BELOW, ATTENTION_ABOVE = 0.5, 2.0  # what a sink is, as `sinks` has it

LEGEND = {
    "says": "its likeliest next words, if the layers after this one were left out",
    "picture": "share of its attention that goes there, and to the text around it",
    "sinks": f"image tokens with values below {NORM_BELOW:g} of the median norm, which it reads over "
    f"{ATTENTION_ABOVE:g} times the mean; their part of what it reads of the picture",
}


@dataclass(frozen=True)
class LensReport:
    """One answer, read at the last prompt token.

    Attributes:
        image: source of the picture, as it was given.
        question: as it was given.
        model: its name.
        dtype: its number type.
        device: where it ran.
        lengths: tokens of the prompt.
        words: rows of the logit lens, from the embedding to the last layer.
        attention: of the last prompt token over the picture.
        values: norms of the image tokens' values.
        sinks: among the image tokens.
        heads: rows of the value-output lens; None where nobody asked for them.
    """

    image: str
    question: str
    model: str
    dtype: str
    device: str
    lengths: SequenceLengths
    words: list[dict[str, Any]]
    attention: PictureAttention
    values: ValueNorms
    sinks: Sinks
    heads: list[dict[str, Any]] | None

    def to_json(self) -> dict[str, Any]:
        """All of it as one object; image tokens are counted from 0 in the order of the prompt."""
        says = self.words[-1]
        content = {
            "image": self.image,
            "question": self.question,
            "model": self.model,
            "dtype": self.dtype,
            "device": self.device,
            "tokens": vars(self.lengths),
            "first_word": {"id": says["ids"][0], "word": says["words"][0], "probability": says["probabilities"][0]},
            "depths": [_without_sample(row) for row in self.words],
            "sink": {"norm_below": NORM_BELOW, "attention_above": ATTENTION_ABOVE},
            "layers": [self._layer(place) for place in range(len(self.attention.layers))],
        }
        return content if self.heads is None else content | {"heads": [_without_sample(row) for row in self.heads]}

    def _layer(self, place: int) -> dict[str, Any]:
        attention = self.attention
        shares = (attention.image_mass, attention.system_mass, attention.instruction_mass)
        is_sink = torch.isin(attention.columns[0], self.sinks.columns[0][place])
        return {
            "layer": attention.layers[place],
            "attention": dict(zip(GROUPS, (number(float(share[0, place])) for share in shares), strict=True)),
            "sinks": is_sink.nonzero().flatten().tolist(),
            "sinks_share": number(float(self.sinks.shares[0, place])),
            "attention_on_image_tokens": numbers(attention.image[0][place]),
            "value_norms": numbers(self.values.norms[0][place]),
        }

    def draw(self, scene: Scene | None, folder: Path) -> list[Path]:
        """The figures, written in `folder` in place of earlier ones; where they are.

        Without a `scene`, attention over the picture has no place to be drawn at.

        Raises:
            VisionFlowError: matplotlib is missing, or they cannot be written.
        """
        figures = (
            attention_figure(scene, self.attention) if scene else None,
            sinks_figure(self.values, self.sinks, NORM_BELOW, ATTENTION_ABOVE),
            words_figure(self.words),
        )
        drawn = {folder / name: figure for name, figure in zip(FIGURES, figures, strict=True) if figure}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name in FIGURES:
                (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise VisionFlowError(f"cannot make {folder} ({error.strerror or error}): choose another --out") from error
        for path, figure in drawn.items():
            save(figure, path)
        return list(drawn)

    def show(self, console: Console) -> None:
        """What was asked, then a line for each layer, then what its columns mean."""
        console.print(f"{self.model} model, {self.dtype} on {self.device}")
        console.print(f"{self.image}: {self.question}")
        console.print(
            f"{self.lengths.system} tokens before the picture, {self.lengths.image} of it, "
            f"{self.lengths.instruction} after it\n"
        )
        console.print(f"The answer begins with: {_said(self.words[-1], 1)}\n")
        console.print(self._table())
        console.print("\nAll is read at the last prompt token; attention is the mean over heads.")
        console.print(Pairs(LEGEND))
        if self.heads is not None:
            console.print("\nWhat each head would write, were it to read the last prompt token alone:\n")
            console.print(_heads_table(self.heads, self.words[-1]["ids"][0]))
            console.print("\n* what the answer begins with")

    def _table(self) -> Sheet:
        table = Sheet(
            "after\nlayer",
            "\nsays",
            ("on the\npicture", "text\nbefore", "text\nafter"),
            ("\nsinks", "their\npart"),
            left=("\nsays",),
        )
        table.add_row("none", _said(self.words[0], SHOWN), "", "", "", "", "")
        for row, place in zip(self.words[1:], range(len(self.attention.layers)), strict=True):
            layer = self._layer(place)
            shares = [layer["attention"][name] for name in GROUPS]
            table.add_row(
                str(layer["layer"]),
                _said(row, SHOWN),
                *(percent(share, 0) for share in shares),
                str(len(layer["sinks"])),
                percent(layer["sinks_share"], 0),
            )
        return table


def lens_report(loaded: Loaded, inputs: Any, image: str, question: str, heads: bool) -> LensReport:
    """Run the analyses on a prompt of one picture.

    Args:
        loaded: the model.
        inputs: the prompt that `question` about `image` became, a batch of one.
        heads: whether to read each head, too.

    Raises:
        VisionFlowError: there is not enough memory, or as the analyses do.
    """
    model, tokenizer = loaded.model, loaded.processor.tokenizer
    with enough_memory(model.device, "try a smaller model, --dtype bfloat16, or --device cpu"):
        values = value_norms(model, inputs)
        return LensReport(
            image=image,
            question=question,
            model=loaded.name,
            dtype=str(model.dtype).removeprefix("torch."),
            device=str(model.device),
            lengths=sequence_lengths(model, inputs)[0],
            words=with_words(logit_lens(model, inputs, TOP).rows(), tokenizer),
            attention=picture_attention(model, inputs),
            values=values,
            sinks=sinks(values, NORM_BELOW, ATTENTION_ABOVE),
            heads=with_words(value_output_lens(model, inputs, top=TOP).rows(), tokenizer) if heads else None,
        )


def _heads_table(rows: list[dict[str, Any]], says: int) -> Sheet:
    headings = ["head: word", *[""] * (HEADS_PER_LINE - 1)]
    table = Sheet("layer", *headings, left=headings, grouped=True)
    for layer in dict.fromkeys(row["layer"] for row in rows):
        entries = [
            f"{row['head']}: {_said(row, 1)}{'*' * (row['ids'][0] == says)}" for row in rows if row["layer"] == layer
        ]
        for first in range(0, len(entries), HEADS_PER_LINE):
            line = entries[first : first + HEADS_PER_LINE]
            table.add_row(str(layer), *line, *[""] * (HEADS_PER_LINE - len(line)))
    return table


def _said(row: dict[str, Any], count: int) -> str:
    """The likeliest `count` words with their probabilities."""
    words = zip(row["words"][:count], row["probabilities"], strict=False)
    return " ".join(f"{visible(word)} ({share:.0%})" for word, share in words)


def _without_sample(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "sample"}
