"""Builds small Stable Diffusion inpainting parts with fresh weights: the same classes as the full-size ones."""

from __future__ import annotations

import json
from collections.abc import Iterable

import torch
from diffusers import AutoencoderKL, ControlNetModel, DPMSolverMultistepScheduler, UNet2DConditionModel
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from tokenizers import pre_tokenizers, trainers
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

GROUPS = 16  # normalisation groups of the UNet; channels per level must be multiples
VAE_GROUPS = 2  # many small groups normalise a smooth crop's colour away, and the autoencoder stays grey
TEXT_WIDTH, TEXT_LAYERS, TEXT_TOKENS = 192, 4, 48
VOCABULARY = 2000
START, END = "<|startoftext|>", "<|endoftext|>"


def build_autoencoder(channels: tuple[int, int, int, int]) -> AutoencoderKL:
    """f8 (four levels), 4 latent channels: what the stock inpainting pipeline takes."""
    model = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=channels,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=VAE_GROUPS,
        mid_block_add_attention=False,
        sample_size=256,
        scaling_factor=1.0,
    )
    with torch.no_grad():
        start_as_average_pooling(model)
    return model


def start_as_average_pooling(model: AutoencoderKL) -> None:
    """Set the first weights so that three latent channels are the picture averaged over 8×8 pixels.

    From random weights this autoencoder stays grey for thousands of steps: group norms take a smooth crop's colour
    away. Here RGB rides channels 0 to 2 of the residual stream from end to end, and constants in the last block's
    other channels fix the scale of the last norm. Everything stays trainable; the architecture is the stock one.
    """
    for module in model.modules():
        if isinstance(module, ResnetBlock2D):
            module.conv2.weight[:3] = 0  # the residual branch leaves the colours alone
            module.conv2.bias[:3] = 0
            if module.conv_shortcut is not None:
                _pass_colours(module.conv_shortcut)
        elif isinstance(module, Downsample2D):
            _pass_colours(module.conv, taps=((0, 0), (0, 1), (1, 0), (1, 1)))
        elif isinstance(module, Upsample2D):
            _pass_colours(module.conv)
    encoder, decoder = model.encoder, model.decoder
    _pass_colours(encoder.conv_in)
    _pass_colours(decoder.conv_in)
    _read_colours(encoder.mid_block.resnets[-1], encoder.conv_norm_out, encoder.conv_out)
    _read_colours(decoder.up_blocks[-1].resnets[-1], decoder.conv_norm_out, decoder.conv_out)
    for conv in (model.quant_conv, model.post_quant_conv):
        conv.weight.copy_(torch.eye(conv.out_channels)[:, :, None, None])
        conv.bias.zero_()
    model.quant_conv.weight[4:] = 0
    model.quant_conv.bias[4:] = -6.0  # log variance


