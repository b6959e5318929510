"""CLUSTER: jobs that make records, each in a process of its own, on this machine or under Slurm.

A job is done when its records are whole, whatever a queue says, which is only asked which jobs are under way. So a job
may be killed, be started twice or outlive the run that waits for it: what is lost is time.
"""

import gc
import os
import pickle
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from shared.errors import InputError
from shared.records import digest, read_json, write_bytes, write_json, write_text

AGAIN = 3  # times that a job is started anew


class Lost(InputError):
    """A job's own process has died, which says nothing of its input: another try may do."""


def fan_out(queue: "Local | Slurm", task: Callable[[str], None], done: Callable[[str], bool], names: list[str]) -> None:
    """`task(name)` of every name that is not done, in other processes; what is under way is waited for.

    Raises InputError that a job has raised, and where one has ended too often without its records.
    """
    left, asked = [name for name in names if not done(name)], Counter()
    content = pickle.dumps(partial(_work, task, done, queue.folder))
    file = queue.folder / f"{digest(content.hex())}.pkl"
    write_bytes(file, content)
    for name in set(left) - set(queue.going(left)):
        for told in _told(queue.folder, name):
            told.unlink(missing_ok=True)
    try:
        with tqdm(total=len(names), desc="jobs", unit="job") as bar:
            while left:
                going = queue.going(left)
                left = [name for name in left if name in going or not done(name)]
                idle = [name for name in left if name not in going]
                for name in idle:
                    _check(queue, name, asked[name])
                if idle:
                    asked.update(queue.start(file, idle))
                runs = sum(going.values())
                bar.set_postfix(running=runs, waiting=len(left) - runs, refresh=False)
                bar.update(len(names) - len(left) - bar.n)
                time.sleep(queue.pause if left else 0)
    finally:
        queue.end()


def _check(queue: "Local | Slurm", name: str, asked: int) -> None:
    """Of a job that is neither done nor under way. Raises InputError where another try is of no use."""
    began, error = _told(queue.folder, name)
    if error.exists():
        raise InputError(f"{name}: {error.read_text(encoding='utf-8')}")
    begun = began.stat().st_size if began.exists() else 0
    if begun > AGAIN:
        raise InputError(f"{name} began {begun} times and left no records: see {queue.log(name)}")
    if asked > AGAIN and not begun:
        raise InputError(f"{name} has written nothing in {queue.folder}: is it on every node? See {queue.log(name)}")


def work(file: str, name: str) -> None:
    """One job of Slurm's, on each of its machines."""
    if int(os.environ.get("SLURM_NNODES", "1")) > 1:
        from submitit import JobEnvironment

        port = 20_000 + int(os.environ["SLURM_JOB_ID"]) % 12_000  # outgoing connections have theirs from 32,768 up
        os.environ |= {"MASTER_ADDR": JobEnvironment().hostnames[0], "MASTER_PORT": str(port)}
    _job(Path(file))(name)


def machine() -> int:
    """Which of its job's machines this is. The first, 0, writes; it may be a while until others see that."""
    return int(os.environ.get("SLURM_NODEID", "0"))


def _work(task: Callable[[str], None], done: Callable[[str], bool], folder: Path, name: str) -> None:
    """What is wrong with its input is written down for the run that waits."""
    if done(name):
        return
    began, wrong = _told(folder, name)
    with began.open("a") as file:
        file.write("." * (machine() == 0))
    try:
        task(name)
    except Lost:
        raise
    except InputError as error:
        write_text(wrong, str(error))


