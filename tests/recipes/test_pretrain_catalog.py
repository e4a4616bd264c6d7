"""What the prompt recipe makes of catalogues: categories it has never heard of, or none, and captions of scenes."""

import json
import re
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image

from caig.data.everyday import suitable_settings
from caig.data.instructions import FAMILIES
from caig.recipes import pretrain_samples as samples
from caig.recipes.pretrain_samples import Sources

GREEN = (0, 200, 0)  # of the scenes' ground, and of nothing else


def shop(folder: Path, category: str) -> Sources:
    """Forty products, of which a third stand alone on white, a third in a scene with a mask, a third in one without."""
    inside = np.zeros((60, 60), bool)
    inside[15:50, 20:40] = True
    for name, ground in (("photo", (255, 255, 255)), ("scene", GREEN)):
        picture = np.where(inside[..., None], (160, 20, 60), ground).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{name}.png")
    Image.fromarray(inside).convert("L").save(folder / "mask.png")
    rows = ["id,title,category,color,image,mask,caption"]
    for i in range(40):
        cells = ("photo.png,,", f'scene.png,mask.png,", an attic,  no {i}"', f'scene.png,,"a quarry, no {i}"')[i % 3]
        rows.append(f"a{i},Fjord gizmo {i},{category},{('', 'navy')[i // 3 % 2]},{cells}")
    (folder / "shop.csv").write_text("\n".join(rows))
    return samples.read_sources(None, "train", 32, folder / "shop.csv")


def draw(sources: Sources, task: str, photos: bool, family: str = "generation") -> list[samples.Sample]:
    count = 300 if photos else 1500  # words are mostly of everyday nouns
    return samples.draw_samples(sources, task, family, count, 2, photos=photos, rng=Random(0))


@pytest.mark.parametrize("task", FAMILIES["generation"])
@pytest.mark.parametrize("category", ["gizmos", ""])
def test_captions_are_the_answers_about_products_of_categories_that_nobody_knows(
    tmp_path: Path, task: str, category: str
):
    assert suitable_settings(category) is None
    sources = shop(tmp_path, category)
    captions = {str(scene.record["title"]): scene.captions[0] for scene in sources.scenes}
    attics = {text for text in captions.values() if text.startswith("an attic, no ")}
    assert 0 < len(attics) < len(captions)

    told = [sample for sample in draw(sources, task, photos=False) if "Fjord gizmo" in sample.instruction]
    assert {sample.answers for sample in told} == {(text, text) for text in captions.values()}
    for sample in told:
        [title] = re.findall(r"Fjord gizmo \d+", sample.instruction)
        assert sample.answers[0] == captions[title] and sample.image is None

    shown = [sample for sample in draw(sources, task, photos=True) if sample.answers[0] in captions.values()]
    assert {sample.answers[0] for sample in shown} == attics
    assert {"Fjord" in sample.instruction for sample in shown} == {True, False}, "with words and without"


@pytest.mark.parametrize("task", FAMILIES["generation"])
def test_no_picture_gives_the_background_away(tmp_path: Path, task: str):
    def green(image: np.ndarray) -> bool:
        red, high, blue = np.moveaxis(image.astype(int), 2, 0)
        return bool((high > np.maximum(red, blue) + 30).any())

    sources = shop(tmp_path, "gizmos")
    assert all(green(scene.image) for scene in sources.scenes)
    told = [s for s in draw(sources, task, photos=True) if s.answers[0].startswith("an attic")]
    assert told and not any(green(sample.image) for sample in told if sample.image is not None)


def test_no_answer_is_empty_where_categories_are(tmp_path: Path):
    sources = shop(tmp_path, "")
    for family, tasks in FAMILIES.items():
        for task in tasks:
            drawn = draw(sources, task, photos=True, family=family) + draw(sources, task, photos=False, family=family)
            for text in {text for sample in drawn for text in sample.answers}:
                assert text and text == text.strip(" ,") and text != "navy"
    named = {text for sample in draw(sources, "product", True, "understanding") for text in sample.answers}
    assert {text.removeprefix("navy ").rpartition(" ")[0] for text in named} == {"Fjord gizmo"}
    assert {text.startswith("navy") for text in named} == {True, False}


def test_a_blank_caption_is_none(tmp_path: Path):
    shop(tmp_path, "")
    (tmp_path / "blank.csv").write_text("id,title,image,caption\na,Fjord gizmo,photo.png,  \n")
    photos, pictures = samples.read_catalog_photos(tmp_path / "blank.csv", None, 32)
    assert [photo.captions for photo in photos] == [()] and pictures == []


def test_a_product_of_several_colors(tmp_path: Path):
    photo = Image.new("RGB", (40, 40), "white")
    photo.paste("red", (10, 10, 30, 30))
    photo.save(tmp_path / "photo.png")
    rows = [{"id": f"a{i}", "title": "Gizmo", "image": "photo.png", "color": ["red", "blue"]} for i in range(9)]
    (tmp_path / "shop.jsonl").write_text("\n".join(map(json.dumps, rows)))
    photos, _ = samples.read_catalog_photos(tmp_path / "shop.jsonl", None, 32)
    assert {photo.record["color"] for photo in photos} == {"red and blue"}
