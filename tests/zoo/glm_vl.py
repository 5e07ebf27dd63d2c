"""M-RoPE in the manner of GLM, ERNIE and PaddleOCR: marks around pictures and videos, experts by modality."""

from torch import Generator, Tensor

from tests.zoo.entry import END, IMAGE, START, VIDEO, VIDEO_END, VIDEO_START, Entry, Picture, modality_columns
from tests.zoo.parts import config, gridded, text
from tests.zoo.qwen_vl import MARKS, MROPE, VIDEOS, VISION, pictures

GLM_MARKS = {
    "image_start_token_id": START, "image_end_token_id": END, "video_start_token_id": VIDEO_START,
    "video_end_token_id": VIDEO_END, "video_token_id": VIDEO,
}  # fmt: skip


def _glm_video(generator: Generator) -> Picture:
    """A GLM video: frames of image tokens, between the marks of a video."""
    frames = gridded((2, 4, 4), **VIDEOS, frames=True, before=(START,), after=(END,))(generator)
    return Picture([VIDEO_START, *frames.ids, VIDEO_END], frames.tensors)


GLM_PICTURES = pictures() | {"video": _glm_video}
ERNIE_PICTURES = pictures("whole", 48, count=4)


def glm_columns(ids: Tensor, generated: Tensor) -> dict[str, Tensor]:
    """``mm_token_type_ids`` where the image token stands for videos too, between their marks."""
    in_video = (ids == VIDEO_START).cumsum(1) > (ids == VIDEO_END).cumsum(1)
    return {"mm_token_type_ids": (ids == IMAGE) * (1 + in_video.long())}


def ernie_columns(ids: Tensor, generated: Tensor) -> dict[str, Tensor]:
    """``mm_token_type_ids``, and the same for the router: vision tokens go to experts of their own."""
    kinds = modality_columns(ids, generated)["mm_token_type_ids"]
    return {"mm_token_type_ids": kinds, "moe_mm_token_type_ids": kinds}


ENTRIES = [
    Entry(
        "glm4v",
        config(
            "glm4v", text_config=text(rope_parameters=MROPE), vision_config=VISION | {"image_size": 24}, **GLM_MARKS
        ),
        GLM_PICTURES,
        columns=glm_columns,
        mixes=False,
    ),
    Entry(
        "glm46v",
        config(
            "glm46v",
            text_config=text("glm4v_text", rope_parameters=MROPE),
            vision_config=VISION | {"image_size": 24, "model_type": "glm4v_vision"},
            **GLM_MARKS,
        ),
        GLM_PICTURES,
        columns=glm_columns,
        mixes=False,
    ),
    Entry(
        "glmga",
        config(
            "glmga",
            text_config=text("glm4v_text", rope_parameters=MROPE),
            vision_config=VISION | {"image_size": 24, "model_type": "glm4v_vision"},
            **GLM_MARKS,
        ),
        GLM_PICTURES,
        columns=glm_columns,
        mixes=False,
    ),
    Entry(
        "glm_ocr",
        config(
            "glm_ocr", text_config=text(rope_parameters=MROPE), vision_config=VISION | {"image_size": 24}, **GLM_MARKS
        ),
        GLM_PICTURES,
        columns=glm_columns,
        mixes=False,
    ),
    Entry(
        "glm4v_moe",
        config(
            "glm4v_moe",
            text_config=text(
                num_attention_heads=2,
                rope_parameters=MROPE,
                n_routed_experts=4,
                num_experts_per_tok=2,
                moe_intermediate_size=24,
                first_k_dense_replace=2,
            ),
            vision_config=VISION | {"image_size": 24},
            **GLM_MARKS,
        ),
        GLM_PICTURES,
        columns=glm_columns,
        mixes=False,
    ),
    Entry(
        "ernie4_5_vl_moe",
        config(
            "ernie4_5_vl_moe",
            text_config=text(
                rope_parameters=MROPE,
                moe_num_experts=4,
                moe_k=2,
                moe_intermediate_size=[24, 16],
                moe_num_shared_experts=1,
                mlp_layer_types=["dense"] * 2 + ["sparse"] * 4,
            ),
            vision_config=VISION | {"temporal_merge_size": 2},
            **GLM_MARKS,
        ),
        ERNIE_PICTURES,
        columns=ernie_columns,
    ),
    Entry(
        "paddleocr_vl",
        config(
            "paddleocr_vl",
            text_config=text(head_dim=8, rope_parameters=MROPE),
            vision_config={
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "patch_size": 4,
                "image_size": 24,
            },
            **MARKS,
        ),
        pictures("", 3, 4, 4),
        columns=modality_columns,
    ),
]
