"""Export the trained legs as a diffusers pipeline folder in fp16, beside what made it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

from diffusers import StableDiffusionControlNetInpaintPipeline

from caig.data.scenes import read_scenes
from caig.models.background_model import Sampling
from caig.models.background_parts import build_scheduler
from caig.recipes.background import Config
from caig.recipes.background.controlnet import finished_controlnet
from caig.recipes.background.decoder import finished_decoder
from caig.recipes.background.unet import finished_painter

SAMPLING = Sampling(steps=10, guidance=2.0, native_side=256, erode=2, refine=500)


def export(config: Config) -> Path:
    """Write `config.out`/`model`: loads in the stock StableDiffusionControlNetInpaintPipeline; returns the folder."""
    scenes = [scene for scene in read_scenes(config.data) if scene.split == "train"]
    painter = finished_painter(config, scenes)
    pipeline = StableDiffusionControlNetInpaintPipeline(
        vae=finished_decoder(config),
        text_encoder=painter.text_encoder,
        tokenizer=painter.tokenizer,
        unet=painter.unet,
        controlnet=finished_controlnet(config, painter),
        scheduler=build_scheduler(),  # pyright: ignore[reportArgumentType]
        safety_checker=None,  # pyright: ignore[reportArgumentType]
        feature_extractor=None,  # pyright: ignore[reportArgumentType]
        requires_safety_checker=False,
    )
    folder = config.out / "model"
    learned = config.decoder_steps > 0 and config.decoder_enlarged > 0
    write_pipeline(pipeline, folder, replace(SAMPLING, enlarges=learned))
    (folder / "training.json").write_text(json.dumps(_training_record(config), indent=2) + "\n")
    return folder


def write_pipeline(pipeline: StableDiffusionControlNetInpaintPipeline, folder: Path, sampling: Sampling) -> None:
    """Write fp16 safetensors in diffusers' layout, and `sampling.json` beside them."""
    for part in (pipeline.vae, pipeline.text_encoder, pipeline.unet, pipeline.controlnet):
        part.half()
    pipeline.save_pretrained(folder, safe_serialization=True)
    (folder / "sampling.json").write_text(json.dumps(asdict(sampling), indent=2) + "\n")


def _training_record(config: Config) -> dict[str, object]:
    log = [json.loads(line) for line in (config.out / "log.jsonl").read_text().splitlines()]
    last = {leg: [row for row in log if row["leg"] == leg][-1:] for leg in config.legs}
    settings = {name: value.name if isinstance(value, Path) else value for name, value in asdict(config).items()}
    return {"recipe": "caig train background", "settings": settings, "last_log": last}
