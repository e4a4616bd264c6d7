"""Records: drawn from seed and id alone, every value has words, categories do not follow the number."""

import json
from collections import Counter, defaultdict

import pytest
from caig_scenes.plan import APERTURES, PLATE_SIZES, SIZES, blur_of, plan_plate, plan_product, plan_scene
from caig_scenes.vocabulary import ADJACENT, vocabulary, vocabulary_file

PRODUCTS = [plan_product(0, number) for number in range(1200)]
MANY = [plan_product(0, number) for number in range(6000)]
SCENES = [plan_scene(0, number, 1200) for number in range(1500)]


def test_the_words_are_caigs_own_file() -> None:
    assert vocabulary_file() == ADJACENT and ADJACENT.parts[-4:] == ("src", "caig", "data", "vocabulary.json")
    assert vocabulary() == json.loads(ADJACENT.read_bytes())


def test_same_seed_and_id_same_record() -> None:
    assert plan_scene(0, 7, 1200) == SCENES[7] and plan_product(0, 7) == PRODUCTS[7]
    assert plan_scene(1, 7, 1200) != SCENES[7]
    assert PRODUCTS[:600] == [plan_product(0, number) for number in range(600)]


@pytest.mark.parametrize("modulus", [2, 3, 5, 7, 14])
def test_no_category_follows_the_number(modulus: int) -> None:
    seen = defaultdict(Counter)
    for number, product in enumerate(MANY):
        seen[product["category"]][number % modulus] += 1
    assert len(seen) >= 20
    for category, counts in seen.items():
        expected = sum(counts.values()) / modulus
        assert all(abs(counts[rest] - expected) < 5 * expected**0.5 for rest in range(modulus)), category


def test_categories_are_rich() -> None:
    rows = vocabulary()["categories"]
    assert sum(len(row["shapes"]) >= 2 for row in rows.values()) >= 20
    assert all(row["tags"] and "standing" in row["poses"] for row in rows.values())


def test_every_drawn_value_has_twenty_phrases() -> None:
    words = vocabulary()
    for scene in SCENES:
        assert len(words["settings"][scene["setting"]]["phrases"]) >= 20
        for table, part in (("floors", "floor"), ("backdrops", "backdrop"), ("props", "props"), ("lights", "lighting")):
            assert scene[part] == "" or len(words[table][scene[part]]) >= 20, scene[part]
        assert len(words["blur"][blur_of(scene["aperture"])]) >= 20


def test_light_is_free_of_the_setting() -> None:
    lights = defaultdict(set)
    for scene in SCENES:
        lights[scene["setting"]].add(scene["lighting"])
    assert set(lights) == set(vocabulary()["settings"])
    assert min(map(len, lights.values())) >= 4


def test_scenes_vary() -> None:
    assert {tuple(scene["size"]) for scene in SCENES} == set(SIZES)
    assert {scene["pose"] for scene in SCENES} == {"standing", "lying", "leaning"}
    assert {scene["aperture"] for scene in SCENES} == set(APERTURES)
    assert any(scene["raised"] for scene in SCENES)
    assert len({caption for scene in SCENES for caption in scene["captions"]}) > 4400
    assert all(0.25 <= scene["take"]["height"] <= 0.8 for scene in SCENES)


def test_settings_and_lights_of_plates_take_turns() -> None:
    settings = vocabulary()["settings"]
    plates = [plan_plate(0, number, 1200) for number in range(9 * len(settings))]
    assert [plate["setting"] for plate in plates[: len(settings)]] == list(settings)
    for name, row in settings.items():
        assert {plate["lighting"] for plate in plates if plate["setting"] == name} == set(row["lights"])
    assert {tuple(plate["size"]) for plate in plates} == set(PLATE_SIZES)
    assert {plate["pose"] for plate in plates} == {"standing"} and plates[5] == plan_plate(0, 5, 1200)
