"""Step 11: summary.json, the figures and report.html, from the records of the ten steps before it."""

import shlex
from dataclasses import asdict

from real.report import estimates, figures, judged, page, verdicts
from real.run import Run
from real.settings import Settings, words
from shared.records import rounded, versions, write_json, write_text

STEPS = (
    *("data", "sae", "features", "geometry", "filters"),
    *("finetune", "evaluate", "leakage", "causes", "judge"),
)
ENDS = 5  # steps at either end of a fine-tune whose mean loss is shown


def write(run: Run, *records: dict) -> dict:
    """One record per step of STEPS, as read back from its file; returns the names of the files written."""
    steps = dict(zip(STEPS, records, strict=True))
    summary = summarise(run, steps)
    drawn = page.figures_of(summary, steps["leakage"])
    images = {name: figures.png(fig) for name, fig in drawn.items()}
    run.folder.mkdir(parents=True, exist_ok=True)
    for name, image in images.items():
        unfinished = run.folder / f"{name}.part"
        unfinished.write_bytes(image)
        unfinished.replace(run.folder / f"{name}.png")
    sampled = {job: arm["sampled"] for job, arm in steps["evaluate"]["arms"].items() if arm["sampled"]}
    write_text(run.folder / "report.html", page.render(summary, images, sampled))
    write_json(run.folder / "summary.json", summary)
    return {"files": ["summary.json", "report.html", *(f"{name}.png" for name in images)]}


def summarise(run: Run, steps: dict[str, dict]) -> dict:
    """All numbers of a run. But for `seconds` and `peak_gb`, a rerun gives the same."""
    moved, arms = steps["leakage"], estimates.Arms(run, steps["evaluate"])
    removal = estimates.filter_results(run, steps["finetune"], steps["filters"], arms)
    read = estimates.effects(arms)
    laws, by_gradient = moved["laws"], moved["gradient_laws"]
    summary = {
        "model": run.settings.model,
        "spec": asdict(run.spec),
        "layer": run.layer,
        "data": _without_costs(steps["data"]),
        "settings": asdict(run.settings) | {"layers": run.layers},
        "command": command(run.settings),
        "versions": versions(),
        "seconds": {name: record["seconds"] for name, record in steps.items()},
        "peak_gb": max(record["peak_gb"] for record in steps.values()),
        "sae": _without_costs(steps["sae"]),
        "features": _features(run, _without_costs(steps["features"])),
        "meaning": steps["geometry"]["meaning"],
        "geometry": steps["geometry"]["gaps"],
        "training": {job: _training(arm) for job, arm in steps["finetune"]["arms"].items()},
        **read,
        "filters": removal,
        "best_filter": estimates.best_filter(removal, run.corpus.trained),
        "leakage": {
            **laws["inducing"],
            "arms": {arm: law for arm, law in laws.items() if arm != "inducing"},
            "gradient": by_gradient,
            "rise": moved["rise"],
            "probes": moved["probes"],
        },
        "dynamics": estimates.dynamics(run, moved, arms),
        "causes": estimates.causes(run, steps["causes"], arms),
        **judged.summarise(run, steps["judge"], steps["filters"]["judge"], read["margin"]),
    }
    summary = rounded(summary)
    return {**summary, "verdicts": {v.name: v._asdict() for v in verdicts.verdicts(summary)}}


def command(settings: Settings) -> str:
    """What to type to get these settings again."""
    return shlex.join(["python", "-m", "real", *words(settings)])


def _features(run: Run, layers: dict) -> dict:
    """AUROC on held-out texts: of the main layer and trained domain, and by layer and domain."""

    def sides(layer: dict, domain: str) -> dict:
        return layer["domains"][domain]["auroc"]

    main = layers[str(run.layer)]
    return {
        **{side: {"auroc": e} for side, e in sides(main, run.corpus.trained).items()},
        "toxic": {"auroc": main["toxic_auroc"]},
        "layers": {
            layer: {
                "toxic": found["toxic_auroc"],
                "domains": {domain: sides(found, domain) for domain in found["domains"]},
            }
            for layer, found in layers.items()
        },
    }


def _training(arm: dict) -> dict:
    first, last = arm["loss"][:ENDS], arm["loss"][-ENDS:]
    return {
        "samples": len(arm["samples"]),
        "steps": arm["steps"],
        "first_loss": sum(first) / len(first),
        "last_loss": sum(last) / len(last),
    }


def _without_costs(record: dict) -> dict:
    return {name: value for name, value in record.items() if name not in ("key", "seconds", "peak_gb")}
