"""The backbone and the prompt model on a tiny checkpoint with random weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, LlavaForConditionalGeneration

from caig.errors import CheckpointError, ImageError, InputError
from caig.models.describing import TRIES, choose_distinct, write_request
from caig.models.mllm import BackboneSize, answer_logits, build_backbone, encode, load_mllm, save_mllm
from caig.models.prompt_model import PromptModel, gumbel_max, nucleus
from caig.testing import check_prompt_model, sample_product
from caig.types import Product

TINY = BackboneSize(image=32, patch=16, vision_width=16, vision_layers=1, width=32, layers=2, vocabulary=400)
TEXTS = ["rustic kitchen table, soft morning light", "sandy beach by the sea, golden hour sunlight"] * 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prompt")
    save_mllm(*build_backbone(TEXTS, seed=0, size=TINY), folder)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> PromptModel:
    return PromptModel.from_pretrained(str(folder))


def texts(model: PromptModel, product: Product, n: int, seed: int = 0) -> list[str]:
    return [description.text for description in model.describe(product, n, seed=seed)]


def test_the_embedded_sizes_stay_under_12_5_megabytes():
    varied = (f"{i} {i * 7919}" for i in range(3000))
    model, processor = build_backbone(varied, seed=0)
    assert len(processor.tokenizer) == 2000
    assert 2 * sum(p.numel() for p in model.parameters()) < 12.5e6


def test_weights_depend_on_the_seed_alone_and_leave_the_global_generator():
    state = torch.get_rng_state()
    first, second, other = (build_backbone(TEXTS, seed=seed, size=TINY)[0] for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_saved_as_fp16_safetensors_that_stock_transformers_load(folder: Path):
    tensors = load_file(folder / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert "lm_head.weight" not in tensors, "tied to the embeddings, so stored once"
    stock = AutoModelForImageTextToText.from_pretrained(folder)
    assert type(stock) is LlavaForConditionalGeneration and stock.dtype == torch.float16
    model, processor = load_mllm(folder, "cpu")
    assert model.dtype == torch.float32 and not model.training
    assert processor.tokenizer.decode(processor.tokenizer.encode("Crème brûlée 5 %")) == "Crème brûlée 5 %"


def test_a_folder_that_is_no_checkpoint_is_named(tmp_path: Path):
    with pytest.raises(CheckpointError, match="expected an image-text-to-text checkpoint"):
        load_mllm(tmp_path)


def test_a_photo_becomes_one_token_a_patch(model: PromptModel):
    image = np.zeros((50, 70, 3), np.uint8)
    photo, words = (encode(model.processor, ["mug"], [picture]) for picture in (image, None))
    assert (photo["input_ids"] == model.model.config.image_token_id).sum() == (32 // 16) ** 2
    assert photo["input_ids"].shape[1] - words["input_ids"].shape[1] == 4
    assert "pixel_values" not in words
    assert model.processor.tokenizer.decode(words["input_ids"][0]) == "<s><user>mug<assistant>"


def test_answers_over_a_shared_cache_equal_whole_sequences(model: PromptModel):
    """Two prompts of different length, two answers each, against one plain forward pass per answer."""
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    prompts = ["mug", "a much longer title of a product"]
    answers = torch.tensor([[10, 11, 12], [20, 2, 0], [30, 31, 2], [40, 41, 42]])
    mask = (answers != 0).long()
    got = answer_logits(model.model, encode(model.processor, prompts, [image, image]), answers, mask, 2)
    for row in range(4):
        alone = encode(model.processor, [prompts[row // 2]], [image])
        whole = torch.cat([alone["input_ids"], answers[row : row + 1]], 1)
        plain = model.model(input_ids=whole, pixel_values=alone["pixel_values"]).logits[0, -4:-1]
        kept = mask[row].bool()
        worst = (got[row] - plain)[kept].abs().max().item()
        print(f"required: below 1e-4; measured: {worst:.1e}")
        assert worst < 1e-4


def test_keeps_the_contract(model: PromptModel):
    check_prompt_model(model)


def test_candidates_do_not_depend_on_their_number(model: PromptModel):
    product = sample_product()
    four = texts(model, product, 4)
    assert texts(model, product, 2) == four[:2]
    assert texts(model, product, 1) == four[:1]
    assert len(set(four)) == 4


def test_the_global_generator_plays_no_part(model: PromptModel):
    torch.manual_seed(1)
    first = texts(model, sample_product(), 2)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert texts(model, sample_product(), 2) == first
    assert torch.equal(torch.get_rng_state(), state)


def test_photo_and_title_both_reach_the_text(model: PromptModel):
    product = sample_product()
    usual = texts(model, product, 4)
    dark = Product(id=product.id, title=product.title, category="mug", image=np.zeros((128, 128, 3), np.uint8))
    other = Product(id=product.id, title="leek, fresh", category="mug", image=product.image)
    bare = Product(id=product.id, title=product.title, category="mug")
    logits = {
        tuple(model._read([p], [write_request(p, 1, seed=0)]).logits[0, :20].tolist())
        for p in (product, dark, other, bare)
    }
    assert len(logits) == 4
    assert texts(model, other, 4) != usual


def test_descriptions_carry_their_author_and_seed(folder: Path, model: PromptModel):
    [description] = model.describe(sample_product(), 1, seed=5)
    assert (description.author, description.seed, description.product_id) == (str(folder), 5, "sample")
    assert model.fingerprint and len(model.fingerprint) == 16


def test_bad_input(model: PromptModel):
    with pytest.raises(InputError, match="n: expected at least 1 description, got 0"):
        model.describe(sample_product(), 0, seed=0)
    with pytest.raises(ImageError, match="product a: expected its photo as u8"):
        model.describe(Product(id="a", title="mug", image=Path("mug.png")), 1, seed=0)


def test_a_cut_text_loses_its_unfinished_phrase(model: PromptModel):
    tokenizer = model.processor.tokenizer
    cut = tokenizer.encode("rustic kitchen table, soft morn")
    assert model._decode(cut) == "rustic kitchen table"
    assert model._decode([*cut, tokenizer.eos_token_id, *cut]) == "rustic kitchen table, soft morn"
    assert model._decode(tokenizer.encode("soft light, rustic kitchen, soft light")) == "soft light, rustic kitchen"
    assert model._decode(tokenizer.encode("rustic\n kitchen")) == "rustic kitchen"


def test_nucleus_keeps_the_fewest_tokens():
    # 0.5 + 0.3 = 0.8 reaches 0.75, so the third and fourth token are out.
    logits = torch.tensor([[0.05, 0.3, 0.5, 0.15]]).log()
    assert nucleus(logits, 0.75).isinf().tolist() == [[True, False, False, True]]
    assert nucleus(logits, 0.45).isinf().tolist() == [[True, True, False, True]]


def test_gumbel_max_draws_from_the_nucleus_distribution():
    # The nucleus of 0.9 keeps 0.62 and 0.31; renormalised 2/3 and 1/3. 4 standard errors of 3,000 draws: 0.034.
    logits = torch.tensor([[0.62, 0.31, 0.04, 0.03]]).log().repeat(3000, 1)
    tokens = gumbel_max(logits, [torch.Generator().manual_seed(seed) for seed in range(3000)])
    shares = torch.bincount(tokens, minlength=4) / 3000
    assert shares[2:].sum() == 0
    assert abs(shares[0].item() - 2 / 3) < 0.035


def test_each_row_uses_its_own_generator():
    logits = torch.zeros(2, 50)
    both = gumbel_max(logits, [torch.Generator().manual_seed(seed) for seed in (1, 2)])
    alone = gumbel_max(logits[:1], [torch.Generator().manual_seed(2)])
    assert both[1] == alone[0]


def written(
    table: dict[tuple[int, int], str], n: int, differ: bool = True
) -> tuple[list[str], list[list[tuple[int, int]]]]:
    calls: list[list[tuple[int, int]]] = []

    def draw(wanted):
        calls.append([(k, attempt) for _, k, attempt in wanted])
        return [table[k, attempt] for _, k, attempt in wanted]

    return choose_distinct(draw, n, ["Fern & Stone oak bottle"], differ)[0], calls


def test_a_repeated_setting_is_drawn_again():
    table = {
        (0, 0): "bright kitchen counter",
        (1, 0): "rustic kitchen table",  # kitchen again
        (1, 1): "sandy beach by the sea",  # so the beach, which candidate 2 had
        (2, 0): "ocean shore background",
        (2, 1): "modern office desk",
    }
    chosen, calls = written(table, 3)
    assert chosen == ["bright kitchen counter", "sandy beach by the sea", "modern office desk"]
    assert calls == [[(0, 0), (1, 0), (2, 0)], [(1, 1)], [(2, 1)]]


def test_what_need_not_differ_is_drawn_once_unless_it_names_the_product(model: PromptModel):
    table = {(0, 0): "rustic kitchen table", (1, 0): "rustic kitchen table", (2, 0): "a bottle", (2, 1): "a kitchen"}
    chosen, calls = written(table, 3, differ=False)
    assert chosen == ["rustic kitchen table", "rustic kitchen table", "a kitchen"]
    assert calls == [[(0, 0), (1, 0), (2, 0)], [(2, 1)]]
    alike = [[one.text for one in model.describe(sample_product(), 1, seed=3, differ=how)] for how in (True, False)]
    assert alike[0] == alike[1], "the first of them has nothing to differ from"


def test_products_in_a_batch_are_chosen_for_as_alone():
    table = {
        (0, 0, 0): "rustic kitchen table", (0, 1, 0): "bright kitchen counter", (0, 1, 1): "sandy beach by the sea",
        (1, 0, 0): "rustic kitchen table", (1, 1, 0): "sandy beach by the sea",
    }  # fmt: skip
    calls: list[list[tuple[int, int, int]]] = []

    def draw(wanted):
        calls.append(list(wanted))
        return [table[attempt] for attempt in wanted]

    both = ["rustic kitchen table", "sandy beach by the sea"]
    assert choose_distinct(draw, 2, ["oat milk", "leek"]) == [both, both]
    assert calls == [[(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0)], [(0, 1, 1)]]


def test_products_described_in_a_batch_are_described_as_alone(model: PromptModel):
    first = sample_product()
    second = Product(id="b", title="a leek, of some length", category="vegetable", image=first.image[::-1].copy())
    together = model.describe_batch([first, second], 3, seed=4)
    alone = [model.describe(product, 3, seed=4) for product in (first, second)]
    assert together == alone and together[0] != together[1]


def test_texts_without_a_known_setting_only_have_to_differ():
    table = {(0, 0): "a blue haze", (1, 0): "a blue haze", (1, 1): "a red haze"}
    assert written(table, 2)[0] == ["a blue haze", "a red haze"]


def test_after_all_tries_a_setting_may_repeat_but_rather_not_the_text():
    kitchens = {(1, attempt): "rustic kitchen table" for attempt in range(TRIES)}
    table = {(0, 0): "rustic kitchen table", **kitchens, (1, TRIES - 1): "bright kitchen counter"}
    chosen, calls = written(table, 2)
    assert chosen == ["rustic kitchen table", "bright kitchen counter"]
    assert len(calls) == TRIES
    assert written({(0, 0): "rustic kitchen table", **kitchens}, 2)[0] == ["rustic kitchen table"] * 2


def test_a_text_that_names_the_product_is_drawn_again():
    table = {(0, 0): "oak shelf, stone bottle", (0, 1): "oak shelf, ferns on stone"}
    assert written(table, 1)[0] == ["oak shelf, ferns on stone"], "oak and stone are words of scenes, bottle is not"
    assert written({(0, attempt): "a bottle" for attempt in range(TRIES)}, 1)[0] == ["a bottle"]


def test_empty_texts_are_drawn_again_and_never_returned(model: PromptModel, monkeypatch: pytest.MonkeyPatch):
    assert written({(0, 0): "", (0, 1): "a haze"}, 1)[0] == ["a haze"]
    monkeypatch.setattr(model, "_continue", lambda read, rows, seeds: [""] * len(seeds))
    with pytest.raises(CheckpointError, match="got an empty text 4 times for product 'sample'"):
        model.describe(sample_product(), 1, seed=0)
