"""``python -m visionflow.serving.vllm``: ``vllm serve``, where what visionflow refuses is told in one line."""

import sys
from collections.abc import Iterator

from visionflow.errors import VisionFlowError


def main() -> None:
    """Run the server with the arguments of the command line."""
    from vllm.entrypoints.cli.serve import ServeSubcommand
    from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
    from vllm.entrypoints.serve.utils.api_utils import cli_env_setup
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    cli_env_setup()
    try:
        arguments = make_arg_parser(FlexibleArgumentParser(prog="vllm serve")).parse_args()
        validate_parsed_serve_args(arguments)
        ServeSubcommand.cmd(arguments)
    except Exception as error:
        for reason in _causes(error):
            if isinstance(reason, VisionFlowError):
                print(f"visionflow: {reason}", file=sys.stderr)
                sys.exit(2)
        raise


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error, what pydantic wrapped in it, and what it was raised from."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        details = getattr(seen, "errors", None)
        for each in details() if callable(details) else ():
            inner = each.get("ctx", {}).get("error")
            if isinstance(inner, BaseException):
                yield inner
        seen = seen.__cause__ or seen.__context__


if __name__ == "__main__":
    main()
