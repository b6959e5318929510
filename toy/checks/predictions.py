"""A prediction is written down before the number is seen, and stays: `predict` first, then `reveal`."""

from numbers import Real
from typing import Any, NamedTuple

from toy.checks.compare import Wrong


class Prediction(NamedTuple):
    question: str
    said: float
    found: float | None = None


_kept: dict[str, Prediction] = {}  # by name, for as long as the notebook's kernel lives


def predict(name: str, said: Any, question: str) -> None:
    """Keeps what you say. Wrong when you say nothing. Once the number is known, the first answer stays."""
    if not isinstance(said, Real):
        raise Wrong(
            f"prediction {name}: {question}? Write a number in place of ...; a wrong one teaches more than none"
        )
    if name in _kept and _kept[name].found is not None:
        print(f"{name}: you have seen the number; your first prediction stays: {_kept[name].said:g}")
        return
    _kept[name] = Prediction(question, float(said))
    print(f"{name}: {question}? You say {said:g}")


def reveal(name: str, found: Any) -> None:
    """Prints the number beside your prediction. Wrong when there is none."""
    if name not in _kept:
        raise Wrong(f"prediction {name}: run the cell with your prediction first")
    _kept[name] = _kept[name]._replace(found=float(found))
    question, said, found = _kept[name]
    print(f"{name}: {question}? You said {said:g}; it is {found:.3g}")


def predictions() -> None:
    """Prints all of them: what you said, what it was."""
    for name, (question, said, found) in _kept.items():
        print(f"{name}  said {said:8.3g}   found {'-' if found is None else f'{found:.3g}':>8}   {question}")
