"""The commands of docs/serving.md are such as vLLM takes."""

import json
import re
import shlex
from pathlib import Path

import pytest
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser

from visionflow.methods import parse
from visionflow.serving.settings import KEY, Settings

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"
CODE = "\n".join(re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.S)).replace("\\\n", " ")
COMMANDS = [line for line in CODE.splitlines() if re.match("visionflow serve|.*python -m vllm", line)]


@pytest.mark.parametrize("line", COMMANDS)
def test_vllm_takes_the_arguments(line: str) -> None:
    words = shlex.split(line, comments=True)
    parser = make_arg_parser(FlexibleArgumentParser())
    if words[0] == "visionflow":
        own, arguments = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
        if "--method" in own:
            parse(own[own.index("--method") + 1]).of(32)
        parser.parse_args(["--model", own[2], *arguments])
        return
    given = parser.parse_args(words[words.index("-m") + 2 :]).additional_config
    Settings.read((json.loads(given) if isinstance(given, str) else given)[KEY], 32, (), 0)


def test_there_are_some() -> None:
    assert len(COMMANDS) >= 4
