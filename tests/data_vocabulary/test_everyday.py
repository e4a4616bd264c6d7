"""Everyday nouns, titles, and how a product is told to a model."""

import json
from random import Random

import pytest

from caig.data.everyday import categories, made_up_noun, suitable_settings, training_categories, write_title
from caig.data.instructions import FAMILIES, INSTRUCTIONS, LONGEST, product_facts, write_instruction
from caig.data.vocabulary import vocabulary


def test_enough_nouns_in_enough_categories():
    rows = categories().values()
    nouns = [noun for row in rows for noun in row.nouns]
    assert len(rows) >= 60 and len(nouns) >= 2000
    assert len(set(nouns)) == len(nouns), "a noun in two categories would leak from training into evaluation"


def test_rendered_categories_keep_their_settings():
    for category, settings in vocabulary().suitability.items():
        assert categories()[category].settings == settings


def test_every_category_has_four_known_settings():
    for row in categories().values():
        assert len(set(row.settings)) == len(row.settings) >= 4
        assert set(row.settings) <= set(vocabulary().settings)


def test_every_seventh_noun_is_held_out():
    snack = categories()["snack"]
    assert snack.nouns[6] == "trail mix" and snack.held_out[0] == "trail mix"
    assert snack.held_out == snack.nouns[6::7] and not set(snack.training) & set(snack.held_out)
    assert set(snack.training) | set(snack.held_out) == set(snack.nouns)
    rows = training_categories()
    share = sum(len(row.held_out) for row in rows) / sum(len(row.nouns) for row in rows)
    assert 0.1 < share < 0.15


def test_categories_that_are_kept_back_train_nothing():
    kept = [row for row in categories().values() if row.kept_back]
    assert len(kept) >= 6 and all(row.training == () and row.held_out == row.nouns for row in kept)
    assert not set(training_categories()) & set(kept)
    names = {name for row in training_categories() for name in (row.name, *row.aliases)}
    assert not names & {name for row in kept for name in (row.name, *row.aliases)}


def test_made_up_nouns_are_no_nouns():
    made_up = {made_up_noun(Random(seed)) for seed in range(300)}
    assert len(made_up) > 250 and not made_up & {noun for row in categories().values() for noun in row.nouns}


@pytest.mark.parametrize(
    ("category", "settings"),
    [
        ("milk", ("kitchen", "picnic", "ice", "studio")),
        ("  Oat  MILK ", ("kitchen", "picnic", "forest", "ice")),
        ("wine", ("velvet", "stone", "kitchen", "living room", "festive")),
        ("spacecraft", None),
    ],
)
def test_settings_by_name_or_alias(category, settings):
    assert suitable_settings(category) == settings


def test_a_categorys_own_name_beats_an_alias():
    for row in categories().values():
        assert suitable_settings(row.name) == row.settings


def test_titles_hold_the_noun_and_words_of_the_category():
    rng = Random(0)
    row = categories()["plant drink"]
    titles = [write_title(row, "oat milk", rng) for _ in range(200)]
    assert all("oat milk" in title.lower() for title in titles)
    assert len(set(titles)) > 100
    assert any(title.endswith("carton 1 litre") for title in titles)


def test_ten_paraphrases_a_task_each_with_the_product():
    for task, templates in INSTRUCTIONS.items():
        assert len(set(templates)) == len(templates) >= 10
        texts = {write_instruction(task, "a blue mug", Random(seed), draft="a desk") for seed in range(300)}
        assert texts == {t.replace("{product}", "a blue mug").replace("{draft}", "a desk") for t in templates}
        assert all(("{draft}" in template) == (task == "rewrite") for template in templates)


def test_every_task_belongs_to_a_published_family():
    assert set(FAMILIES) == {"understanding", "comprehension", "generation"}
    assert {task for tasks in FAMILIES.values() for task in tasks} == set(INSTRUCTIONS)


def test_facts_leave_out_what_is_empty():
    assert product_facts("Oatly Oat Milk", "oat milk", {"color": "grey", "brand": "", "tags": ["new", "cold"]}) == (
        "Oatly Oat Milk (category: oat milk; color: grey; tags: new, cold)"
    )
    assert product_facts("Oatly Oat Milk") == "Oatly Oat Milk"
    assert product_facts("", "milk") == "the product in the picture (category: milk)"
    assert product_facts() == "the product in the picture"


def test_facts_can_neither_flood_nor_command():
    assert product_facts("mug <image></s>\n blue") == "mug image /s blue"
    assert len(product_facts("m" * 10_000)) == LONGEST


def test_a_value_with_braces_is_no_template():
    facts = product_facts("mug {title}", attributes={"note": json.dumps({"a": 1})})
    assert "{title}" in write_instruction("prompt generation", facts, Random(0))
