"""What the paper's settings would take on GPUs of 80 GB: memory by real/costs.py, time by operations and bytes moved.

The speeds are assumptions, not measurements: `python tests/bench_gpu.py` on a GPU says what they are there.
"""

from real import costs, devices
from real.costs import SHAPES, Shape, Work
from real.filters import NAMES
from real.listing import aligned
from real.settings import PRESETS
from real.tokens import MAX_TOKENS
from shared.errors import InputError

MEMORY = 80e9
SPEED, BANDWIDTH = 0.4 * 989e12, 0.5 * 3.35e12  # an H100's, of which so much is assumed to be reached
STEP = 0.025  # seconds to a sampled token at least, whatever the model: so long Hugging Face's loop takes
PAPER = PRESETS["paper"]
TOKENS = 200  # of a sample that is read
ANSWERS, NEW = 8 * PAPER["samples"], 600  # of an arm; tokens of each
FILTERED = len(NAMES) + 1  # arms of one seed that are of half size: by every filter, and their control
ARMS = 3 + FILTERED / 2  # in arms of full size, of which there are three
SAID = 3 + FILTERED + 1  # models that answer: the arms and the base
TOGETHER = 100  # answers that are sampled in one batch


def table() -> str:
    """One line per model: GB on each of 1, 4, 8 GPUs (* with gradient checkpointing), hours for all arms of a seed."""
    head = [
        "MODEL",
        *(f"{what}, {n} GPU" for what in ("adapters", "FULL=1") for n in (1, 4, 8)),
        "hours, 1 GPU",
    ]
    rows = [head, *([name, *_memory(shape), _hours(shape)] for name, shape in SHAPES.items())]
    return "\n".join(
        [
            *aligned(rows, " | "),
            "PRESET=paper, bfloat16, 80 GB each: GB per GPU. By formula, at speeds assumed, not measured.",
        ]
    )


def _memory(shape: Shape) -> list[str]:
    return [_plan(shape, full, n) for full in (False, True) for n in (1, 4, 8)]


def _plan(shape: Shape, full: bool, gpus: int) -> str:
    work = Work(2, PAPER["batch"], PAPER["rank"], full, PAPER["first"], MAX_TOKENS)
    try:
        found = devices.plan(shape, work, "cuda", gpus, MEMORY)
    except InputError:
        return "no"
    return f"{max(found.training, found.reading / gpus) / 1e9:.0f}{'*' * found.checkpointing}"


def _hours(shape: Shape) -> str:
    """Training, adapters (twice the forward pass's operations; three times with checkpointing), and answers."""
    planned = _plan(shape, False, 1)
    if planned == "no":
        return "-"
    once = costs.operations(shape, TOKENS, shape.layers, TOKENS)
    train = ARMS * PAPER["train"] * once * (3 if planned.endswith("*") else 2) / SPEED
    token = max(STEP, 2 * shape.parameters / BANDWIDTH)
    answers = SAID * ANSWERS / TOGETHER * NEW * token
    return f"{(train + answers) / 3600:.1f}"
