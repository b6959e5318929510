"""Wrong answers that students of lesson 2 give, and a word of what the check has to say about each."""

import torch

TURN = torch.arange(5) * 2 * torch.pi / 5 + 0.3
PENTAGON = torch.stack([TURN.cos(), TURN.sin()], dim=1)

WRONG = {
    "2_1": {
        "own term left out": (
            lambda W: (
                W.norm(dim=1) ** 2 / ((W @ W.T / W.norm(dim=1)[:, None]) ** 2 - torch.diag(W.norm(dim=1) ** 2)).sum(1)
            ),
            "own term",
        ),
        "no hat": (lambda W: W.norm(dim=1) ** 2 / ((W @ W.T) ** 2).sum(1), "the hat"),
        "two hats": (
            lambda W: W.norm(dim=1) ** 2 / ((W @ W.T / W.norm(dim=1) / W.norm(dim=1)[:, None]) ** 2).sum(1),
            "keeps its length",
        ),
        "no square": (lambda W: W.norm(dim=1) ** 2 / (W @ W.T / W.norm(dim=1)[:, None]).sum(1), "square inside"),
        "other index": (lambda W: W.norm(dim=1) ** 2 / ((W @ W.T / W.norm(dim=1)) ** 2).sum(1), "wrong index"),
    },
    "2_2": {
        "mean forgotten": (lambda p: p / 3, "mean is forgotten"),
        "always on": (lambda p: 1 / 12, "always on"),
        "mean not squared": (lambda p: p / 3 - p / 4, "its square has p^2"),
        "answers 1/2": (lambda p: p * (1 / 3 - 1 / 4) + (1 - p) * 0.25, "all samples"),
    },
    "2_3": {
        "importance forgotten": (lambda p, importance: p**2 / 3, "importance is forgotten"),
        "p, not p^2": (lambda p, importance: (1 + importance) * p / 6, "p^2, not p"),
        "not squared": (lambda p, importance: (1 + importance) * p**2 / 3, "its square, 1/6"),
        "one output": (lambda p, importance: p**2 / 6, "you counted one"),
    },
    "2_4": {
        "by hand": (0.45, "two fixed solutions"),
        "no bias": (0.46, "b stayed at 0"),
        "fixed arrows": (0.47, "W stayed"),
        "equal importance": (1.0, "equal importance"),
        "ignoring not weighed": (0.51, "weighed by the importance"),
        "the last that shares": (0.48, "the last at which it pays"),
        "too far": (0.6, "not yet"),
    },
    "2_5": {
        "a turned pentagon": (PENTAGON, "still a pentagon"),
        "uneven": (torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1], [0, -1]]), "not all shares are 2/5"),
        "lengths": (2 * PENTAGON, "length 1"),
        "transposed": (PENTAGON.T, "5 by 2"),
    },
}
