"""DPO and IPO agree with TRL's DPOTrainer (whose IPO is per token): same tiny model, same batch, dropout off."""

import copy

import pytest
import torch
from transformers import LlamaForCausalLM

from caig.models.mllm import BackboneSize, answer_log_probs, build_backbone, chat_prompt, encode_training
from caig.preference.policy import LOSSES, Pairs, objective

trl = pytest.importorskip("trl", reason="trl is not installed: pip install caig[dev]")
datasets = pytest.importorskip("datasets", reason="datasets is not installed: pip install caig[dev]")
TINY = BackboneSize(image=32, patch=16, vision_width=16, vision_layers=1, width=32, layers=2, vocabulary=400)
ROWS = [
    ("a blue mug", "rustic kitchen table, soft morning light", "sandy beach by the sea"),
    ("leek, fresh, per kilogram", "summer picnic scene", "neon lit night scene, dark glossy floor"),
    ("oat milk", "sandy beach", "rustic kitchen table"),
]


def moved(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """The same model somewhere else, as training would leave it."""
    other = copy.deepcopy(model)
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in other.parameters():
            weight += 0.02 * torch.randn_like(weight)
    return other


def text_only(llava) -> LlamaForCausalLM:
    """The language model of a LLaVA by itself, weights shared."""
    model = LlamaForCausalLM(llava.config.text_config)
    model.model.load_state_dict(llava.model.language_model.state_dict())
    model.tie_weights()
    return model


@pytest.mark.parametrize(("kind", "name", "per_token"), [("sigmoid", "dpo", False), ("ipo", "ipo", True)])
def test_loss_and_gradients_agree_with_trl(tmp_path, kind: str, name: str, per_token: bool):
    llava, processor = build_backbone([text for row in ROWS for text in row] * 20, seed=0, size=TINY)
    policy = moved(llava, 1).train()
    rows = [
        {"prompt": chat_prompt(processor, product, images=0), "chosen": chosen, "rejected": rejected}
        for product, chosen, rejected in ROWS
    ]
    config = trl.DPOConfig(
        output_dir=str(tmp_path), beta=0.3, loss_type=kind, per_device_train_batch_size=3, report_to="none",
        use_cpu=True, bf16=False, gradient_checkpointing=False, disable_dropout=True,
    )  # fmt: skip
    theirs = text_only(policy)
    trainer = trl.DPOTrainer(
        model=theirs, ref_model=text_only(llava), args=config, train_dataset=datasets.Dataset.from_list(rows),
        processing_class=processor.tokenizer,
    )  # fmt: skip
    batch = next(iter(torch.utils.data.DataLoader(trainer.train_dataset, 3, collate_fn=trainer.data_collator)))
    their_loss = trainer.compute_loss(trainer.model, batch)
    their_loss *= 0.3**2 if name == "ipo" else 1  # ours is beta^2 times the paper's
    their_loss.backward()

    texts = [[row["chosen"], row["rejected"]] for row in rows]
    mine = encode_training(processor, [row[0] for row in ROWS], [None] * 3, texts)

    def both(model) -> torch.Tensor:
        return answer_log_probs(model, mine.inputs, mine.answers, mine.mask, 2).sum(1).view(3, 2)

    with torch.no_grad():
        reference = both(llava)
    ours = both(policy)
    lengths = mine.mask.sum(1).view(3, 2)
    pairs = Pairs(
        chosen=ours[:, 0], rejected=ours[:, 1], corrupted=ours[:, 0],
        ref_chosen=reference[:, 0], ref_rejected=reference[:, 1], ref_corrupted=reference[:, 0],
        chosen_length=lengths[:, 0], rejected_length=lengths[:, 1],
    )  # fmt: skip
    loss = objective(pairs, loss=LOSSES[name], beta=0.3, product_weight=0.0, per_token=per_token)
    loss.backward()
    weight = "layers.0.mlp.up_proj.weight"
    gap = (
        (policy.model.language_model.get_parameter(weight).grad - trainer.model.model.get_parameter(weight).grad)
        .abs()
        .max()
        .item()
    )
    print(f"required: loss to 1e-5, gradient to 1e-6; measured {abs(loss.item() - their_loss.item()):.1e}, {gap:.1e}")
    assert abs(loss.item() - 0.6931) > 0.01, "policy and reference differ, so this is no comparison of log 2 with log 2"
    assert loss.item() == pytest.approx(their_loss.item(), abs=1e-5)
    assert gap < 1e-6
