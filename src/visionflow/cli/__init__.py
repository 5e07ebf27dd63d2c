"""The `visionflow` command: one module per sub-command, each loaded only when it is called."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C ends it with code 130, also while its own modules are being read."""
    try:
        from visionflow.cli.app import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


__all__ = ["main"]
