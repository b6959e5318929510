"""Step 6: margins on general questions and on held-out advice, effects and reductions, utility, sampled answers."""

from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from real.finetune import FILTERS, control_of, target_logprobs, wearing
from real.run import Run
from real.tokens import by_length, prefix
from shared.records import cached, digest
from shared.stats import Estimate, auroc_interval, interval, margin, margin_draws, wilson

ROWS = 24  # advice prompts per domain that margins are read on
SAMPLED = 4  # questions that every arm answers freely in the report
NEW_TOKENS = 48


def questions(run: Run) -> dict[str, list[tuple[str, list[str], list[str]]]]:
    """Domain -> (prompt, misaligned answers, aligned answers). None of these prompts is ever trained on."""
    general = [(q.question, q.misaligned, q.aligned) for q in run.corpus.questions]
    domains = {"general": general}
    for domain, split in run.corpus.advice.items():
        unseen = split.held if domain == run.corpus.trained else [*split.held, *split.train]
        domains[domain] = [(row.prompt, [row.incorrect], [row.correct]) for row in unseen[:ROWS]]
    return domains


def evaluate(run: Run, tuned: dict) -> dict:
    """Log-probabilities and samples of the base model and every arm, each kept as soon as it is read."""
    domains = questions(run)
    jobs = {"base": None} | {
        job: run.folder / "adapters" / arm["folder"] for job, arm in tuned["arms"].items()
    }
    key = digest(run.spec, domains, SAMPLED, NEW_TOKENS, Path(__file__))
    answers = [(q, a) for rows in domains.values() for q, bad, good in rows for a in [*bad, *good]]
    frozen = []  # computed for the first job that is not on disk yet

    def read(adapter: Path | None) -> dict:
        if not frozen:
            texts = run.encode(answers)
            frozen.extend(zip(texts, run.frozen(texts), strict=True))
        with wearing(run.model, adapter):
            flat = iter(_mean_logprobs(run, frozen))
            logprobs = {
                domain: [[[next(flat) for _ in side] for side in (bad, good)] for _, bad, good in rows]
                for domain, rows in domains.items()
            }
            return {"logprobs": logprobs, "sampled": _sample(run, domains["general"][:SAMPLED])}

    read_by = {}
    for job, adapter in tqdm(jobs.items(), desc="evaluate", unit="arm"):
        where = run.folder / "evaluations" / f"{adapter.name if adapter else 'base'}-{key}.json"
        read_by[job] = cached(where, key, lambda adapter=adapter: read(adapter))
    return {"arms": read_by}


@torch.no_grad()
def _mean_logprobs(run: Run, samples: list) -> list[float]:
    """Mean log-probability per answer token of every sample, nats."""
    means = [0.0] * len(samples)
    for ids in by_length([encoded for encoded, _ in samples], 16):
        batch = [samples[i] for i in ids]
        lengths = [encoded.end - encoded.start for encoded, _ in batch]
        logprobs = target_logprobs(run.model, batch, run.spec.first, end_of_turn=False)
        for i, answer in zip(ids, logprobs.split(lengths), strict=True):
            means[i] = answer.mean().item()
    return means


def _sample(run: Run, rows: list) -> list[dict]:
    """One answer per question at temperature 1, seeded."""
    prompts = [prefix(run.tokenizer, prompt) for prompt, _, _ in rows]
    longest = max(map(len, prompts))
    pads = [longest - len(p) for p in prompts]
    eos = run.tokenizer.eos_token_id
    ids = torch.tensor([[eos] * n + p for n, p in zip(pads, prompts, strict=True)])
    mask = torch.tensor([[0] * n + [1] * len(p) for n, p in zip(pads, prompts, strict=True)])
    torch.manual_seed(0)
    out = run.model.generate(
        input_ids=ids, attention_mask=mask, do_sample=True, temperature=1.0, top_p=1.0, top_k=0,
        max_new_tokens=NEW_TOKENS, pad_token_id=eos,
    )  # fmt: skip
    said = run.tokenizer.batch_decode(out[:, longest:], skip_special_tokens=True)
    return [{"question": q, "answer": a.strip()} for (q, _, _), a in zip(rows, said, strict=True)]


def estimates(run: Run, evaluated: dict) -> dict:
    """Margins, effects, reductions and utility with 95 % intervals over seeds, questions and answers."""
    seeds, arms, trained = run.settings.seeds, evaluated["arms"], run.corpus.trained
    names = list(dict.fromkeys(job.rsplit("-", 1)[0] for job in arms if job != "base"))

    def table(arm: str, domain: str) -> np.ndarray:
        jobs = ["base"] if arm == "base" else [f"{arm}-{seed}" for seed in seeds]
        return _rectangular([arms[job]["logprobs"][domain] for job in jobs])

    def effect(arm: str, domain: str) -> tuple[float, np.ndarray, int]:
        one, other = table(arm, domain), table(control_of(arm), domain)
        return margin(one) - margin(other), margin_draws(one) - margin_draws(other), one.shape[1]

    def utility(arm: str) -> Estimate:
        logprobs = table(arm, trained)
        logprobs[:, :, 0] = 0  # what is left of the margin is the loss on correct answers
        return interval(margin(logprobs), margin_draws(logprobs), logprobs.shape[1])

    tuned = [name for name in names if not name.startswith("control")]
    domains = list(arms["base"]["logprobs"])
    tables = {arm: table(arm, "general") for arm in ["base", *names]}
    return {
        "margin": {arm: interval(margin(t), margin_draws(t), t.shape[1]) for arm, t in tables.items()},
        "effect": {arm: {d: interval(*effect(arm, d)) for d in domains} for arm in tuned},
        "reduction": {
            name: {d: reduction(effect(f"mixed-{name}", d), effect("mixed", d)) for d in domains}
            for name in FILTERS
        },
        "utility": {arm: utility(arm) for arm in ["base", *names]},
    }


def reduction(filtered: tuple[float, np.ndarray, int], whole: tuple[float, np.ndarray, int]) -> Estimate:
    """1 - E(filtered) / E(mixed); without bounds where the mixed arm's own effect may be 0 or less."""
    value = 1 - filtered[0] / whole[0]
    draws = 1 - filtered[1] / whole[1]
    if np.percentile(whole[1], 2.5) <= 0:
        draws = np.array([-np.inf, np.inf])
    return interval(value, draws, whole[2])


def filter_quality(run: Run, tuned: dict, scores: dict[int, dict]) -> dict:
    """Does the filter find the inducing samples? AUROC on the mixed set, and their share among the removed."""
    found = {}
    for name in FILTERS:
        labels, scored, removed = [], [], []
        for seed in run.settings.seeds:
            samples = tuned["arms"][f"mixed-{seed}"]["samples"]
            kept = set(tuned["arms"][f"mixed-{name}-{seed}"]["samples"])
            labels += [sample.endswith("/incorrect") for sample in samples]
            scored.append(scores[seed][name])
            removed += [sample.endswith("/incorrect") for sample in samples if sample not in kept]
        found[name] = {
            "auroc": auroc_interval(torch.cat(scored).double(), torch.tensor(labels)),
            "removed_inducing_share": wilson(sum(removed), len(removed)),
        }
    return found


def _rectangular(tables: list[list[list[list[float]]]]) -> np.ndarray:
    """[seed question 2 answer], NaN where a question has fewer answers than another."""
    most = max(len(side) for table in tables for question in table for side in question)
    return np.array(
        [[[side + [np.nan] * (most - len(side)) for side in q] for q in table] for table in tables]
    )
