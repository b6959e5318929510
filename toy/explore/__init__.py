"""The page to play with: its sources lie beside this file, and `page` puts them into one that works from disk, offline.

law.js       the law, by the names of toy/law.py        draw.js      arrows that can be moved, the scatter
steps.js     real optimiser steps                       page.js      the one world, predictions, what is said aloud
model.js     the toy model and its training             panels.js, training.js   the five panels
"""

import re
from pathlib import Path

HERE = Path(__file__).parent
STYLE, SCRIPT = r'<link rel="stylesheet" href="([\w.]+)">', r'<script src="([\w.]+)"></script>'


def page() -> str:
    """explore.html with its style sheet and scripts written into it: nothing is left to be asked for."""
    html = re.sub(STYLE, lambda found: f"<style>\n{_read(found[1])}</style>", _read("explore.html"))
    return re.sub(SCRIPT, lambda found: f"<script>\n{_read(found[1])}</script>", html)


def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
