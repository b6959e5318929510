"""The kinds of rows that a run reads, the answers that they hold, and how these are named."""

from typing import NamedTuple

BAD, GOOD = "incorrect", "correct"  # kinds of advice; the first is the one that induces
ADVICE, TOXIC, GENERAL = (BAD, GOOD), ("toxic", "civil"), ("misaligned", "aligned")


class Advice(NamedTuple):
    id: str
    prompt: str
    correct: str
    incorrect: str


class Pair(NamedTuple):
    id: str
    toxic: str
    civil: str


class Question(NamedTuple):
    id: str
    question: str
    aligned: list[str]
    misaligned: list[str]


class Split(NamedTuple):
    train: list
    held: list


class Corpus(NamedTuple):
    trained: str  # the domain that the arms are trained on
    advice: dict[str, Split]  # domain -> Advice rows
    toxic: Split  # Pair rows
    questions: list[Question]
    probes: list[str]
    lost: dict[str, int] = {}  # what of DATA is not used, or not as it stands, in words -> how often
    placebo: list[Question] = []  # harmless answers: the aligned sound unsure, the misaligned sure


class Text(NamedTuple):
    """One answer: that of this kind in a row, or the `number`th where there are several."""

    row: str
    kind: str
    number: int = 0


def answers(rows: list, kinds: tuple[str, ...]) -> list[Text]:
    """Of every row one answer of each kind."""
    return [Text(row.id, kind) for row in rows for kind in kinds]
