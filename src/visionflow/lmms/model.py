"""The model ``visionflow`` of lmms-eval: any supported model with any method.

``--model visionflow --model_args pretrained=llava-hf/llava-1.5-7b-hf,method=himap,k1=2,r1=0.5,k2=8,r2=0.75``
"""

import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import torch
from lmms_eval.api.instance import GenerationResult, TokenCounts
from lmms_eval.api.model import lmms
from tqdm import tqdm

from visionflow import __version__
from visionflow.engines.hf.layer_kinds import depth_of
from visionflow.errors import VisionFlowError
from visionflow.evaluation.run import fingerprint
from visionflow.lmms.answers import Answers
from visionflow.lmms.judges import check_judge
from visionflow.lmms.questions import Answer, Question, Style, answer, loss
from visionflow.lmms.settings import DENSE, method_of
from visionflow.loading.models import load_model

EMBEDDED = "embedded"


class LoggedFacts(TokenCounts):  # type: ignore[misc]
    """What lmms-eval logs of each sample under ``token_counts``: all facts of an answer."""

    def __init__(self, facts: dict[str, Any]) -> None:
        super().__init__(input_tokens=facts["input_tokens"], output_tokens=facts["output_tokens"])
        self.facts = facts

    def to_dict(self) -> dict[str, Any]:
        """The facts, for the log."""
        return self.facts


@contextmanager
def fatal() -> Iterator[None]:
    """End this process with exit code 1 on an error.

    lmms-eval prints what goes wrong and exits with code 0; with several processes, the others would wait for a day.
    """
    try:
        yield
    except VisionFlowError as error:
        sys.exit(f"visionflow: {error}")
    except Exception:
        traceback.print_exc()
        sys.exit(1)


class VisionFlow(lmms):  # type: ignore[misc]
    """What the chat class and the simple class share.

    Args (of ``--model_args``):
        pretrained: a directory or ``owner/name`` on the Hub; the embedded model where it is ``embedded`` or not given.
        method: as `visionflow.method` takes it, without commas; ``dense``, the default, for none.
        settings: of the method, by the names of its fields; the rest have the paper's defaults.
        batch_size: questions at a time.
        device: as torch names it; by default the GPU of this process, or the CPU.
        dtype: float32, bfloat16 or float16; by default the checkpoint's.
        attention: sdpa or eager.
        answers: a folder to keep answers in, one line each with its facts; the same run goes on from there.
    """

    def __init__(
        self,
        pretrained: str = EMBEDDED,
        method: str = DENSE,
        batch_size: int | str = 1,
        device: str | None = None,
        dtype: str | None = None,
        attention: str = "sdpa",
        answers: str | None = None,
        max_batch_size: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        with fatal():
            # As lmms-eval reads them: accelerate takes every process on a CPU for the first of one.
            self._rank, self._world_size = _variable("RANK", 0), _variable("WORLD_SIZE", 1)
            if device is None and torch.cuda.is_available():
                device = f"cuda:{_variable('LOCAL_RANK', 0)}"
            self.batch_size = _whole(batch_size)
            self.loaded = load_model(None if pretrained == EMBEDDED else pretrained, dtype, device or "cpu", attention)
            model = self.loaded.model
            self.method = method_of(method, settings, depth_of(model.config), self.loaded.name, model.config.model_type)
            run = {
                "model": self.loaded.name,
                "weights": fingerprint(model),
                "dtype": str(model.dtype).removeprefix("torch."),
                "method": str(self.method) if self.method else "no pruning",
                "visionflow": __version__,
            }
            self.answers = Answers(Path(answers) if answers else None, run, self._rank)

    @property
    def device(self) -> Any:
        """Where the model is."""
        return self.loaded.model.device

    def generate_until(self, requests: Sequence[Any]) -> list[Any]:
        """The answer to each request, with its facts."""
        with fatal():
            check_judge({request.task_name for request in requests})
            found: list[Answer] = []
            with tqdm(total=len(requests), desc="visionflow", disable=self._rank != 0) as bar:
                for batch in self._batches(requests):
                    found += self._answered(batch)
                    bar.update(len(batch))
            return [GenerationResult(each.text, LoggedFacts(each.facts)) for each in found]

    def loglikelihood(self, requests: Sequence[Any]) -> list[Any]:
        """Only the simple class can."""
        sys.exit("visionflow: multiple choice by likelihood needs --force_simple")

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[Any]:
        """Not supported."""
        sys.exit("visionflow: tasks of several rounds are not supported: leave them out of --tasks")

    def _question(self, request: Any) -> Question:
        raise NotImplementedError

    def _document(self, task: str, split: str, number: int) -> Any:
        return self.task_dict[task][split][number]

    def _batches(self, requests: Sequence[Any]) -> Iterator[list[Question]]:
        """Questions in the order they come in, decoded as they are needed; those of a batch share a task and style."""
        questions = (self._question(request) for request in requests)
        for _, alike in groupby(questions, key=lambda question: (question.task, question.style)):
            while batch := list(islice(alike, self.batch_size)):
                yield batch

    def _answered(self, batch: list[Question]) -> list[Answer]:
        new = [question for question in batch if question.key not in self.answers.known]
        if new:
            self.answers.keep(new, answer(self.loaded, self.method, new))
        return [self.answers.to(question) for question in batch]


class VisionFlowChat(VisionFlow):
    """For tasks that are asked and answered in text: nearly all."""

    is_simple = False

    def _question(self, request: Any) -> Question:
        _, to_messages, arguments, number, task, split = request.args
        messages = to_messages(self._document(task, split, number))
        if len(messages) != 1 or messages[0]["role"] != "user":
            raise VisionFlowError(f"task {task} is a conversation of several turns, which is not supported")
        *pictures, text = messages[0]["content"]
        if text["type"] != "text" or any(each["type"] != "image" for each in pictures):
            raise VisionFlowError(f"task {task} asks with more than pictures and then a text, which is not supported")
        return Question(task, number, tuple(each["url"] for each in pictures), text["text"], Style.of(arguments))


class VisionFlowSimple(VisionFlow):
    """For multiple choice by likelihood (``--force_simple``); it answers in text as well."""

    is_simple = True

    def _question(self, request: Any) -> Question:
        text, arguments, to_pictures, number, task, split = request.args
        pictures = to_pictures(self._document(task, split, number)) or []
        return Question(task, number, tuple(pictures), text, Style.of(arguments))

    def loglikelihood(self, requests: Sequence[Any]) -> list[Any]:
        """Mean loss of each continuation, for lmms-eval picks the smallest, and whether greedy search would write it.

        A bare tuple would be made a string by lmms-eval 0.7.3: it goes in as the text of a result.
        """
        with fatal():
            found = []
            for request in tqdm(requests, desc="visionflow", disable=self._rank != 0):
                text, continuation, to_pictures, number, task, split = request.args
                pictures = tuple(to_pictures(self._document(task, split, number)) or [])
                question = Question(task, number, pictures, text, Style())
                mean, greedy, noted = loss(self.loaded, self.method, question, continuation)
                found.append(GenerationResult((mean, greedy), LoggedFacts(noted.facts)))
            return found


def _variable(name: str, default: int) -> int:
    return int(os.environ.get(name, default))


def _whole(batch_size: int | str) -> int:
    if not str(batch_size).isdigit() or int(batch_size) < 1:
        raise VisionFlowError(f"batch_size must be a whole number, at least 1, not {batch_size!r}")
    return int(batch_size)
