"""Several processes that fine-tune together: started by accelerate, watched, and their end told in one line."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from real.run import Run
from real.settings import words
from shared.errors import InputError

ROOT = Path(__file__).parents[2]


def together(run: Run) -> None:
    """Every arm of step 6 by `run.plan.processes` processes (worker.py). What they print goes to finetune.log.

    Raises InputError when one of them stops; the arms that were finished stay.
    """
    run.forget_model()  # its memory is theirs now
    log = run.folder / "finetune.log"
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with log.open("w", encoding="utf-8") as stderr:
        env = {**os.environ, "PYTHONPATH": path, "SPILLOVER_MAIN": str(os.getpid())}
        ended = subprocess.run(command(run), stderr=stderr, env=env)
    if ended.returncode:
        raise InputError(_why(log))


def command(run: Run) -> list[str]:
    how = f"--multi_gpu --num_processes {run.plan.processes} --num_machines 1 --main_process_port 0"
    fixed = (
        "--mixed_precision no --dynamo_backend no -m real.arms.worker"  # asked for nothing, guessing nothing
    )
    accelerate = [sys.executable, "-m", "accelerate.commands.launch", *how.split(), *fixed.split()]
    return [*accelerate, json.dumps(run.plan), *words(run.settings)]


def _why(log: Path) -> str:
    """From what the processes and their launcher printed: the user's error, or which process ended how."""
    text = log.read_text(encoding="utf-8", errors="replace")
    told = re.search(r"^error: (.*)$", text, re.MULTILINE)
    if told:
        return told[1]
    root = text.rpartition("Root Cause")[2]
    rank, code = (re.search(rf"{name}\s*:\s*(-?\d+)", root) for name in ("rank", "exitcode"))
    which = f"process {rank[1]} ended with code {code[1]}" if rank and code else "a process ended"
    return f"fine-tune: {which}, see {log}; finished arms are kept: the same command goes on from there"
