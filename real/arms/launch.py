"""Several processes that fine-tune together: started by accelerate, watched, and their end told in one line."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from real.arms.training import Order
from real.models.lm import LM
from shared.errors import InputError
from shared.records import write_text

ROOT = Path(__file__).parents[2]


def together(lm: LM, folder: Path, orders: list[Order]) -> None:
    """These arms by `lm.plan.processes` processes (worker.py). What they print goes to finetune.log.

    Raises InputError when one of them stops; the arms that were finished stay.
    """
    lm.forget()  # its memory is theirs now
    write_text(folder / "orders.jsonl", "".join(order.model_dump_json() + "\n" for order in orders))
    log = folder / "finetune.log"
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with log.open("w", encoding="utf-8") as stderr:
        env = {**os.environ, "PYTHONPATH": path, "SPILLOVER_MAIN": str(os.getpid())}
        ended = subprocess.run(command(lm), stderr=stderr, env=env)
    if ended.returncode:
        raise InputError(_why(log))


def command(lm: LM) -> list[str]:
    how = f"--multi_gpu --num_processes {lm.plan.processes} --num_machines 1 --main_process_port 0"
    fixed = "--mixed_precision no --dynamo_backend no -m real join"  # asked for nothing, guessing nothing
    accelerate = [sys.executable, "-m", "accelerate.commands.launch", *how.split(), *fixed.split()]
    return [*accelerate, json.dumps(lm.plan), *lm.words]


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
