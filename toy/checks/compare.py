"""What every check does: compare an answer with the right one, and say which mistake it looks like."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Wrong(AssertionError):
    """An answer that does not hold. A notebook shows its sentence alone, and not the lines of the check."""

    def _render_traceback_(self) -> list[str]:  # IPython asks for it
        return [str(self)]


def compare(exercise: str, answer: Any, right: Any, wrong: Mapping[str, Any], tolerance: float = 1e-6) -> None:
    """Prints that the answer is right, or raises Wrong with one sentence for the student.

    `answer` and `right`: numbers, or tensors of one shape. `wrong`: sentence -> the value that such a mistake gives.
    Two values are the same when they differ by at most `tolerance` times the largest of the right ones.
    """
    found, wanted = number(exercise, answer), torch.as_tensor(right, dtype=torch.float64)
    if found.shape != wanted.shape:
        raise Wrong(f"{exercise}: the answer should have the shape {_shape(wanted)}, yours has {_shape(found)}")
    scale = wanted.abs().max().item() or 1.0
    if _same(found, wanted, tolerance * scale):
        right_answer(exercise, answer)
        return
    for sentence, value in wrong.items():
        value = torch.as_tensor(value, dtype=torch.float64)
        if value.shape == found.shape and _same(found, value, tolerance * scale):
            raise Wrong(f"{exercise}: {sentence}")
    off = (found - wanted).abs().max().item()
    raise Wrong(f"{exercise}: not yet; you are off by up to {off:.3g}. The hints are above the cell")


def number(exercise: str, answer: Any) -> Tensor:
    """The answer in float64; a list of tensors is stacked. Wrong for what is none: `...`, None, text, NaN."""
    if answer is ... or answer is None:
        raise Wrong(f"{exercise}: there is no answer yet; if you wrote a function, does it return?")
    if isinstance(answer, list) and answer and all(isinstance(one, Tensor) for one in answer):
        answer = torch.stack(answer)
    try:
        found = torch.as_tensor(answer, dtype=torch.float64).detach()
    except (TypeError, ValueError, RuntimeError):
        raise Wrong(f"{exercise}: the answer should be a number or a tensor, not {type(answer).__name__}") from None
    if not found.isfinite().all():
        raise Wrong(f"{exercise}: the answer holds NaN or infinity; is something divided by 0?")
    return found


def numbers(exercise: str, *answers: Any) -> Tensor:
    """Answers to several inputs, each as `number` reads it, one after the other."""
    return torch.stack([number(exercise, answer) for answer in answers])


def require(exercise: str, holds: Any, sentence: str) -> None:
    """Wrong, with the sentence, when the condition does not hold: for answers that are not unique."""
    if not bool(holds):
        raise Wrong(f"{exercise}: {sentence}")


def right_answer(exercise: str, answer: Any) -> None:
    """What a student sees when a check passes; lists and arrays pass, but cells below may ask a tensor's methods."""
    print(f"{exercise}: right")
    if not isinstance(answer, Tensor) and np.ndim(answer):
        print(f"{exercise}: the cells below go on with a tensor: return torch.as_tensor(...) of it")


def _same(a: Tensor, b: Tensor, most: float) -> bool:
    return (a - b).abs().max().item() <= most if a.numel() else True


def _shape(x: Tensor) -> str:
    return str(list(x.shape)) if x.ndim else "[] (one number)"
