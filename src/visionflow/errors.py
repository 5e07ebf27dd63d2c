"""What visionflow raises: one sentence that names the thing and the way out."""


class VisionFlowError(ValueError):
    """A wrong input or setting; its message is one line, fit to be shown to a user as it is."""


class UnsupportedModelError(VisionFlowError):
    """The model's architecture (or its present state) cannot be pruned or probed correctly."""


class UnsupportedUsageError(VisionFlowError):
    """The model is supported, this way of running it is not."""


def line_of(error: Exception) -> str:
    """The first line of what a library's error says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
