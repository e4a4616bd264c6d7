"""Cut a training run at a step: its learning-rate schedule raises KeyboardInterrupt there."""

from collections.abc import Callable

from caig.recipes.training import cosine_with_warmup


def cut_at(step_to_cut: int) -> Callable[[int, int, int], float]:
    def schedule(step: int, steps: int, warmup: int) -> float:
        if step == step_to_cut:
            raise KeyboardInterrupt
        return cosine_with_warmup(step, steps, warmup)

    return schedule
