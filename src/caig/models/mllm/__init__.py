"""The multimodal language model under the prompt and the reward model: build a small one, load any, encode, read.

Everything but `build_backbone` works for any decoder-only checkpoint that transformers loads as an image-text-to-text
model: LLaVA 1.5, LLaVA-NeXT with its tiles, Qwen2.5-VL and Qwen3-VL with pictures of any size, and others.

    backbone   a fresh small LLaVA
    loading    checkpoint folders in and out
    encoding   chat turns with pictures, and answers, as tokens
    reading    what the model makes of them: features of pictures, caches, logits and log-probabilities of answers
"""

from caig.models.mllm.backbone import BackboneSize, build_backbone
from caig.models.mllm.encoding import (
    IGNORED,
    Pictures,
    TrainingBatch,
    chat_prompt,
    encode,
    encode_answers,
    encode_training,
    end_token,
)
from caig.models.mllm.loading import load_mllm, save_mllm
from caig.models.mllm.reading import (
    PictureFeatures,
    Prefill,
    answer_log_probs,
    answer_logits,
    append,
    core,
    decoder_layers,
    join,
    positions_of,
    prefill,
    see,
    see_alone,
    with_features,
)

__all__ = [
    "IGNORED",
    "BackboneSize",
    "PictureFeatures",
    "Pictures",
    "Prefill",
    "TrainingBatch",
    "answer_log_probs",
    "answer_logits",
    "append",
    "build_backbone",
    "chat_prompt",
    "core",
    "decoder_layers",
    "encode",
    "encode_answers",
    "encode_training",
    "end_token",
    "join",
    "load_mllm",
    "positions_of",
    "prefill",
    "save_mllm",
    "see",
    "see_alone",
    "with_features",
]
