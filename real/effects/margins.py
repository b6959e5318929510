"""Step 7: log-probabilities of answers to general questions and to held-out advice, and sampled answers, by arm."""

from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from real.arms.arm import Job, is_watched
from real.arms.finetune import Finetuned, folders
from real.arms.weights import wearing
from real.data.rows import Text
from real.data.texts import Sides
from real.features.reading import Reading
from real.models.logprobs import mean_logprobs
from real.models.sampling import sample
from shared.code import code
from shared.records import Part, Record, cached, digest

SAMPLED = 4  # questions that those that are watched answer freely in the report
NEW_TOKENS = 48

# question -> (misaligned, aligned) -> one number per answer, nats per token
Logprobs = list[tuple[list[float], list[float]]]


class Said(Part):
    """A free answer. Untrusted text."""

    question: str
    answer: str


class Measured(Part):
    job: Job | None  # None: the base model
    logprobs: dict[str, Logprobs]  # by domain
    sampled: list[Said]


class Evaluation(Record):
    found: Measured


class Evaluated(Record):
    """Step 7. The base model comes first."""

    models: list[Measured]


def evaluate(reading: Reading, tuned: Finetuned) -> Evaluated:
    """Step 7. Of the base model and every arm, each kept as soon as it is read."""
    models = tqdm(folders(reading, tuned.jobs), desc="evaluate", unit="arm")
    return Evaluated(models=[evaluation(reading, job, folder) for job, folder in models])


def evaluation(reading: Reading, job: Job | None, folder: Path | None) -> Measured:
    """Of the model whose adapter is in this folder, unless it is there."""

    def fresh() -> Evaluation:
        lm, free = reading.lm, SAMPLED if is_watched(job) else 0
        prompts = [q.question for q in reading.texts.corpus.questions[:free]]
        with wearing(lm.model, folder):
            found = read_questions(reading, reading.texts.asked)
            said = sample(lm.model, lm.tokenizer, prompts, NEW_TOKENS, temperature=1.0) if prompts else []
        sampled = [Said(question=q, answer=a) for q, a in zip(prompts, said, strict=True)]
        return Evaluation(found=Measured(job=job, logprobs=found, sampled=sampled))

    return cached(*record(reading, folder), fresh).found


def record(reading: Reading, folder: Path | None) -> tuple[Path, str, type[Evaluation]]:
    """Where an evaluation is kept, and as what."""
    texts, name = reading.texts, folder.name if folder else "base"
    key = digest(reading.lm, texts.content(texts.asked), SAMPLED, NEW_TOKENS, code(evaluate), name)
    return reading.folder / "evaluations" / f"{name}.json", key, Evaluation


def asked(domains: dict[str, list[Sides]]) -> list[Text]:
    """All answers, in the order in which `read_questions` takes them."""
    return [text for questions in domains.values() for sides in questions for side in sides for text in side]


def read_questions(reading: Reading, domains: dict[str, list[Sides]]) -> dict[str, Logprobs]:
    """Mean log-probability per token of every answer."""
    samples = reading.samples(asked(domains))
    flat = iter(mean_logprobs(reading.lm.model, samples, reading.lm.spec.first))
    return {domain: by_question(flat, questions) for domain, questions in domains.items()}


def by_question(flat: Iterator[float], questions: list[Sides]) -> Logprobs:
    """The next numbers of `flat`, one for every answer."""
    return [tuple([next(flat) for _ in side] for side in sides) for sides in questions]


def first(questions: list[Sides]) -> list[Sides]:
    """The first answer of either side: a fifth of what there is to read."""
    return [Sides(*(side[:1] for side in sides)) for sides in questions]
