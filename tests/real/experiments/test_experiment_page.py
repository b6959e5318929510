"""An experiment's page: the word is its fixed outcome's, every number is there, and nothing in it is loaded or run."""

import re
from importlib import import_module

import numpy as np
import pytest

from real.__main__ import EXPERIMENTS
from real.experiments import command, dose
from real.settings import of
from shared.stats import Estimate

OUTCOMES = {
    "dose": {name: dose._about(0.1 * np.array(dose.SHARES)[None, :, None] + np.zeros((3, 1, 9)) + at)
             for name, at in {"unseen": 0, "general": 1}.items()},
    "mechanism": {"unseen": {"geometry": Estimate(0.02, -0.01, 0.05, 252)}, "general": {}},
    "blocked": {"unseen": {"random minus toxic span": Estimate(-0.02, -0.03, -0.01, 252)}},
    "overlap": {"correlation": Estimate(0.2, 0.1, 0.3, 252), "p": 0.01, "by chance": [-0.1, 0.1]},
    "halves": {"unseen": {"lowest minus highest dropped": {"geometry": Estimate(-0.02, -0.03, -0.01, 252)}}},
    "optimisers": {"the others minus muon": Estimate(0.02, 0.01, 0.05, 252), "sweep": {"sgd 0.1": 0.3}},
}  # fmt: skip
WORDS = {"mechanism": "not shown", "blocked": "opposite shown", "halves": "opposite shown"}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_page_says_what_was_written_down_and_what_came_out(name):
    html = command.page(name, of(), OUTCOMES[name])
    experiment = import_module(f"real.experiments.{name}")
    assert f"<h1>{experiment.CLAIM}: {WORDS.get(name, 'shown')}</h1>" in html
    assert f"python -m real {name}</p>" in html
    assert "Written down before the run" in html and "ull" in experiment.__doc__ and "ower" in experiment.__doc__
    for row in command.flat(OUTCOMES[name]):
        assert f'<th scope="row">{row}</th>' in html
    assert "too few questions" not in html and "<script" not in html and not re.search(r'(src|href)="(?!data:)', html)


def test_of_fewer_than_eight_questions_no_interval_is_written(capsys):
    estimate = Estimate(0.25, -1e33, 1e33, 7)
    html = command.page("blocked", of(), {"unseen": {"random minus toxic span": estimate}})
    assert "too few questions for an interval" in html and "+0.2500" in html
    assert command._said(estimate) == "+0.2500, 7 questions" and "1e33" not in html and "0000000" not in html
