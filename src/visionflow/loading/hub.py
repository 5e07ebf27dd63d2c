"""The Hub, asked once before anything is loaded from it: where it does not answer, its client tries for minutes."""

import logging
from pathlib import Path

from visionflow.errors import VisionFlowError
from visionflow.loading.waiting import within

_CONFIG = "config.json"
_ABOUT_THE_MODEL = (401, 403, 404)  # not there, not for everybody
_log = logging.getLogger(__name__)


def place_of(name: str) -> str:
    """From where transformers is to load the model `name`, ``owner/name`` on the Hub or a directory.

    That is `name`, if it is a directory or the Hub answers within ``HF_HUB_ETAG_TIMEOUT`` (10 s), whatever it says; and
    else the folder of `name` in the Hub's cache.

    Raises:
        VisionFlowError: the Hub does not answer, and the cache has no such model.
    """
    if Path(name).is_dir():
        return name
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    limit = constants.HF_HUB_ETAG_TIMEOUT
    try:
        url = hf_hub_url(name, _CONFIG)
        within(limit, f"asking {constants.ENDPOINT} for {name}", lambda: get_hf_file_metadata(url, timeout=limit))
    except HfHubHTTPError as error:  # what is wrong with the model, transformers is told, too, and says it
        if error.response.status_code not in _ABOUT_THE_MODEL:
            _log.warning("the Hub is busy (%s): it is asked again, which can take half a minute", _reason(error))
    except Exception as error:  # each version of the client has its own: no name, no route, no answer, offline, ...
        cached = try_to_load_from_cache(name, _CONFIG)
        if not isinstance(cached, str):
            raise VisionFlowError(
                f"cannot load the model {name}: there is no such directory, and nothing came from the Hub "
                f"({_reason(error)}): check the name and the network"
            ) from error
        if not isinstance(error, OfflineModeIsEnabled):
            _log.warning("nothing came from the Hub (%s): loading %s from its cache", _reason(error), name)
        return str(Path(cached).parent)
    return name


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
