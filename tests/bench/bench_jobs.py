"""What it costs that an arm is a job with records, keyed by its content: the same arms run directly, in turn.

SmolLM2, two seeds of one arm, two steps each, a few short texts, one model in memory: a real arm is a hundred times
longer, and what a job costs is not. "Directly" is a loop over the functions that train and read, which writes adapters
and nothing else; "jobs in this process" are what steps 6 and 7 do without CLUSTER. Once, after that, CLUSTER=local,
whose processes start Python and load the model first.
"""

import os
import shutil
import statistics
import sys
import time
import warnings
from collections import defaultdict
from contextlib import redirect_stderr
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ["HF_HUB_OFFLINE"] = "1"  # everything is here: wait for no hub

from small_run import shrink
from timing import race, ratio

from real import pipeline
from real.arms import finetune, jobs, training
from real.arms.arm import MIXED, Arm, Job, mixed
from real.arms.recipe import Recipe
from real.arms.training import Order
from real.arms.weights import kept, wearing
from real.data import corpus
from real.data.texts import Texts
from real.effects import margins
from real.effects.margins import Logprobs
from real.features.reading import Reading, bare
from real.models.lm import LM
from real.models.registry import KNOWN
from shared.cores import cores

RECIPE, SEEDS = Recipe(train=8), (0, 1)
Found = list[tuple[list[float], dict[str, list[Logprobs]]]]  # of every arm its losses, and what it says of answers


def directly(reading: Reading, orders: list[Order], folder: Path) -> Found:
    found = []
    for order in orders:
        into = folder / order.folder
        loss = training.train(reading.lm, RECIPE, order, reading.samples(order.samples), into).loss
        with wearing(reading.lm.model, into):
            found.append((loss, margins.read_questions(reading, reading.texts.asked)))
    return found


def as_jobs(reading: Reading, orders: list[Order]) -> Found:
    """Of those that are done, what their records say."""
    trained = finetune.trained(reading, orders, RECIPE)
    read = [margins.evaluation(reading, o.job, reading.folder / "adapters" / o.folder) for o in orders]
    return [(arm.loss, of.logprobs) for arm, of in zip(trained, read, strict=True)]


def by_others(reading: Reading, orders: list[Order]) -> Found:
    arms = {o.folder: (o, o.job, reading.folder / "adapters" / o.folder) for o in orders}
    given = (bare(reading), RECIPE, arms, [])
    queue = jobs.Local(reading.folder / "jobs", 0, cores())
    jobs.fan_out(queue, partial(pipeline._job, *given), partial(pipeline._is_done, *given), list(given[2]))
    return as_jobs(reading, orders)


def prepared(base: Path) -> Reading:
    """A reading of short texts: harvested, the model in memory and its blocks kept, as they are once in a run."""
    shrink(base / "data", health=RECIPE.train + 2)
    corpus.SHIPPED = base / "data"
    spec = KNOWN["smollm2-135m"]
    texts = Texts(corpus.load("", "", RECIPE.train, 2 * RECIPE.batch))
    reading = Reading(texts, LM(spec, RECIPE.batch), spec.layers, base)
    reading.samples(list(texts.said)[:1])
    with kept(reading.lm.model, range(spec.first, spec.shape.layers), base):
        pass
    return reading


def main() -> None:
    warnings.simplefilter("ignore")
    with TemporaryDirectory() as folder:
        base = Path(folder)
        reading, found, cpu = prepared(base), {}, defaultdict(list)
        rows = reading.texts.corpus.advice["health"].train
        orders = [finetune.order(reading, Job(Arm(MIXED), seed), mixed(rows, seed), RECIPE) for seed in SEEDS]

        def anew(work):
            for made in ("adapters", "evaluations", "jobs", "direct"):
                shutil.rmtree(base / made, ignore_errors=True)
            (base / "jobs").mkdir()
            return partial(timed, work)

        def timed(work):
            start = time.process_time()
            found[work.func.__name__] = work()
            cpu[work.func.__name__].append(time.process_time() - start)

        works = partial(directly, reading, orders, base / "direct"), partial(as_jobs, reading, orders)
        seconds = race(**{work.func.__name__: partial(anew, work) for work in works})
        others = anew(partial(by_others, reading, orders))
        start = time.perf_counter()
        others()
        took = time.perf_counter() - start
    here, same = seconds["as_jobs"], all(of == found["directly"] for of in found.values())
    each = statistics.median(here) / len(SEEDS)
    print(f"arms as jobs in this process: {ratio(here, seconds['directly'])} directly ({each:.2f} s an arm)")
    print(f"  in CPU seconds, which wait for nobody: {ratio(cpu['as_jobs'][1:], cpu['directly'][1:])}")
    print(f"  {len(SEEDS)} arms with CLUSTER=local on {os.cpu_count()} cores, once: {took:.1f} s")
    print(f"  the numbers of all three are {'the same' if same else 'NOT the same'}")


if __name__ == "__main__":
    with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):  # bars
        main()
