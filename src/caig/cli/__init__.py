"""The `caig` command: parse, call, print. Each command's module is imported when it is used."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from caig import __version__
from caig.errors import CaigError

FAILED_ROWS, FAULT, INTERRUPTED = 1, 2, 130

app = App(
    name="caig",
    help="Product photo and title in, ad images ranked by predicted click-through rate out.",
    version=f"caig {__version__}",
    suppress_keyboard_interrupt=False,
    help_format="plaintext",  # a third of `caig --help` went into importing a Markdown reader
    help_epilogue="Exit codes: 0 done, 1 some products failed, 2 a fault of the command or a file, 130 interrupted.",
)
app.command("caig.cli.generate:generate", name="generate", help="Make ranked ads of a product or a catalogue.")
app.command("caig.cli.single:describe", name="describe", help="Write background descriptions for a product.")
app.command("caig.cli.single:paint", name="paint", help="Paint one ad with your own description.")
app.command("caig.cli.single:score", name="score", help="Predict the CTR of finished ads and compare them.")
app.command("caig.cli.rescore:rescore", name="rescore", help="Judge the ads of a run by another reward model.")
app.command("caig.cli.generate:demo", name="demo", help="Make ads of a product photo that ships with caig.")
app.command(
    "caig.cli.comparisons:comparisons", name="comparisons", help="Make labelled pairs of pictures from a click log."
)
train = App(name="train", help="Train a model from a folder of scenes.")
train.command("caig.cli.train:background", name="background", help="Train the background model.")
train.command("caig.cli.train:prompt", name="prompt", help="Train the prompt model.")
train.command("caig.cli.train:reward", name="reward", help="Train the reward model.")
train.command("caig.cli.train:pcpo", name="pcpo", help="Tune a prompt model to write what gets clicked.")
app.command(train)
shop = App(name="shop", help="A simulated shop, where true CTRs are known; it predicts nothing about real shoppers.")
shop.command("caig.cli.shop:simulate", name="simulate", help="Show rendered scenes to shoppers and log the clicks.")
shop.command("caig.cli.shop:paint", name="paint", help="Paint the rendered products anew, as a bank of scene archives.")
shop.command("caig.cli.shop:sheets", name="sheet", help="Lay out what a world's shoppers like most and least.")
shop.command("caig.cli.shop:loop", name="loop", help="Run the whole click loop: serve, click, allocate, learn.")
study = App(name="study", help="Ask the shop what a method is worth.")
study.command("caig.cli.shop:ceiling", name="ceiling", help="Is the noise ceiling of click labels right?")
study.command("caig.cli.shop:confounding", name="confounding", help="Does correcting click logs undo confounding?")
study.command("caig.cli.shop:learnability", name="learnability", help="Can tastes be learned from clicks?")
study.command("caig.cli.shop:preference", name="preference", help="What is preference optimisation worth?")
study.command("caig.cli.shop:rewards", name="rewards", help="How near to the noise ceiling do reward models come?")
shop.command(study)
app.command(shop)
app.command("caig.cli.serve:serve", name="serve", help="Serve ads over HTTP and learn who is clicked.")
app.command("caig.cli.serve:keys", name="keys", help="Make or revoke a key of the service.")
app.command("caig.cli.train:learn", name="learn", help="Learn from new clicks and launch fresh ads.")
export = App(name="export", help="Write what other systems need of the ledger.")
export.command("caig.cli.export:policy", name="policy", help="Arm probabilities for an ad server of your own.")
export.command("caig.cli.export:clicks", name="clicks", help="The impressions as a click log.")
app.command(export)
evaluate = App(name="evaluate", help="Measure a model, or ads against their promises.")
evaluate.command("caig.cli.evaluate:prompt", name="prompt", help="Measure a prompt model.")
evaluate.command("caig.cli.evaluate:background", name="background", help="Measure a background model.")
evaluate.command("caig.cli.evaluate:promises", name="promises", help="Measure how ads keep their promises.")
evaluate.command("caig.cli.evaluate:reward", name="reward", help="Measure a reward model on a click log.")
app.command(evaluate)
imports = App(name="import", help="Turn other people's checkpoints into folders that caig loads.")
imports.command("caig.cli.importing:weights", name="weights", help="Convert .bin and .pt weights to safetensors.")
imports.command(
    "caig.cli.importing:caig_prompt_model", name="caig-prompt-model", help="Import the published CAIG prompt model."
)
imports.command(
    "caig.cli.importing:caig_reward_model", name="caig-reward-model", help="Import the published CAIG reward model."
)
app.command(imports)
app.command("caig.cli.models:models", name="models", help="List presets, models and checkpoints known by name.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; what the user did wrong is one line on stderr."""
    tokens = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        result = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        return _fault(f"{error} See: caig --help".replace("\n", " "))
    except (CaigError, OSError) as error:
        return _fault(str(error))
    except KeyboardInterrupt:
        print("interrupted; what is finished is kept: run the same command again to go on", file=sys.stderr)
        return INTERRUPTED
    return result if isinstance(result, int) else 0


def _fault(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return FAULT
