"""Counters beside vLLM's own under ``/metrics``; they live in the process of the scheduler.

They are seen where ``PROMETHEUS_MULTIPROC_DIR`` names a folder that all processes share, as `visionflow serve` sees to.
"""

from prometheus_client import Counter

from visionflow.serving.requests import Served
from visionflow.serving.settings import Settings

_REQUESTS = Counter("visionflow:requests", "Finished requests, by what became of them.", ["outcome"])
_GIVEN = Counter("visionflow:image_tokens", "Image tokens of finished requests.")
_KEPT = Counter("visionflow:image_tokens_kept", "Image tokens of finished requests that the last layer saw.")
_HELD = Counter("visionflow:kv_token_layers", "Prompt tokens times layers of finished requests, had they run dense.")
_SAVED = Counter("visionflow:kv_token_layers_saved", "Of these, those that are not attended to.")


def count(served: Served, settings: Settings) -> None:
    """Count a request that is finished."""
    _REQUESTS.labels(served.outcome).inc()
    _GIVEN.inc(served.image_tokens)
    _KEPT.inc(served.image_tokens - served.dropped(len(settings.cut_layers)))
    _HELD.inc(len(served.prompt_ids) * settings.depth)
    _SAVED.inc(served.saved(settings))
