"""What transformers answers, dense or inside `prune`: one prompt at a time, greedy."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from tests.vllm.prompts import METADATA, Prompt
from visionflow import Method, prune

NEW_TOKENS = 12


class Oracle:
    """A checkpoint in transformers; answers are kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
        self.processor = AutoProcessor.from_pretrained(folder)
        self._answers: dict[tuple[str, str], tuple[list[int], list[float]]] = {}

    def inputs(self, prompt: Prompt) -> dict[str, Any]:
        """The arguments of the model."""
        shown: dict[str, Any] = {"images": prompt.pictures} if prompt.pictures else {}
        if prompt.videos:
            metadata = [METADATA] * len(prompt.videos)
            shown |= {"videos": prompt.videos, "video_metadata": metadata, "do_sample_frames": False}
        return dict(self.processor(text=prompt.text, **shown, return_tensors="pt"))

    def ids(self, prompt: Prompt) -> list[int]:
        """The prompt's tokens, placeholders of pictures included."""
        ids: list[int] = self.inputs(prompt)["input_ids"][0].tolist()
        return ids

    def answer(self, prompt: Prompt, method: Method | None) -> list[int]:
        """The tokens generated."""
        return self._answer(prompt, method)[0]

    def log_probabilities(self, prompt: Prompt, method: Method | None) -> list[float]:
        """Of each of these tokens."""
        return self._answer(prompt, method)[1]

    @torch.no_grad()
    def _answer(self, prompt: Prompt, method: Method | None) -> tuple[list[int], list[float]]:
        key = (prompt.text, repr(method))
        if key not in self._answers:
            inputs = self.inputs(prompt)
            with prune(self.model, method) if method else nullcontext():
                made = self.model.generate(
                    **inputs, max_new_tokens=NEW_TOKENS, do_sample=False, output_logits=True,
                    return_dict_in_generate=True,
                )  # fmt: skip
            tokens = made.sequences[0, inputs["input_ids"].shape[1] :]
            told = torch.cat(made.logits).log_softmax(1).gather(1, tokens[:, None])[:, 0]
            self._answers[key] = (tokens.tolist(), told.tolist())
        return self._answers[key]
