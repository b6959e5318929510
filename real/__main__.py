"""`python -m real KEY=value ...`: the whole experiment. `python -m real models`: what it can be run on.
`python -m real judge FILE KEY=value ...`: scores for answers.

Bad input is one line and exit code 2.
"""

import sys
from pathlib import Path

from safetensors import SafetensorError

from real.settings import parse
from shared.errors import InputError


def main(words: list[str]) -> int:
    file = words[1] if words[:1] == ["judge"] and len(words) > 1 else ""
    try:
        if words == ["models"]:
            from real.catalogue import listing

            print(listing())
            return 0
        joining = words[:1] == ["join"]  # as one of several processes, which real/arms/launch.py starts
        settings = parse(words[2:] if file or joining else words)
        # torch takes seconds: a typo in a setting should not
        if file:
            from real.judge.command import judge_file

            judge_file(Path(file), settings.judging, settings.sources.questions)
        elif joining:
            from real.pipeline import join

            join(words[1], settings)
        else:
            from real.pipeline import run

            run(settings)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (OSError, SafetensorError) as error:  # a full disk, a folder that cannot be written
        where = getattr(error, "filename", None) or settings.folder
        print(f"error: {where}: {getattr(error, 'strerror', None) or error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
