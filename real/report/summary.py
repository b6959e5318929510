"""Step 11: summary.json, the figures and report.html, from the records of the steps before it."""

import shlex
from base64 import b64encode
from dataclasses import dataclass, field

from real.arms.arm import AWARE, Arm
from real.arms.finetune import Tuned
from real.features.gaps import Placed
from real.features.reading import Reading
from real.features.selection import Selected
from real.filters.scoring import joined
from real.models.registry import TRAIN
from real.report import estimates, figures, scores, tone, verdicts
from real.report.text import templates
from real.settings import Settings, flat, words
from shared.records import Record, rounded, versions, write_bytes, write_json, write_text

BASE = Arm("base")  # how the model without an arm is written
ENDS = 5  # steps at either end of a fine-tune whose mean loss is shown


@dataclass
class Drawn:
    """Figure -> PNG, of those that this process has drawn. They decide nothing, and a step's key passes them over."""

    png: dict[str, bytes] = field(default_factory=dict)
    key: str = ""


def write(reading: Reading, settings: Settings, records: dict[str, Record], drawn: Drawn) -> Record:
    """Step 11: the files that it made. `records`: one per step, by the step's name."""
    summary, files = grow(reading, settings, records, drawn.png)
    write_json(reading.folder / "summary.json", summary)
    return Record(made=dict.fromkeys(["summary.json", *files], ""))


def grow(
    reading: Reading, settings: Settings, records: dict[str, Record], drawn: dict[str, bytes]
) -> tuple[dict, list[str]]:
    """The report of the steps that have run, and its files. `drawn`: figures that this process has drawn already.

    A record does not change while a process runs, so of every figure's numbers there is one picture: it is drawn once
    they are all there, and put into `drawn`.
    """
    records = {name.split("-", 1)[1]: record for name, record in records.items()}
    summary = summarise(reading, settings, records)
    for name, title in verdicts.titles(summary).items():
        if name not in drawn:
            drawn[name] = figures.png(name, title, summary, records.get("leakage"))
            write_bytes(reading.folder / f"{name}.png", drawn[name])
    models = records["evaluate"].models if "evaluate" in records else []
    sampled = {str(of.job or "base"): [said.model_dump() for said in of.sampled] for of in models if of.sampled}
    write_text(reading.folder / "report.html", render(summary, drawn, sampled))
    return summary, ["report.html", *(f"{name}.png" for name in drawn)]


def render(summary: dict, images: dict[str, bytes], sampled: dict[str, list[dict]]) -> str:
    """report.html. `images`: figure -> PNG. `sampled`: job -> its questions and answers.

    Of a summary that lacks parts, the sections that wait for them say so.
    """
    page = templates().get_template("report.html.j2")
    return page.render(
        summary=summary,
        samples=sampled,
        images={name: b64encode(png).decode() for name, png in images.items()},
        titles=verdicts.titles(summary),
        claims=len(verdicts.CLAIMS),
        cells=verdicts.cells(summary) if "geometry" in summary else [],
        trained_here=summary["spec"]["sae"] == TRAIN,
    )


