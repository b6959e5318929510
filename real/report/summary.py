"""Step 11: summary.json, the figures and report.html, from the records of the ten steps before it."""

import shlex
from dataclasses import asdict

from real.report import estimates, figures, page, verdicts
from real.run import Run
from real.settings import Settings, words
from shared.records import rounded, versions, write_json, write_text

STEPS = (
    *("data", "sae", "features", "geometry", "filters"),
    *("finetune", "evaluate", "leakage", "causes", "judge"),
)
ENDS = 5  # steps at either end of a fine-tune whose mean loss is shown


def write(run: Run, steps: dict[str, dict], images: dict[str, bytes] | None = None) -> dict:
    """The report of the steps that have run, as read back from their files; returns the names of the files written.

    `images`: the figures that this process has drawn already; what is drawn now is added, and nothing drawn twice.
    Once all of STEPS are there, summary.json too.
    """
    images = {} if images is None else images
    summary = summarise(run, steps)
    for name, title in verdicts.titles(summary).items():
        if name not in images:
            images[name] = figures.png(name, title, summary, steps.get("leakage"))
            write_bytes(run.folder / f"{name}.png", images[name])
    arms = steps["evaluate"]["arms"] if "evaluate" in steps else {}
    sampled = {job: arm["sampled"] for job, arm in arms.items() if arm["sampled"]}
    write_text(run.folder / "report.html", page.render(summary, images, sampled))
    files = ["report.html", *(f"{name}.png" for name in images)]
    if len(steps) == len(STEPS):
        write_json(run.folder / "summary.json", summary)
        files.append("summary.json")
    return {"files": files}


def summarise(run: Run, steps: dict[str, dict]) -> dict:
    """All numbers of a run, so far. But for `seconds` and `peak_gb`, a rerun gives the same."""
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
    }
    if "sae" in steps:
        summary["sae"] = _without_costs(steps["sae"])
    if "features" in steps:
        summary["features"] = _features(run, _without_costs(steps["features"]))
    if "geometry" in steps:
        summary |= {"meaning": steps["geometry"]["meaning"], "geometry": steps["geometry"]["gaps"]}
    if "finetune" in steps:
        summary["training"] = {job: _training(arm) for job, arm in steps["finetune"]["arms"].items()}
    if "evaluate" in steps:
        arms = estimates.Arms(run, steps["evaluate"])
        removal = estimates.filter_results(run, steps["finetune"], steps["filters"], arms)
        best = estimates.best_filter(removal, run.corpus.trained)
        summary |= {**estimates.effects(arms), "filters": removal, "best_filter": best}
    if "leakage" in steps:
        summary |= {
            "leakage": _leakage(steps["leakage"]),
            "dynamics": estimates.dynamics(run, steps["leakage"], arms),
        }
    if "causes" in steps:
        summary["causes"] = estimates.causes(run, steps["causes"], arms)
    if "judge" in steps:
        harm = steps["filters"]["judge"]
        summary |= estimates.judging(run, steps["judge"], harm, summary["margin"])
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


def _leakage(moved: dict) -> dict:
    laws = moved["laws"]
    return {
        **laws["inducing"],
        "arms": {arm: law for arm, law in laws.items() if arm != "inducing"},
        "gradient": moved["gradient_laws"],
        "rise": moved["rise"],
        "probes": moved["probes"],
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
