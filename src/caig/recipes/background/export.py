"""Export the trained legs as a diffusers pipeline folder in fp16, beside what made it."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

from diffusers import DiffusionPipeline, StableDiffusionControlNetInpaintPipeline
from torch import nn

from caig.models.background_loading import Sampling
from caig.models.background_parts import build_scheduler
from caig.models.plates import PLATES, join_plates
from caig.recipes.background import Config, starting_folder, training_scenes
from caig.recipes.background.controlnet import finished_controlnet
from caig.recipes.background.decoder import finished_decoder
from caig.recipes.background.unet import finished_painter

PLACES = {"_name_or_path", "is_local", "local_files_only"}
SAMPLING = Sampling(steps=10, guidance=3.0, native_side=256, erode=2, refine=500)
WITH_PLATES = replace(SAMPLING, guidance=1.0, refine=300)  # light and shadow only: more noise smears what a plate shows


def export(config: Config) -> Path:
    """Write `config.out`/`model`: loads in the stock StableDiffusionControlNetInpaintPipeline; returns the folder."""
    painter = finished_painter(config, training_scenes(config))
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
    sampling = WITH_PLATES if _add_plates(config, folder) else SAMPLING
    write_pipeline(pipeline, folder, replace(sampling, enlarges=learned))
    (folder / "training.json").write_text(json.dumps(_training_record(config), indent=2) + "\n")
    return folder


def _add_plates(config: Config, folder: Path) -> bool:
    """Put the plates to start from in place, the config's, else the starting checkpoint's; are there any?"""
    start = starting_folder(config)
    folder.mkdir(parents=True, exist_ok=True)
    if config.plates:
        join_plates(config.plates, folder / PLATES)
    elif start and (start / PLATES).is_file():
        shutil.copyfile(start / PLATES, folder / PLATES)
    return (folder / PLATES).is_file()


def write_pipeline(pipeline: DiffusionPipeline, folder: Path, sampling: Sampling) -> None:
    """Write fp16 safetensors in diffusers' layout, and `sampling.json` beside them."""
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            part.half()
    pipeline.save_pretrained(folder, safe_serialization=True)
    forget_places(folder)
    (folder / "sampling.json").write_text(json.dumps(asdict(sampling), indent=2) + "\n")


def forget_places(folder: Path) -> None:
    """Drop from the configs where their weights were loaded from: folders are the machine's business."""
    for path in sorted(folder.rglob("*config.json")):
        settings = json.loads(path.read_text())
        kept = {name: value for name, value in settings.items() if name not in PLACES}
        if kept != settings:
            path.write_text(json.dumps(kept, indent=2) + "\n")


def _training_record(config: Config) -> dict[str, object]:
    log = [json.loads(line) for line in (config.out / "log.jsonl").read_text().splitlines()]
    last = {leg: [row for row in log if row["leg"] == leg][-1:] for leg in config.legs}
    settings = asdict(config) | {"data": config.data.name, "out": config.out.name}
    if config.plates:
        settings["plates"] = config.plates.name
    if config.start_from:
        settings["start_from"] = Path(config.start_from).name
    return {"recipe": "caig train background", "settings": settings, "last_log": last}
