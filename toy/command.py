"""What the commands of toy/ share: one optional FOLDER, tried before any work; one line for what the user can mend."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from shared.errors import InputError


def command(argv: list[str], module: str, default: str, work: Callable[[Path], None]) -> int:
    """`python -m MODULE [FOLDER]`. The exit status: 2, after one line, for what the user can mend; 130 for Ctrl-C."""
    try:
        if len(argv) > 1 or any(arg.startswith("-") or "=" in arg for arg in argv):
            raise InputError(f"usage: python -m {module} [FOLDER]; it has no settings")
        work(Path(argv[0] if argv else default))
    except InputError as error:
        print(f"toy: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("toy: stopped", file=sys.stderr)
        return 130
    return 0


def ready(out: Path) -> None:
    """Makes the folder and tries it, before the work and not only after it. InputError as in `writing`."""
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=out).close()


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """InputError for a folder that cannot be written to."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write to {out}: {error.strerror}; try another: python -m toy FOLDER") from error
