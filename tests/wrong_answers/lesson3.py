"""Wrong answers that students of lesson 3 give, and a word of what the check has to say about each."""

import torch


def relu(x):
    return x.clamp(min=0)


def more(W, t, k):
    """At right angles to d_k and against d_t, and far along what neither holds."""
    both = torch.linalg.qr(W[[k, t]].T).Q
    free = torch.linalg.svd(both.T).Vh[-1]
    return 5 * free - (W[t] - (W[t] @ W[k]) / (W[k] @ W[k]) * W[k])


WRONG = {
    "3_1": {
        "sign": (lambda W, t, eta: -eta * W @ W[t], "sign is flipped"),
        "eta": (lambda W, t, eta: W @ W[t], "eta is forgotten"),
        "cosine": (lambda W, t, eta: eta * W @ W[t] / W.norm(dim=1) / W[t].norm(), "cosines"),
        "unit push": (lambda W, t, eta: eta * W @ W[t] / W[t].norm(), "unit direction"),
        "one": (lambda W, t, eta: eta * W[t].norm() ** 2 * torch.eye(len(W))[t], "only feature t"),
    },
    "3_2": {
        "length factor": (lambda W, t: W @ W[t] / W.norm(dim=1) / W[t].norm(), "length factor is forgotten"),
        "upside down": (lambda W, t: W @ W[t] / W.norm(dim=1) ** 2, "upside down"),
        "changes": (lambda W, t: W @ W[t], "divide by the target's own"),
        "length, not squared": (lambda W, t: W @ W[t] / W[t].norm(), "square of the length"),
    },
    "3_3": {
        "readouts": (lambda W, b, h, t, eta: eta * W @ W[t], "change of the readouts"),
        "relu of the change": (lambda W, b, h, t, eta: relu(eta * W @ W[t]), "not the change of a ReLU"),
        "no bias": (lambda W, b, h, t, eta: relu(W @ (h + eta * W[t])) - relu(W @ h), "bias is forgotten"),
        "gate of before": (lambda W, b, h, t, eta: eta * W @ W[t] * (W @ h + b > 0), "on or off on the way"),
        "after": (lambda W, b, h, t, eta: relu(W @ (h + eta * W[t]) + b), "take away the one before"),
    },
    "3_4": {
        "plain": (lambda W, t, k: -W[t], "spares nobody"),
        "sign": (lambda W, t, k: W[t] - (W[t] @ W[k]) / (W[k] @ W[k]) * W[k], "sign is flipped"),
        "length factor": (lambda W, t, k: -(W[t] - (W[t] @ W[k]) * W[k]), "length factor is forgotten"),
        "other square": (lambda W, t, k: -(W[t] - (W[t] @ W[k]) / (W[t] @ W[t]) * W[k]), "|d_t|^2"),
        "spares t": (lambda W, t, k: -(W[k] - (W[k] @ W[t]) / (W[t] @ W[t]) * W[t]), "k that is to be spared"),
        "nothing": (lambda W, t, k: 0 * W[t], "nothing moves"),
        "length, not squared": (lambda W, t, k: -(W[t] - (W[t] @ W[k]) / W[k].norm() * W[k]), "still moves"),
        "more than a part": (more, "more than a part"),
    },
    "3_5": {
        "plain": (lambda W, t: W[t] / W[t].norm() ** 2, "plain step"),
        "least squares": (lambda W, t: torch.linalg.lstsq(W, torch.eye(len(W)).double()[t]).solution, "falls short"),
        "not scaled": (lambda W, t: torch.linalg.inv(W.T @ W - torch.outer(W[t], W[t])) @ W[t], "rises by exactly 1"),
    },
}