class Local:
    """Processes of this machine, job after job in each. They end with the run; those of one that was killed go on."""

    pause = 0.5  # seconds between two looks at what is under way

    def __init__(self, folder: Path, gpus: int, most: int):
        """`most` processes on a CPU, which share its cores; on GPUs one to each `gpus` of them."""
        import torch  # which takes seconds, that a job begins without

        from shared.cores import cores

        here = torch.cuda.device_count() if torch.cuda.is_available() else 0
        visible, each = os.environ.get("CUDA_VISIBLE_DEVICES"), max(1, gpus)
        devices = visible.split(",") if visible else [*map(str, range(here))]
        taken = [devices[at : at + each] for at in range(0, here - each + 1, each)]
        threads = [{"OMP_NUM_THREADS": str(max(1, cores() // most))}] * most
        self.places = [{"CUDA_VISIBLE_DEVICES": ",".join(some)} for some in taken] or threads
        self.folder = folder
        self.mine: dict[int, subprocess.Popen] = {}  # by place

    def going(self, names: list[str]) -> dict[str, bool]:
        """Of these jobs, those under way; all of them run."""
        return {name: True for name in names if _held(self.folder, name)}

    def start(self, file: Path, names: list[str]) -> list[str]:
        """Processes where there is room, for as many of these as there are; which begin with different ones."""
        free = [i for i, process in self.mine.items() if process.poll() is not None]
        free += [i for i in range(len(self.places)) if i not in self.mine and not _held(self.folder, i)]
        for n, place in enumerate(free[: len(names)]):
            how = [sys.executable, "-m", "real.arms.jobs", str(file), str(place), *names[n:], *names[:n]]
            env = {**os.environ, **self.places[place], "PYTHONPATH": _path()}
            with self.log("").open("ab") as log:
                self.mine[place] = subprocess.Popen(how, stdout=log, stderr=log, env=env, start_new_session=True)
        return names[: len(free)]

    def end(self) -> None:
        for process in self.mine.values():
            process.terminate()

    def log(self, name: str) -> Path:
        return self.folder / "local.log"


class Slurm:
    """Slurm's queue, by submitit. `how` is "partition=gpu,timeout_min=240": submitit's names, without its slurm_.

    Raises InputError without submitit or Slurm, or for what they refuse. Its jobs go on when the run ends, and the next
    one finds them.
    """

    pause = 3.0

    def __init__(self, folder: Path, how: str, nodes: int):
        try:
            import submitit
        except ImportError:
            raise InputError("CLUSTER=slurm needs submitit: pip install -r requirements-cluster.txt") from None
        self.folder, self.known = folder, folder / "submitted.json"
        self.ids: dict[str, str] = read_json(self.known) if self.known.exists() else {}
        words = (word.partition("=") for word in how.split(",") if word)
        given = {f"slurm_{key}": int(text) if text.isdigit() else text for key, _, text in words}
        usual = {"name": "spillover", "timeout_min": 240}  # submitit's own five minutes are soon over
        usual |= {"nodes": nodes, "slurm_setup": [f"export PYTHONPATH={shlex.quote(_path())}"]}
        usual |= {"slurm_srun_args": ["--kill-on-bad-exit"]}  # or the other machines wait for one that has failed
        try:
            self.executor = submitit.AutoExecutor(folder / "slurm", cluster="slurm")
            self.executor.update_parameters(**usual, **given)
        except (RuntimeError, ValueError, NameError, TypeError) as error:
            raise InputError(f"SLURM={how}: {' '.join(str(error).split())}") from None

    def end(self) -> None:
        pass

    def going(self, names: list[str]) -> dict[str, bool]:
        """Of these jobs, those in Slurm's queue, and which run; all that were, while it does not answer."""
        done = subprocess.run(["squeue", "--me", "-h", "-r", "-o", "%i %T"], capture_output=True, text=True)
        if done.returncode:
            return {name: False for name in names if name in self.ids}
        states = dict(line.split() for line in done.stdout.splitlines())
        return {name: states[self.ids[name]] != "PENDING" for name in names if self.ids.get(name) in states}

    def start(self, file: Path, names: list[str]) -> list[str]:
        """All of these, as one array."""
        from submitit.helpers import clean_env

        where = {key: os.environ[key] for key in ("SLURM_CONF",) if key in os.environ}
        try:
            with clean_env():  # a run may be a job itself
                os.environ.update(where)
                jobs = self.executor.map_array(work, [str(file)] * len(names), names)
        except RuntimeError as error:
            raise InputError(f"Slurm: {' '.join(str(error).split())}") from None
        self.ids |= {name: job.job_id for name, job in zip(names, jobs, strict=True)}
        write_json(self.known, self.ids)
        return names

    def log(self, name: str) -> Path:
        return self.folder / "slurm" / f"{self.ids[name]}_0_log.err"


def at_work(folder: Path) -> bool:
    """Whether a job of a run before may be: one of this machine, or any that Slurm was given."""
    return (folder / "submitted.json").exists() or any(_held(folder, path.stem) for path in folder.glob("*.lock"))


def _told(folder: Path, name: str) -> tuple[Path, Path]:
    """The files in which a job has a point for each of its beginnings, and what was wrong."""
    return folder / f"{name}.began", folder / f"{name}.error"


def _held(folder: Path, of: str | int) -> bool:
    """Whether the process lives that took this job, or place."""
    with suppress(Timeout), FileLock(folder / f"{of}.lock", blocking=False):
        return False
    return True


def _path() -> str:
    """Where a job's Python finds us, wherever it starts."""
    return os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))


def _job(file: Path) -> Callable[[str], None]:
    gc.set_threshold(700, 10, 1000)  # as the run has it
    return pickle.loads(file.read_bytes())  # runs code: the run's own, as submitit's pickles are


def _serve(file: Path, place: str, names: list[str]) -> None:
    """A process of Local: these jobs, one after the other, but for those that others are at."""
    with FileLock(file.with_name(f"{place}.lock")):
        job = _job(file)
        for name in names:
            with suppress(Timeout), FileLock(file.with_name(f"{name}.lock"), timeout=Local.pause):
                job(name)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
