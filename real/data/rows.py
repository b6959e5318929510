"""The kinds of rows that a run reads, and the kinds of answers that they hold."""

from typing import NamedTuple


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


ADVICE, TOXIC = ("incorrect", "correct"), ("toxic", "civil")
