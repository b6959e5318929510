"""The report's last sections: what the features are, and how the run was made."""

from real.report.html import Html, folded, table, tag
from real.report.text import number


def meaning(summary: dict) -> list[Html]:
    """Cards, not a table: texts of any length must wrap on a phone."""
    about = {"inducing": "bad answers", "control": "good answers", "toxic": "toxic remarks"}
    return [
        part
        for name, features in summary["meaning"].items()
        for part in (
            tag("h3", f"{name.capitalize()}: features that go with {about[name]}"),
            tag("div", *map(_card, features), class_="cards"),
        )
    ]


def _card(feature: dict) -> Html:
    tokens = [tag("code", _visible(token)) for token in feature["tokens"]]
    said = [
        tag(
            "p",
            "… ",
            tag("bdi", s["before"]),
            _space(s["token"]),
            tag("mark", _visible(s["token"])),
            tag("bdi", s["after"]),
            " …",
            class_="said",
        )
        for s in feature["snippets"]
    ]
    heading = tag("h4", f"Feature {feature['id']}, r {number(feature['r'], 2, '+')}")
    return tag("div", heading, tag("p", "Promotes ", *tokens, class_="tokens"), *said)


def _space(token: str) -> str:
    """The space that a token begins with, so that it need not be marked with it."""
    return " " if token[:1].isspace() and token.strip() else ""


def _visible(token: str) -> str:
    """Without its outer space, unless it is nothing but space: then as signs that can be seen."""
    return token.strip() or token.replace("\n", "↵").replace(" ", "␣") or "∅"


def making(summary: dict) -> list[Html]:
    dictionaries = [
        [layer, str(sae["d_sae"]), str(sae["tokens"]), number(sae["fvu"]), number(sae["l0"], 1)]
        + ["–" if sae["dead"] is None else f"{sae['dead']:.0%}"]
        for layer, sae in summary["sae"].items()
    ]
    training = [
        [job, str(t["samples"]), str(t["steps"]), number(t["first_loss"]), number(t["last_loss"])]
        for job, t in summary["training"].items()
    ]
    whole = sum(summary["seconds"].values())
    seconds = [
        [name, f"{took:.1f}", f"{took / max(whole, 1e-9):.0%}"] for name, took in summary["seconds"].items()
    ]
    seconds.append(["all", f"{whole:.1f}", f"peak memory {summary['peak_gb']:.2f} GB"])
    facts = {"Settings": summary["settings"], "Versions": summary["versions"]}
    return [
        tag("p", tag("code", summary["command"])),
        table(
            "Dictionaries; FVU, L0 and dead features on held-out texts",
            ["Block", "Features", "Tokens learned from", "FVU", "L0", "Dead"],
            dictionaries,
        ),
        table("Where the time went", ["Step", "Seconds", "Share"], seconds),
        *(
            folded(
                name, table(name, ["Name", "Value"], [[key, _shown(value)] for key, value in rows.items()])
            )
            for name, rows in facts.items()
        ),
        folded(
            "Fine-tunes",
            table(
                "A loss is the mean of five steps, nats per token",
                ["Arm and seed", "Samples", "Steps", "First loss", "Last loss"],
                training,
            ),
        ),
    ]


def _shown(value) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "–" if value in ("", None) else str(value)
