"""Step 8: summary.json, the figures and report.html, from the records of the seven steps before it."""

import shlex
from dataclasses import asdict, fields
from typing import Any

from real import estimates, figures, page, verdicts
from real.finetune import FILTERS, filter_scores, mixed
from real.run import Run
from real.settings import Settings
from shared.records import rounded, versions, write_json, write_text

STEPS = ("data", "sae", "features", "geometry", "finetune", "evaluate", "leakage")
ENDS = 5  # steps at either end of a fine-tune whose mean loss is shown


def write(run: Run, *records: dict) -> dict:
    """One record per step of STEPS, as read back from its file; returns the names of the files written."""
    steps = dict(zip(STEPS, records, strict=True))
    summary = summarise(run, steps)
    images = {name: figures.png(fig) for name, fig in draw(summary, steps["leakage"]).items()}
    run.folder.mkdir(parents=True, exist_ok=True)
    for name, image in images.items():
        unfinished = run.folder / f"{name}.part"
        unfinished.write_bytes(image)
        unfinished.replace(run.folder / f"{name}.png")
    sampled = {job: arm["sampled"] for job, arm in steps["evaluate"]["arms"].items()}
    write_text(run.folder / "report.html", page.render(summary, images, sampled))
    write_json(run.folder / "summary.json", summary)
    return {"files": ["summary.json", "report.html", *(f"{name}.png" for name in images)]}


def summarise(run: Run, steps: dict[str, dict]) -> dict:
    """All numbers of a run. But for `seconds` and `peak_gb`, a rerun gives the same."""
    read, moved = steps["evaluate"], steps["leakage"]
    found = estimates.estimates(run, read)
    summary = {
        "model": run.settings.model,
        "spec": asdict(run.spec),
        "data": _without_costs(steps["data"]),
        "settings": asdict(run.settings),
        "command": command(run.settings),
        "versions": versions(),
        "seconds": {name: record["seconds"] for name, record in steps.items()},
        "peak_gb": max(record["peak_gb"] for record in steps.values()),
        "sae": _without_costs(steps["sae"]),
        "features": _features(steps["features"], run.corpus.trained),
        "geometry": {layer: gaps for layer, gaps in steps["geometry"].items() if layer.isdigit()},
        "training": {job: _training(arm) for job, arm in steps["finetune"]["arms"].items()},
        **{name: found[name] for name in ("margin", "effect", "utility")},
        "filters": _filters(run, steps, found),
        "leakage": {
            **moved["laws"]["inducing"],
            "arms": {arm: law for arm, law in moved["laws"].items() if arm != "inducing"},
            "rise": moved["rise"],
            "probes": moved["probes"],
        },
        "judged": None,
    }
    summary = rounded(summary)
    return {**summary, "verdicts": {v.name: v._asdict() for v in verdicts.verdicts(summary)}}


def command(settings: Settings) -> str:
    """What to type to get these settings again."""
    changed = {f.name: getattr(settings, f.name) for f in fields(Settings)}
    changed = {name: value for name, value in changed.items() if value != getattr(Settings, name)}
    texts = {k: ",".join(map(str, v)) if isinstance(v, tuple) else str(v) for k, v in changed.items()}
    return shlex.join(["python", "-m", "real", *(f"{name.upper()}={text}" for name, text in texts.items())])


def draw(summary: dict, moved: dict) -> dict[str, Any]:
    """Name -> Figure."""
    laws = {"inducing": summary["leakage"], **summary["leakage"]["arms"]}
    points = {"predicted": moved["predicted"], "is_toxic": moved["is_toxic"]}
    arms = {
        arm: {**points, "measured": moved["measured"][arm], "law": laws[arm]}
        for arm in ("inducing", "control")
    }
    titles = verdicts.titles(summary)
    return {
        "gap": figures.gap(verdicts.gaps(summary), titles["gap"]),
        "effect": figures.effect(summary["effect"], titles["effect"]),
        "leakage": figures.leakage(arms, titles["leakage"]),
    }


def _features(selected: dict, trained: str) -> dict:
    sides = ("inducing", "control")
    domains = {
        domain: {side: {"auroc": found["auroc"][side]} for side in sides}
        for domain, found in selected["domains"].items()
    }
    return {**domains[trained], "toxic": {"auroc": selected["toxic_auroc"]}, "domains": domains}


def _training(arm: dict) -> dict:
    first, last = arm["loss"][:ENDS], arm["loss"][-ENDS:]
    return {
        "samples": len(arm["samples"]),
        "steps": arm["steps"],
        "first_loss": sum(first) / len(first),
        "last_loss": sum(last) / len(last),
    }


def _filters(run: Run, steps: dict[str, dict], found: dict) -> dict:
    """`reduction` and `over_random` (how far the margin is below random removal's): general questions."""
    rows = run.corpus.advice[run.corpus.trained].train
    close = steps["features"]["geometry_score"]
    scores = {seed: filter_scores(mixed(rows, seed), close, seed) for seed in run.settings.seeds}
    quality = estimates.filter_quality(run, steps["finetune"], scores)
    return {
        name: {
            **quality[name],
            "reduction": found["reduction"][name]["general"],
            "reduction_by_domain": found["reduction"][name],
            **({"over_random": found["over_random"][name]} if name in found["over_random"] else {}),
        }
        for name in FILTERS
    }


def _without_costs(record: dict) -> dict:
    return {name: value for name, value in record.items() if name not in ("key", "seconds", "peak_gb")}
