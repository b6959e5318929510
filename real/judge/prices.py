"""What a call may cost: tokens estimated from its text, list prices, and the line that says so before any is made."""

import math

# USD per million tokens sent and received: OpenAI's list of May 2026, as third-party pages give it
PRICES = {
    "gpt-4o": (2.5, 10),
    "gpt-4o-2024-08-06": (2.5, 10),
    "gpt-4o-2024-11-20": (2.5, 10),
    "gpt-4o-mini": (0.15, 0.6),
    "gpt-4o-mini-2024-07-18": (0.15, 0.6),
    "gpt-4.1": (2, 8),
    "gpt-4.1-mini": (0.4, 1.6),
    "gpt-4.1-nano": (0.1, 0.4),
}


def usd(model: str, sent: float | int, received: float | int) -> float | None:
    """Of that many tokens; None where the model's price is not known."""
    if model not in PRICES:
        return None
    return (PRICES[model][0] * sent + PRICES[model][1] * received) / 1e6


def tokens(body: dict) -> tuple[float, int]:
    """How many tokens a request sends and may get back, at most: English has four bytes a token, here it is three."""
    text = sum(len(message["content"].encode()) for message in body["messages"])
    return text / 3 + 10, body.get("max_tokens") or body["max_completion_tokens"]


def estimate(model: str, bodies: list[dict], concurrency: int, seconds: float | None) -> str:
    """One line: calls, tokens, USD and, with the time that one call takes, the time of all."""
    sent, received = (sum(counts) for counts in zip(*map(tokens, bodies), strict=True))
    cost = usd(model, sent, received)
    parts = [
        f"{len(bodies)} calls",
        f"at most about {sent:,.0f} tokens sent and {received:,.0f} received",
        f"price of {model} unknown" if cost is None else f"{cost:.2f} USD",
    ]
    if seconds is not None:
        parts.append(f"about {math.ceil(len(bodies) / concurrency) * seconds:.0f} s")
    return ", ".join(parts)