def _pass_colours(conv: nn.Conv2d, taps: tuple[tuple[int, int], ...] | None = None) -> None:
    """Make `conv` hand channels 0 to 2 on unchanged, averaged over `taps` (default: its centre)."""
    taps = taps or ((conv.kernel_size[0] // 2, conv.kernel_size[1] // 2),)
    conv.weight[:3] = 0
    conv.bias[:3] = 0
    for channel in range(3):
        for row, column in taps:
            conv.weight[channel, channel, row, column] = 1 / len(taps)


def _read_colours(block: ResnetBlock2D, norm: nn.GroupNorm, conv: nn.Conv2d) -> None:
    """Make norm, SiLU and `conv` give channels 0 to 2 of `block`'s output back, nearly linearly."""
    level, shift, group = 4.0, 6.0, norm.num_channels // norm.num_groups
    block.conv2.bias[3:group] = level * torch.tensor([1.0, -1.0]).repeat(group)[: group - 3]
    norm.bias[:3] = shift  # SiLU is linear up there
    conv.weight[:3] = 0
    for channel in range(3):
        conv.weight[channel, channel, 1, 1] = level
    conv.bias[:3] = -level * shift


def build_tokenizer(texts: Iterable[str]) -> CLIPTokenizer:
    """A tokenizer of CLIP's kind whose byte-level BPE is trained on `texts`, END as padding as in Stable Diffusion."""
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    ends = [letter + "</w>" for letter in alphabet]
    letters = {token: number for number, token in enumerate([START, END, *alphabet, *ends])}
    trained = CLIPTokenizer(vocab=letters, merges=[], **special).backend_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[START, END, *ends],  # found on the way, their ids, and with them all ties, would be random
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    trained.train_from_iterator(texts, trainer)
    learned = json.loads(trained.to_str())["model"]
    merges = [tuple(pair) for pair in learned["merges"]]
    return CLIPTokenizer(vocab=learned["vocab"], merges=merges, model_max_length=TEXT_TOKENS, **special)


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            num_hidden_layers=TEXT_LAYERS,
            num_attention_heads=6,
            max_position_embeddings=TEXT_TOKENS,
            projection_dim=TEXT_WIDTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def build_unet(channels: tuple[int, int, int], dropout: float) -> UNet2DConditionModel:
    """9 input channels: noisy latents (4), mask (1, 1 = paint), latents of the masked picture (4)."""
    return UNet2DConditionModel(
        sample_size=32,
        in_channels=9,
        out_channels=4,
        block_out_channels=channels,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=8,
        norm_num_groups=GROUPS,
        dropout=dropout,
    )


def build_controlnet(unet: UNet2DConditionModel) -> ControlNetModel:
    """A ControlNet that starts as the UNet's encoder; the pipeline feeds it the 4 noisy latent channels only."""
    controlnet = ControlNetModel.from_config(  # pyright: ignore[reportAssignmentType]
        {
            "in_channels": 4,
            "conditioning_embedding_out_channels": (8, 16, 32, 64),  # one per autoencoder level
            **{
                key: unet.config[key]
                for key in (
                    "block_out_channels",
                    "down_block_types",
                    "layers_per_block",
                    "cross_attention_dim",
                    "attention_head_dim",
                    "norm_num_groups",
                )
            },
        }
    )
    for name in ("time_embedding", "down_blocks", "mid_block"):
        getattr(controlnet, name).load_state_dict(getattr(unet, name).state_dict())
    with torch.no_grad():
        controlnet.conv_in.weight.copy_(unet.conv_in.weight[:, :4])
        controlnet.conv_in.bias.copy_(unet.conv_in.bias)
    return controlnet


def build_scheduler() -> DPMSolverMultistepScheduler:
    """v-prediction, zero-terminal SNR, trailing spacing (Lin et al., arXiv 2305.08891): dark and bright scenes both."""
    return DPMSolverMultistepScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        algorithm_type="dpmsolver++",
        solver_order=2,
        use_lu_lambdas=False,
    )


def enlarge_latents(latents: torch.Tensor) -> torch.Tensor:
    """f[N, C, h, w] to f[N, C, 2h, 2w]: what a decoder trained on enlarged latents turns into twice the picture."""
    return torch.nn.functional.interpolate(latents, scale_factor=2, mode="bilinear")


def fold_latent_statistics(autoencoder: AutoencoderKL, mean: torch.Tensor, std: torch.Tensor) -> None:
    """Fold per-channel latent `mean` and `std` (f32[4]) into the quant convolutions, so that latents are standard and
    the pipeline, which ignores `shift_factor`, needs neither shift nor scale."""
    quant, post = autoencoder.quant_conv, autoencoder.post_quant_conv
    assert isinstance(quant, nn.Conv2d) and isinstance(post, nn.Conv2d)
    with torch.no_grad():
        channels = len(mean)
        quant.weight[:channels] /= std[:, None, None, None]
        quant.bias[:channels] = (quant.bias[:channels] - mean) / std  # pyright: ignore[reportOptionalSubscript]
        quant.bias[channels:] -= 2 * std.log()  # pyright: ignore[reportOptionalSubscript]
        post.bias += post.weight[:, :, 0, 0] @ mean  # pyright: ignore[reportOperatorIssue]
        post.weight *= std[None, :, None, None]
