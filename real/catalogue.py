"""`python -m real models`: what is known, what it is read with, and what of it fits this machine."""

from real.models import devices
from real.models.registry import KNOWN, TRAIN, ModelSpec, fastest
from shared.errors import InputError


def listing() -> str:
    """One line per known model: billions of parameters, blocks, dictionaries, what adapters go on, weights, fit."""
    head = ("MODEL", "params", "read at blocks", "adapters on", "dictionaries", "dtype", "weights", "fit here")
    rows = [head, *(_row(name, fastest(spec)) for name, spec in KNOWN.items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    fit = "They fit one GPU, or the CPU, with room for a pass. MODEL may also be a folder or org/name of the hub,"
    return "\n".join([*lines, fit, "SAE=release:id with {layer} for the block (SAELens's table), or SAE=train."])


def _row(name: str, spec: ModelSpec) -> tuple[str, ...]:
    shape, weights = spec.shape, devices.held(spec, full=False)
    try:
        devices.choose(spec, 1, False, 0)
        fits = "yes"
    except InputError:
        fits = "no"
    return (
        name,
        f"{shape.parameters / 1e9:.2f}B",
        f"{','.join(map(str, spec.layers))} of {spec.n_layers}",
        f"{spec.first} up" + " (attention)" * ("up_proj" not in spec.targets),
        "trained by the run" if spec.sae == TRAIN else spec.sae,
        spec.dtype,
        f"{weights / 1e9:.1f} GB",
        fits,
    )
