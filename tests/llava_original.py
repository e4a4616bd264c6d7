"""A tiny random checkpoint in the original LLaVA-1.6 layout, and what the original computes from it.

Written from the published facts, with torch operations only: none of transformers' models is used, so that an import
can be held against it. CLIP's last but one layer without its class token; a two-layer GELU projector; anyres tiles, a
newline after each row of what is not padding; Vicuna's prompt, tokenized piece by piece; Llama.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. "
)
SIDE, PATCH, TOWER_WIDTH, TOWER_LAYERS = 28, 7, 64, 3
WIDTH, LAYERS, HEADS, KEY_HEADS, HIDDEN, EPSILON, THETA = 32, 2, 4, 2, 48, 1e-5, 10000.0
TOWER = "model.vision_tower.vision_tower.vision_model."
State = dict[str, Tensor]

SENTENCES = [
    SYSTEM,
    "USER: \nWrite a background for an ad of Oat milk, 1 l. ASSISTANT: wooden desk surface, warm lighting",
    "USER: \nWhich of the two ads do shoppers click more, the left or the right one? ASSISTANT:",
]


def write_original(folder: Path, *, reward: bool, pickle: bool = False, tower: Path | None = None) -> State:
    """Write the checkpoint and return its tensors; the tower goes to a folder of its own where `tower` names one."""
    folder.mkdir(parents=True)
    vocabulary = _write_tokenizer(folder)
    state = _language(vocabulary) | _projector() | _vision()
    if reward:
        del state["lm_head.weight"]
        state |= {"score.weight": _random(2, WIDTH), "sku_ctr_linear_fc.weight": _random(2, WIDTH)}
        state["sku_ctr_linear_fc.bias"] = _random(2)
    (folder / "config.json").write_text(json.dumps(_settings(vocabulary, reward=reward)))
    inside = {key: value for key, value in state.items() if tower is None or not key.startswith(TOWER)}
    if tower is not None:
        tower.mkdir()
        clip = {
            key.removeprefix("model.vision_tower.vision_tower."): state[key] for key in state.keys() - inside.keys()
        }
        text = {"text_model.final_layer_norm.weight": torch.ones(4), "logit_scale": torch.ones(())}
        save_file(clip | text, tower / "model.safetensors")
    if pickle:
        torch.save(inside, folder / "pytorch_model-00001-of-00001.bin")
    else:
        save_file(inside, folder / "model-00001-of-00001.safetensors")
    return state


def original_hidden(
    folder: Path, state: Mapping[str, Tensor], text: str, picture: np.ndarray, *, system: str = SYSTEM
) -> Tensor:
    """Last hidden state f[T, D], after the last norm, of one user turn with one picture u8[H, W, 3]."""
    tokens = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    before, after = (tokens.encode(piece) for piece in f"{system}USER: <image>\n{text} ASSISTANT:".split("<image>"))
    embed = state["model.embed_tokens.weight"]
    inputs = torch.cat([embed[[tokens.bos_id(), *before]], _picture_tokens(state, picture), embed[after]])
    return _llama(state, inputs)


def _picture_tokens(state: Mapping[str, Tensor], picture: np.ndarray) -> Tensor:
    """Projected tokens of the whole picture, then those of its tiles row by row, each row closed by a newline."""
    image = Image.fromarray(picture)
    columns, rows = _best_grid(image.size)
    tiles = [image.resize((SIDE, SIDE), Image.Resampling.BICUBIC), *_tiles(image, columns, rows)]
    values = torch.stack([_normalised(tile) for tile in tiles])
    tokens = _project(state, _clip(state, values))
    cells = SIDE // PATCH
    grid = tokens[1:].view(rows, columns, cells, cells, WIDTH).permute(0, 2, 1, 3, 4)
    grid = _unpadded(grid.reshape(rows * cells, columns * cells, WIDTH), image.size)
    newline = state["model.image_newline"].expand(len(grid), 1, -1)
    return torch.cat([tokens[0], torch.cat([grid, newline], 1).flatten(0, 1)])


GRIDS = [(1, 2), (2, 1), (2, 2), (3, 1), (1, 3)]  # columns and rows of tiles


def _best_grid(size: tuple[int, int]) -> tuple[int, int]:
    """The grid that keeps most of the picture's pixels, then the one that wastes least."""

    def kept(grid: tuple[int, int]) -> tuple[int, int]:
        width, height = grid[0] * SIDE, grid[1] * SIDE
        scale = min(width / size[0], height / size[1])
        useful = min(int(size[0] * scale) * int(size[1] * scale), size[0] * size[1])
        return useful, useful - width * height

    return max(GRIDS, key=kept)


