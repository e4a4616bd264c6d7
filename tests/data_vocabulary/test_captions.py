"""Vocabulary and captions: every rendered factor has its words, and a description can be read back."""

from random import Random

import pytest

from caig.data.captions import names_product, sample_description, setting_of, write_caption
from caig.data.vocabulary import blur_of, vocabulary
from caig.errors import InputError

# The factor values of the rendered scenes, counted in all nine archives.
# A value may join them; none may leave, or older scenes could not be told.
FLOORS = "plain marble wood tile sand moss fabric snow water gloss stone concrete check velvet".split()
BACKDROPS = "plain gradient curtain tiles brick window shelf sea sky foliage bokeh neon pastel".split()
PROPS = (
    "podium balls arch petals lemons berries plant books stones towel leaves flowers gifts candles ice balloons blocks"
).split()
LIGHTS = "soft dramatic cool warm morning golden neon".split()
SETTINGS = (
    "studio,marble podium,kitchen,bathroom,beach,forest,flower garden,desk,living room,festive,snow,ice,neon night,"
    "stone,concrete loft,kids room,picnic,velvet"
).split(",")
SCENE = {"setting": "beach", "floor": "sand", "backdrop": "sea", "props": "", "lighting": "golden", "aperture": 0.2}


def test_every_scene_factor_has_its_phrases():
    words = vocabulary()
    assert list(words.settings) == SETTINGS
    assert set(words.floors) >= set(FLOORS)
    assert set(words.backdrops) >= set(BACKDROPS)
    assert set(words.props) >= {*PROPS, ""}
    assert set(words.lights) >= set(LIGHTS)
    assert all(len(set(row.phrases)) == len(row.phrases) >= 20 for row in words.settings.values())
    tables = [words.floors, words.backdrops, words.lights, words.blur, {k: v for k, v in words.props.items() if k}]
    assert all(len(set(phrases)) == len(phrases) >= 20 for table in tables for phrases in table.values())


def test_factors_and_suitable_settings_exist():
    words = vocabulary()
    for row in words.settings.values():
        assert set(row.floors) <= set(words.floors) and set(row.backdrops) <= set(words.backdrops)
        assert set(row.props) <= set(words.props) and set(row.lights) <= set(words.lights)
    assert all(len(row.lights) >= 4 for row in words.settings.values())
    assert len(words.suitability) >= 20
    assert all(set(suits) <= set(words.settings) for suits in words.suitability.values())


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_sampled_description_names_its_setting(setting):
    rng = Random(0)
    texts = [sample_description(setting, rng) for _ in range(100)]
    assert {setting_of(text) for text in texts} == {setting_of(text.split(", ")[0]) for text in texts} == {setting}
    assert len(set(texts)) > 90


def test_the_renderers_own_captions_are_read_back():
    assert setting_of("velvet cloth, sparkling bokeh lights, glossy spheres, dark luxurious background") == "velvet"
    assert setting_of("refreshing ice splash scene, wet reflective surface, clear ice cubes") == "ice"
    assert setting_of("white snow, sparkling bokeh lights, festive holiday table, warm cozy lighting") == "festive"


def test_the_longest_phrase_wins_and_keywords_come_second():
    assert setting_of("mossy forest floor, bright kitchen counter") == "kitchen"  # 22 letters beat 18
    assert setting_of("rustic kitchen table, sunny picnic blanket") == "kitchen"  # both 20: the first
    assert setting_of("Somewhere in a KITCHEN, on a plate") == "kitchen"
    assert setting_of("a spice rack") is None
    assert setting_of("") is None


def test_same_generator_same_caption():
    assert write_caption(**SCENE, rng=Random(3)) == write_caption(**SCENE, rng=Random(3))


def test_a_caption_uses_only_phrases_of_its_factors():
    words = vocabulary()
    allowed = {*words.settings["beach"].phrases, *words.floors["sand"], *words.backdrops["sea"]}
    allowed |= {part for phrase in words.lights["golden"] for part in phrase.split(", ")} | {*words.blur["shallow"]}
    rng = Random(1)
    used = {part for _ in range(3000) for part in write_caption(**SCENE, rng=rng).split(", ")}
    assert used == allowed


def test_raised_scenes_may_say_so():
    rng = Random(0)
    raised = set(vocabulary().raised)
    texts = [write_caption(**{**SCENE, "raised": 0.4}, rng=rng) for _ in range(100)]
    assert any(raised & set(text.split(", ")) for text in texts)


def test_most_captions_name_the_setting_but_not_all():
    rng = Random(0)
    phrases = set(vocabulary().settings["beach"].phrases)
    named = [bool(phrases & set(write_caption(**SCENE, rng=rng).split(", "))) for _ in range(2000)]
    assert 0.95 < sum(named) / len(named) < 0.99


def test_unknown_factor_is_named():
    with pytest.raises(InputError, match="floor: expected one of .*'sand'.*got 'lava'"):
        write_caption(**{**SCENE, "floor": "lava"}, rng=Random(0))


def test_blur_follows_the_renderers_limits():
    assert [blur_of(f) for f in (0.1, 0.2, 0.5, 4)] == ["shallow", "shallow", "soft", "sharp"]


@pytest.mark.parametrize(
    ("text", "title", "named"),
    [
        ("snow drift in cold light, red wine bottle 750 ml", "Red Wine, bottle 750 ml", True),
        ("Vorula boots on moss", "Vorula Hiking Boots", True),
        ("red velvet drape, glass shelf, soft light", "Soft Red Velvet Drape, glass", False),  # words of scenes
        ("a cup of tea", "box of 12, a set", False),
        ("snowy forest floor", "", False),
    ],
)
def test_a_text_names_the_product_by_title_words_that_no_scene_has(text: str, title: str, named: bool):
    assert names_product(text, title) == named
