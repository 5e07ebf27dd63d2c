"""Tasks whose answers a language model judges, over a paid interface."""

import os
from collections.abc import Iterable

from visionflow.errors import VisionFlowError
from visionflow.lmms.local_tasks import LOCAL

JUDGED = frozenset({"llava_in_the_wild", "mmvet", "mmvet_question", "mmbench_en_dev", "mmbench_cn_dev", "mmbench"})
"""Of lmms-eval's tasks and ours, those we know of; mmbench_en_dev_static needs no judge."""

_KEYS = {"openai": "OPENAI_API_KEY", "azure": "AZURE_API_KEY"}


def check_judge(tasks: Iterable[str]) -> None:
    """Refuse judged tasks where there is no key to the judge: lmms-eval would count every answer as wrong.

    Raises:
        VisionFlowError: names the tasks and the variable to set.
    """
    key = _KEYS.get(os.environ.get("API_TYPE", "openai"))
    judged = sorted(JUDGED & {task.removesuffix(LOCAL) for task in tasks})
    if judged and key and not os.environ.get(key):
        raise VisionFlowError(
            f"{', '.join(judged)} {'is' if len(judged) == 1 else 'are'} judged by a language model: set {key} "
            "(and OPENAI_API_URL for a judge of your own), or leave the task out"
        )
