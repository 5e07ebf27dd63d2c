"""``python -m visionflow.serving.vllm``: vLLM's OpenAI server, where what visionflow refuses is told in one line."""

import sys
from collections.abc import Iterator

from visionflow.errors import VisionFlowError


def main() -> None:
    """Run the server with the arguments of the command line."""
    from vllm.entrypoints.launchers.api_server.entry import main as run

    try:
        run()
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
