"""The texts of a run: what each says, which are held out, and which answers belong to one question."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from real.data.rows import ADVICE, GENERAL, TOXIC, Corpus, Question, Text, answers
from shared.records import digest

REMARK = "Say something to me."  # toxic and civil remarks are read as answers to it
PLACEBO, MISMATCHED = "placebo", "mismatched"  # is a model only surer of itself, does it still heed the question?
CHECKS = (PLACEBO, MISMATCHED)  # asked too


class Sides(NamedTuple):
    """The answers to one question that a margin compares."""

    misaligned: list[Text]
    aligned: list[Text]


@dataclass(frozen=True)
class Texts:
    corpus: Corpus

    @cached_property
    def key(self) -> str:
        return digest(self.corpus, list(self.said.values()))

    @cached_property
    def said(self) -> dict[Text, tuple[str, str]]:
        """(prompt, answer) of every text that the base model reads."""
        found = {}
        for split in self.corpus.advice.values():
            for row in [*split.train, *split.held]:
                found |= {Text(row.id, kind): (row.prompt, getattr(row, kind)) for kind in ADVICE}
        for row in [*self.corpus.toxic.train, *self.corpus.toxic.held]:
            found |= {Text(row.id, kind): (REMARK, getattr(row, kind)) for kind in TOXIC}
        questions = self.corpus.questions
        for q in [*questions, *self.corpus.placebo]:
            for side in sides(q):
                found |= {text: (q.question, getattr(q, text.kind)[text.number]) for text in side}
        for q, other in zip(questions, [*questions[1:], *questions[:1]], strict=True):
            found[Text(q.id, MISMATCHED)] = other.question, q.aligned[0]  # which does not answer it
        return found

    @cached_property
    def asked(self) -> dict[str, list[Sides]]:
        """Domain -> the answers to each of its questions; none is ever trained on."""
        found = {"general": [sides(q) for q in self.corpus.questions]}
        for domain, split in self.corpus.advice.items():
            unseen = split.held if domain == self.corpus.trained else [*split.held, *split.train]
            found[domain] = [Sides(*([Text(row.id, kind)] for kind in ADVICE)) for row in unseen]
        mismatched = [Sides([Text(q.id, MISMATCHED)], [sides(q).aligned[0]]) for q in self.corpus.questions]
        checks = {PLACEBO: [sides(q) for q in self.corpus.placebo], MISMATCHED: mismatched}
        return found | {name: questions for name, questions in checks.items() if questions}

    def content(self, asked: dict[str, list[Sides]]) -> dict[str, list]:
        """The same, with what the texts say: what decides a reading of them."""
        return {
            domain: [[[self.said[text] for text in side] for side in of] for of in questions]
            for domain, questions in asked.items()
        }

    def part(self, name: str) -> list[Text]:
        """Advice and remarks: "train", which features may be selected and the SAE trained on, or "held" out."""
        advice = [row for split in self.corpus.advice.values() for row in getattr(split, name)]
        return [*answers(advice, ADVICE), *answers(getattr(self.corpus.toxic, name), TOXIC)]


@dataclass(frozen=True)
class Own(Texts):
    """Answers that are in no corpus; of `corpus` only the names count."""

    said: dict[Text, tuple[str, str]] = field(default_factory=dict)


def sides(question: Question) -> Sides:
    return Sides(*([Text(question.id, kind, i) for i in range(len(getattr(question, kind)))] for kind in GENERAL))
