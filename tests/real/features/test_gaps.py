"""What untrained dictionaries give: the interval that a trained one's gap must lie beyond."""

import numpy as np

from real.features.gaps import UNTRAINED, predicted


def test_where_95_percent_of_untrained_gaps_lie_is_where_a_sixth_falls():
    """From five normal values, 4000 times: the next is inside 95 % of the times, to four standard errors."""
    drawn = np.random.default_rng(0).normal(3, 2, size=(4000, UNTRAINED + 1))
    found = [predicted(row[:-1].tolist()) for row in drawn]
    inside = np.mean([e.low <= row[-1] <= e.high for e, row in zip(found, drawn, strict=True)])
    assert abs(inside - 0.95) < 4 * (0.95 * 0.05 / 4000) ** 0.5
    assert found[0].n == UNTRAINED and found[0].low < found[0].value < found[0].high
