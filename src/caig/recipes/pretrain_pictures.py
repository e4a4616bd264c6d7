"""The first steps of a prompt model that starts from nothing: its pictures learn to lie where their words lie.

CAIG starts from a CLIP tower that knows pictures; a small tower taught through an untrained language model alone did
not learn to see in thousands of steps. So the mean token of a picture is first told apart by the embeddings of words
(zero-shot classification as in CLIP, arXiv 2103.00020): category, color, and the setting of a scene. Afterwards the
language model finds a mug's photo near the word "mug".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from caig.recipes.pretrain_samples import Photo, Sources, augment
from caig.recipes.processes import own_rows, whole

TEMPERATURE = 0.07
FACTS = ("category", "color", "setting")


def picture_loss(
    model: Any, processor: Any, photos: Sequence[Photo], names: Mapping[str, Sequence[str]], accelerator: Any = None
) -> Tensor:
    """Mean cross-entropy in nats of each fact's value among all its `names`, over the facts that a photo has; 0 when
    none has any.

    logit(name) = cosine(mean picture token, mean embedding of the name's tokens) / TEMPERATURE
    """
    images = [Image.fromarray(photo.image) for photo in photos[own_rows(accelerator, len(photos))]]
    pixels = processor.image_processor(images, return_tensors="pt")["pixel_values"].to(model.device, model.dtype)
    tokens = model.model.get_image_features(pixel_values=pixels).pooler_output
    own = F.normalize(torch.stack([one.mean(0) for one in tokens]), dim=1)
    pictures = whole(accelerator, own, len(photos))
    losses = []
    for fact, values in names.items():
        rows = [i for i, photo in enumerate(photos) if photo.record.get(fact) in values]
        target = torch.tensor([values.index(photos[i].record[fact]) for i in rows], device=model.device)
        if rows:
            logits = pictures[rows] @ _embedded(model, processor, values).T / TEMPERATURE
            losses.append(F.cross_entropy(logits, target))
    return torch.stack(losses).mean() if losses else 0 * pictures.sum()


def names_of(sources: Sources) -> dict[str, list[str]]:
    """The values of each fact among all photos and scenes, sorted."""
    records = [photo.record for photo in (*sources.photos, *sources.scenes)]
    found = {fact: sorted({record[fact] for record in records if record.get(fact)}) for fact in FACTS}
    return {fact: values for fact, values in found.items() if len(values) > 1}


def draw_photos(sources: Sources, count: int, rng: Random) -> list[Photo]:
    """Two thirds products on white, one third whole scenes; mirrored, shifted and exposed at random."""
    drawn = [
        rng.choice(sources.scenes if sources.scenes and rng.random() < 1 / 3 else sources.photos) for _ in range(count)
    ]
    return [Photo(record=photo.record, image=np.ascontiguousarray(augment(photo.image, rng))) for photo in drawn]


def _embedded(model: Any, processor: Any, names: Sequence[str]) -> Tensor:
    """f[names, width], of length 1; words stay where they are, pictures move."""
    table = model.get_input_embeddings().weight.detach()
    ids = [processor.tokenizer.encode(name, add_special_tokens=False) for name in names]
    return F.normalize(torch.stack([table[row].mean(0) for row in ids]), dim=1)
