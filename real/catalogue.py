"""`python -m real models`: what is known, what it is read with, and what of it fits this machine."""

from real.models import devices
from real.models.registry import KNOWN, TRAIN, fastest
from shared.errors import InputError


def listing() -> str:
    """One line per known model: billions of parameters, blocks, dictionaries, what adapters go on, weights, fit."""
    rows = [("MODEL", "params", "read at blocks", "adapters on", "dictionaries", "dtype", "weights", "fit here")]
    for name, known in KNOWN.items():
        spec, fits = fastest(known), "yes"
        params = f"{spec.shape.parameters / 1e9:.2f}B"
        read = f"{','.join(map(str, spec.layers))} of {spec.shape.layers}"
        adapted = f"{spec.first} up" + " (attention)" * ("up_proj" not in spec.targets)
        sae = "trained by the run" if spec.sae == TRAIN else spec.sae
        weights = f"{devices.held(spec, full=False) / 1e9:.1f} GB"
        try:
            devices.choose(spec, 1, False, 0)
        except InputError:
            fits = "no"
        rows.append((name, params, read, adapted, sae, spec.dtype, weights, fits))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    fit = "They fit one GPU, or the CPU, with room for a pass. MODEL may also be a folder or org/name of the hub,"
    return "\n".join([*lines, fit, "SAE=release:id with {layer} for the block (SAELens's table), or SAE=train."])
