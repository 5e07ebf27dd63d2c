"""Checkpoints whose processor this transformers does not have, or that bring code of their own: refused in one line."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.zoo import ZOO
from tests.zoo.kit import save
from tests.zoo.kits import KITS
from visionflow import UnsupportedModelError
from visionflow.loading.models import load_model

IMAGE = {"image_processor_type": "FooImageProcessor"}
REMOTE = {"processor_class": "FooProcessor", "auto_map": {"AutoProcessor": "processing_foo.FooProcessor"}}


@pytest.mark.parametrize(
    ("file", "changed", "says"),
    [
        ("processor_config.json", {"image_processor": IMAGE}, "does not know the image processor"),
        ("processor_config.json", REMOTE, "is code of the checkpoint's own, which is not run here"),
        ("config.json", {"model_type": "foo"}, "names model type 'foo', which this transformers does not know"),
    ],
    ids=["image-processor", "remote-processor", "model-type"],
)
def test_what_this_transformers_does_not_have_is_refused(
    file: str, changed: dict[str, Any], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    place = save(ZOO["llava"], KITS["llava"], tmp_path / "model") / file
    place.write_text(json.dumps(json.loads(place.read_text()) | changed))
    with pytest.raises(UnsupportedModelError, match=says) as refused:
        load_model(str(place.parent))
    assert "\n" not in str(refused.value)
