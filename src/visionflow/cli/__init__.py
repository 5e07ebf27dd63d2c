"""The `visionflow` command: one module per sub-command, each loaded only when it is called."""

from visionflow.cli.app import main

__all__ = ["main"]
