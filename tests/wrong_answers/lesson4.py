"""Wrong answers that students of lesson 4 give, and a word of what the check has to say about each."""

import torch


def summed(W, g, x, probes, eta):
    return -eta * torch.einsum("sd,jd,si,pi->pj", g, W, x, probes)


WRONG = {
    "4_1": {
        "cosine": (lambda x, q: x @ q / x.norm() / q.norm(), "a cosine"),
        "other square": (lambda x, q: x @ q / (q**2).sum(), "not of the probe"),
        "overlap": (lambda x, q: x @ q, "that is the overlap"),
        "counted": (lambda x, q: ((x * q) != 0).sum() / (x != 0).sum(), "their values matter"),
    },
    "4_2": {
        "mean forgotten": (summed, "mean is forgotten"),
        "sign": (lambda W, g, x, q, eta: -summed(W, g, x, q, eta) / len(x), "sign is flipped"),
        "eta": (lambda W, g, x, q, eta: summed(W, g, x, q, 1) / len(x), "eta is forgotten"),
        "no inputs": (lambda W, g, x, q, eta: (-eta * W @ g.mean(0)).repeat(len(q), 1), "overlap of inputs is missing"),
        "means apart": (
            lambda W, g, x, q, eta: -eta * torch.outer(q @ x.mean(0), W @ g.mean(0)),
            "averaged g and x apart",
        ),
        "cosines": (
            lambda W, g, x, q, eta: summed(
                W, g, x / x.norm(dim=1, keepdim=True), q / q.norm(dim=1, keepdim=True), eta / len(x)
            ),
            "cosines of inputs",
        ),
        "transposed": (lambda W, g, x, q, eta: summed(W, g, x, q, eta).T / len(x), "transposed"),
    },
    "4_3": {
        "no bias": (lambda W, g, x, q, eta: summed(W, g, x, q, eta) / len(x), "without the bias"),
        "bias alone": (lambda W, g, x, q, eta: (-eta * W @ g.mean(0)).repeat(len(q), 1), "bias alone"),
        "sum in the bias": (
            lambda W, g, x, q, eta: summed(W, g, x, q, eta) / len(x) - eta * W @ g.sum(0),
            "forgotten in the bias",
        ),
        "1 outside": (lambda W, g, x, q, eta: summed(W, g, x, q, eta) / len(x) + 1, "in the brackets"),
        "sign of the bias": (
            lambda W, g, x, q, eta: summed(W, g, x, q, eta) / len(x) + eta * W @ g.mean(0),
            "its sign is flipped",
        ),
    },
    "4_4": {
        "measured": (lambda f, theta, step: f(theta + step) - f(theta), "measured at the new place"),
        "slope at the end": (
            lambda f, theta, step: torch.func.jvp(f, (theta + step,), (step,))[1],
            "slope at the new place",
        ),
        "the pair": (lambda f, theta, step: torch.func.jvp(f, (theta,), (step,)), "return that alone"),
        "value": (lambda f, theta, step: torch.func.jvp(f, (theta,), (step,))[0], "value first"),
        "sign": (lambda f, theta, step: torch.func.jvp(f, (theta,), (-step,))[1], "sign is flipped"),
        "gradient of the sum": (lambda f, theta, step: torch.func.grad(lambda at: f(at).sum())(theta) * step, "shape"),
    },
    "4_5": {
        "mean square": (lambda p: (p**2 / 3) / (p / 3), "square of the mean"),
        "overlap": (lambda p: (p / 2) ** 2, "divide by that of one with itself"),
        "always on": (lambda p: 0.25 / (1 / 3), "both as on"),
        "upside down": (lambda p: (p / 3) / (p / 2) ** 2, "upside down"),
    },
}