def _tiles(image: Image.Image, columns: int, rows: int) -> list[Image.Image]:
    """The picture, scaled into the grid on black, cut into squares."""
    width, height = columns * SIDE, rows * SIDE
    across, down = width / image.width, height / image.height
    if across < down:
        size = width, min(int(np.ceil(image.height * across)), height)
    else:
        size = min(int(np.ceil(image.width * down)), width), height
    whole = Image.new("RGB", (width, height))
    whole.paste(image.resize(size, Image.Resampling.BICUBIC), ((width - size[0]) // 2, (height - size[1]) // 2))
    corners = [(x * SIDE, y * SIDE) for y in range(rows) for x in range(columns)]
    return [whole.crop((x, y, x + SIDE, y + SIDE)) for x, y in corners]


def _unpadded(grid: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut off the cells f[h, w, D] that lie on the black rim."""
    height, width = grid.shape[:2]
    if size[0] / size[1] > width / height:
        rim = (height - int(size[1] * width / size[0])) // 2
        return grid[rim : height - rim]
    rim = (width - int(size[0] * height / size[1])) // 2
    return grid[:, rim : width - rim]


def _normalised(image: Image.Image) -> Tensor:
    pixels = (np.asarray(image, np.float64) / 255 - MEAN) / STD
    return torch.from_numpy(pixels).float().permute(2, 0, 1)


def _clip(state: Mapping[str, Tensor], pixels: Tensor) -> Tensor:
    """f[N, cells², C]: what enters CLIP's last layer, without the class token."""

    def norm(name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, (TOWER_WIDTH,), state[f"{TOWER}{name}.weight"], state[f"{TOWER}{name}.bias"])

    def linear(name: str, x: Tensor) -> Tensor:
        return F.linear(x, state[f"{TOWER}{name}.weight"], state[f"{TOWER}{name}.bias"])

    patches = F.conv2d(pixels, state[f"{TOWER}embeddings.patch_embedding.weight"], stride=PATCH).flatten(2).mT
    first = state[f"{TOWER}embeddings.class_embedding"].expand(len(pixels), 1, -1)
    x = torch.cat([first, patches], 1) + state[f"{TOWER}embeddings.position_embedding.weight"]
    x = norm("pre_layrnorm", x)
    for number in range(TOWER_LAYERS - 1):
        layer = f"encoder.layers.{number}."
        y = norm(f"{layer}layer_norm1", x)
        query, key, value = (linear(f"{layer}self_attn.{name}_proj", y)[:, None] for name in "qkv")
        x = x + linear(f"{layer}self_attn.out_proj", F.scaled_dot_product_attention(query, key, value)[:, 0])
        y = linear(f"{layer}mlp.fc1", norm(f"{layer}layer_norm2", x))
        x = x + linear(f"{layer}mlp.fc2", y * torch.sigmoid(1.702 * y))
    return x[:, 1:]


def _project(state: Mapping[str, Tensor], x: Tensor) -> Tensor:
    for number in (0, 2):
        weight, bias = (state[f"model.mm_projector.{number}.{part}"] for part in ("weight", "bias"))
        x = F.linear(F.gelu(x) if number else x, weight, bias)
    return x


def _llama(state: Mapping[str, Tensor], x: Tensor) -> Tensor:
    def norm(name: str, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPSILON) * state[f"{name}.weight"]

    def heads(name: str, x: Tensor, count: int) -> Tensor:
        return F.linear(x, state[name]).view(len(x), count, WIDTH // HEADS).transpose(0, 1)

    for number in range(LAYERS):
        layer = f"model.layers.{number}."
        y = norm(f"{layer}input_layernorm", x)
        query = _rotated(heads(f"{layer}self_attn.q_proj.weight", y, HEADS))
        key = _rotated(heads(f"{layer}self_attn.k_proj.weight", y, KEY_HEADS))
        value = heads(f"{layer}self_attn.v_proj.weight", y, KEY_HEADS)
        key, value = (part.repeat_interleave(HEADS // KEY_HEADS, 0) for part in (key, value))
        seen = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + F.linear(seen.transpose(0, 1).flatten(1), state[f"{layer}self_attn.o_proj.weight"])
        y = norm(f"{layer}post_attention_layernorm", x)
        gate, up = (F.linear(y, state[f"{layer}mlp.{name}_proj.weight"]) for name in ("gate", "up"))
        x = x + F.linear(F.silu(gate) * up, state[f"{layer}mlp.down_proj.weight"])
    return norm("model.norm", x)


def _rotated(x: Tensor) -> Tensor:
    """Rotary position embedding of f[heads, T, d]: halves of a head form the pairs."""
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[1])[:, None] * THETA ** (-torch.arange(half) / half)
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * angle.cos() - second * angle.sin(), second * angle.cos() + first * angle.sin()], -1)


def _settings(vocabulary: int, *, reward: bool) -> dict[str, Any]:
    return {
        "architectures": ["LlavaLlamaForSequenceClassification" if reward else "LlavaLlamaForCausalLM"],
        "model_type": "llava_llama",
        "vocab_size": vocabulary,
        "hidden_size": WIDTH,
        "intermediate_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_HEADS,
        "max_position_embeddings": 4096,
        "rms_norm_eps": EPSILON,
        "rope_theta": THETA,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "bos_token_id": 1,
        "eos_token_id": 2,
        "mm_vision_tower": "openai/clip-vit-large-patch14-336",
        "mm_hidden_size": TOWER_WIDTH,
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_layer": -2,
        "mm_vision_select_feature": "patch",
        "mm_patch_merge_type": "spatial_unpad",
        "image_aspect_ratio": "anyres",
        "image_grid_pinpoints": [[columns * SIDE, rows * SIDE] for columns, rows in GRIDS],
    }


def _write_tokenizer(folder: Path) -> int:
    """A SentencePiece model trained as Llama's was, the only tokenizer file that the original saves."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES),
        model_writer=model,
        vocab_size=360,
        model_type="bpe",
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "LlamaTokenizer", "legacy": False, "padding_side": "right"})
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue()).get_piece_size()


def _random(*shape: int) -> Tensor:
    return torch.randn(*shape) * 0.2


def _language(vocabulary: int) -> State:
    shapes = {"model.embed_tokens.weight": (vocabulary, WIDTH), "lm_head.weight": (vocabulary, WIDTH)}
    keys = WIDTH // HEADS * KEY_HEADS
    for number in range(LAYERS):
        layer = f"model.layers.{number}."
        shapes |= {f"{layer}self_attn.{name}_proj.weight": (WIDTH, WIDTH) for name in "qo"}
        shapes |= {f"{layer}self_attn.{name}_proj.weight": (keys, WIDTH) for name in "kv"}
        shapes |= {f"{layer}mlp.{name}_proj.weight": (HIDDEN, WIDTH) for name in ("gate", "up")}
        shapes |= {f"{layer}mlp.down_proj.weight": (WIDTH, HIDDEN)}
        shapes |= {f"{layer}{name}_layernorm.weight": (WIDTH,) for name in ("input", "post_attention")}
    state = {name: _random(*shape) for name, shape in (shapes | {"model.norm.weight": (WIDTH,)}).items()}
    return state | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}  # old versions saved it


def _projector() -> State:
    shapes = {"0": (WIDTH, TOWER_WIDTH), "2": (WIDTH, WIDTH)}
    state = {f"model.mm_projector.{name}.weight": _random(*shape) for name, shape in shapes.items()}
    return (
        state
        | {f"model.mm_projector.{name}.bias": _random(WIDTH) for name in shapes}
        | {"model.image_newline": _random(WIDTH)}
    )


def _vision() -> State:
    wide = 2 * TOWER_WIDTH
    state = {
        "embeddings.class_embedding": _random(TOWER_WIDTH),
        "embeddings.patch_embedding.weight": _random(TOWER_WIDTH, 3, PATCH, PATCH),
        "embeddings.position_embedding.weight": _random((SIDE // PATCH) ** 2 + 1, TOWER_WIDTH),
        "embeddings.position_ids": torch.arange((SIDE // PATCH) ** 2 + 1)[None],
    }
    linears = {"mlp.fc1": (wide, TOWER_WIDTH), "mlp.fc2": (TOWER_WIDTH, wide)}
    linears |= {f"self_attn.{name}_proj": (TOWER_WIDTH, TOWER_WIDTH) for name in ("q", "k", "v", "out")}
    names = [
        f"encoder.layers.{number}.{norm}" for number in range(TOWER_LAYERS) for norm in ("layer_norm1", "layer_norm2")
    ]
    for name in ("pre_layrnorm", "post_layernorm", *names):
        state |= {f"{name}.weight": 1 + _random(TOWER_WIDTH), f"{name}.bias": _random(TOWER_WIDTH)}
    for number in range(TOWER_LAYERS):
        for name, shape in linears.items():
            layer = f"encoder.layers.{number}.{name}"
            state |= {f"{layer}.weight": _random(*shape), f"{layer}.bias": _random(shape[0])}
    return {f"{TOWER}{name}": value for name, value in state.items()}