def summarise(reading: Reading, settings: Settings, records: dict[str, Record]) -> dict:
    """All numbers of a run, so far. But for `seconds`, `scoring_seconds` and `peak_gb`, a rerun gives the same.

    `records`: "data", "sae", "features", "geometry", "filters", "harm" (where a judge is), "jobs" (where others made
    the arms), "finetune", "evaluate", "leakage", "causes", "judge", as far as they are there.
    """
    spec, seconds = reading.lm.spec, {name: record.seconds for name, record in records.items()}
    if harm := seconds.pop("harm", 0.0):  # what a judge takes over the filters is theirs
        seconds["filters"] += harm
    summary = {
        "model": settings.reads.model,
        "spec": {name: value for name, value in vars(spec).items() if name != "shape"}
        | {"n_layers": spec.shape.layers, "d_model": spec.shape.d_model},
        "layer": reading.layer,
        "data": _plain(records["data"]),
        "settings": flat(settings) | {"layers": reading.layers},
        "command": shlex.join(["python", "-m", "real", *words(settings)]),
        "versions": versions(),
        "seconds": seconds,
        "peak_gb": max(record.peak_gb for record in records.values()),
    }
    if "sae" in records:
        summary["sae"] = _plain(records["sae"])["layers"]
    if "features" in records:
        summary["features"] = _features(records["features"], reading.layer, records["data"].trained)
    if "geometry" in records:
        summary |= _geometry(records["geometry"], settings.reads.top_k)
    if "filters" in records:
        summary["scoring"] = {name: dict(worth) for name, worth in records["filters"].measured.items()}
        summary["scoring_seconds"] = records["filters"].took
    if "finetune" in records:
        summary["training"] = {str(of.job): _training(of) for of in records["finetune"].jobs}
    if "evaluate" in records:
        summary |= _measured(reading, settings, records)
    summary = rounded(summary)
    return summary | {"verdicts": verdicts.verdicts(summary)}


def _measured(reading: Reading, settings: Settings, records: dict[str, Record]) -> dict:
    """What follows from the arms' margins."""
    trained, harm = records["data"].trained, records.get("harm")
    arms = estimates.Arms(records["evaluate"])
    by = joined(records["filters"], {"judge": harm.scores} if harm and harm.scores else {})
    removal = estimates.filters(records["finetune"], by, arms, trained, settings.sweep.removed)
    best = max(AWARE, key=lambda name: removal[name]["over_random_by_domain"][trained].value)
    found = {
        "arms": {str(arm or BASE): (arm or BASE)._asdict() for arm in arms.by_seed},
        **estimates.effects(arms, trained),
        "filters": removal,
        "best_filter": {"name": best, "chosen_on": f"{trained}, held-out prompts"},  # no general question is looked at
        "tone": tone.summarise(reading.texts, arms, by),
    }
    if "leakage" in records:
        moved = _plain(records["leakage"])
        main = moved["laws"].pop("inducing")
        about = {"arms": moved["laws"], "gradient": moved["gradient_laws"], "rise": moved["rise"]}
        found["leakage"] = main | about | {"probes": records["data"].probes}
        found["dynamics"] = estimates.dynamics(records["leakage"])
    if "causes" in records:
        found["causes"] = estimates.causes(records["causes"], reading.layer)
    if "judge" in records:
        found |= scores.summarise(records["judge"], harm, settings.judging.edges, found["margin"])
    return found


def _features(selected: Selected, layer: int, trained: str) -> dict:
    """AUROC on held-out texts: of the main layer and trained domain, and by layer and domain."""
    layers = {}
    for block, found in selected.layers.items():
        domains = {d: {"inducing": of.inducing.auroc, "control": of.control.auroc} for d, of in found.domains.items()}
        layers[block] = {"toxic": found.toxic.auroc, "domains": domains}
    main = layers[layer]["domains"][trained] | {"toxic": layers[layer]["toxic"]}
    return {name: {"auroc": e} for name, e in main.items()} | {"layers": layers}


def _geometry(placed: Placed, k: int) -> dict:
    """The gap at the main k, and, `by_k`, at all; what trained and untrained dictionaries are worth."""
    found, cells = _plain(placed), {layer: {} for layer in placed.gaps}
    for layer, domains in placed.gaps.items():
        for domain, by_k in domains.items():
            cells[layer][domain] = {**dict(by_k[k]), "by_k": {size: dict(cell) for size, cell in by_k.items()}}
    return {"meaning": found["meaning"], "geometry": cells, "worth": found["worth"]}


def _training(of: Tuned) -> dict:
    first, last = (sum(losses) / len(losses) for losses in (of.loss[:ENDS], of.loss[-ENDS:]))
    return {"samples": len(of.samples), "steps": len(of.loss), "first_loss": first, "last_loss": last}


def _plain(record: Record) -> dict:
    """The fields that its type names."""
    return record.model_dump(exclude=set(Record.model_fields))
