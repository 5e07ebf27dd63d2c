"""The embedded model: a small stock LLaVA, trained by this project on its own scenes, that travels in the package."""

from visionflow.checkpoint.load import EMBEDDED, load_embedded

__all__ = ["EMBEDDED", "load_embedded"]
