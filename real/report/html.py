"""Small helpers that write HTML. What they did not make themselves is escaped: model output is untrusted."""

from base64 import b64encode
from html import escape

STYLE = """
:root { color-scheme: light dark; --ink: #1d2126; --dim: #5b6570; --line: #dfe3e8; --page: #fff;
  --card: #f6f7f9; --mark: #ffe28a; --good: #00694d; --open: #6b5200; --bad: #a83a00 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8eb; --dim: #a3adb8; --line: #363d45; --page: #15181c;
    --card: #1e2328; --mark: #6b5200; --good: #4fcfa5; --open: #e3bd55; --bad: #ff9a66 } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 2rem 1rem 4rem; max-width: 68rem; background: var(--page); color: var(--ink);
  font: 1rem/1.55 system-ui, sans-serif; overflow-wrap: break-word }
h1 { font-size: clamp(1.5rem, 5vw, 2.1rem); line-height: 1.2; margin: 0 0 .3rem }
h2 { font-size: 1.3rem; margin: 3rem 0 .8rem; padding-top: .6rem; border-top: 1px solid var(--line) }
p, figcaption { max-width: 46rem }
header p, figcaption, caption, .dim { color: var(--dim) }
.verdicts { list-style: none; margin: 0; padding: 0; display: grid; gap: .8rem }
.verdicts > li { padding: .8rem 1rem; background: var(--card); border-left: .3rem solid var(--word) }
.verdicts h3 { margin: 0; font-size: 1.02rem; display: flex; flex-wrap: wrap; gap: .1rem .8rem;
  justify-content: space-between }
.verdicts ul { margin: .3rem 0 0; padding-left: 1.1rem; font-size: .92rem; color: var(--dim) }
.shown { --word: var(--good) } .not-shown { --word: var(--open) } .opposite-shown { --word: var(--bad) }
.word { color: var(--word); white-space: nowrap }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; margin-top: 1rem; font-size: .92rem }
a { color: inherit; text-underline-offset: .2em }
.cards { display: grid; gap: .8rem; margin: .6rem 0 1.2rem;
  grid-template-columns: repeat(auto-fill, minmax(min(18rem, 100%), 1fr)) }
.cards > div { padding: .7rem .9rem; background: var(--card); font-size: .9rem; min-width: 0 }
.cards h4 { margin: 0 0 .3rem } .cards p { margin: .3rem 0; overflow-wrap: anywhere }
mark { background: var(--mark); color: inherit; border-radius: .15rem; padding: 0 .1em }
code, dd, .said { unicode-bidi: isolate } .tokens code { background: var(--page); padding: .05rem .3rem;
  margin-right: .25rem; display: inline-block }
figure { margin: 1.5rem 0 2rem }
.scroll { overflow-x: auto; margin: 1rem 0 }
:focus-visible { outline: 2px solid var(--good); outline-offset: 2px }
img { display: block; width: 100%; min-width: 40rem; height: auto; padding: .5rem; background: #fff;
  border-radius: .3rem }
table { border-collapse: collapse; min-width: min(46rem, 100%); font-size: .86rem;
  font-variant-numeric: tabular-nums }
caption { text-align: left; padding-bottom: .4rem; max-width: min(46rem, 100vw - 2rem) }
th, td { padding: .35rem .8rem .35rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line) }
th { font-weight: 600 } th, td { white-space: nowrap }
tbody th { position: sticky; left: 0; background: var(--page) }
details { border-bottom: 1px solid var(--line) } summary { padding: .5rem 0; cursor: pointer }
dl { margin: 0 0 1rem } dt { font-weight: 600 } dd { margin: 0 0 .8rem; white-space: pre-wrap }
code { font: .88em ui-monospace, monospace; overflow-wrap: anywhere }
@media (max-width: 40rem) { tbody th { white-space: normal; max-width: 38vw } }
@media print {
  :root { font-size: 9.5pt } body { max-width: none; padding: 0 } img { min-width: 0 } .scroll { overflow: visible }
  nav { display: none }
  figure, .verdicts > li, .cards > div, tr { break-inside: avoid } h2, h3, caption, summary, dt { break-after: avoid }
  table { font-size: 7.5pt } th, td { white-space: normal }
  details::details-content { content-visibility: visible } }
"""


class Html(str):
    """Text that is markup already."""


def tag(name: str, *children: str, **attributes: str) -> Html:
    """<name>children</name>; a plain `str` among the children is escaped. `class_` is the attribute class."""
    inner = "".join(child if isinstance(child, Html) else escape(child) for child in children)
    return Html(f"<{name}{_attributes(attributes)}>{inner}</{name}>")


def image(png: bytes, alt: str) -> Html:
    source = "data:image/png;base64," + b64encode(png).decode()
    return scroll(Html(f"<img{_attributes({'src': source, 'alt': alt})}>"), alt)


def scroll(child: Html, label: str) -> Html:
    """A box of its own for what may be wider than a phone; reachable by keyboard."""
    return tag("div", child, class_="scroll", tabindex="0", role="region", aria_label=label)


def table(caption: str, head: list[str], rows: list[list[str]]) -> Html:
    """The first cell of a row is its heading."""
    top = tag("tr", *(tag("th", cell, scope="col") for cell in head))
    body = [tag("tr", tag("th", row[0], scope="row"), *(tag("td", cell) for cell in row[1:])) for row in rows]
    inner = tag("table", tag("caption", caption), tag("thead", top), tag("tbody", *body))
    return scroll(inner, caption)


def folded(title: str, *children: str) -> Html:
    """Behind one line, to be opened; in print it is open."""
    return tag("details", tag("summary", title), *children)


def section(title: str, *children: str) -> Html:
    return tag("section", tag("h2", title), *children, id=_anchor(title))


def contents(titles: list[str]) -> Html:
    """Links to sections."""
    return tag("nav", *(tag("a", title, href="#" + _anchor(title)) for title in titles))


def page(title: str, *children: str) -> str:
    """Its policy forbids the browser to load or run anything, whatever the text in it says."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    head = (
        f'<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>"
    )
    return f'<!doctype html>\n<html lang="en">\n<head>\n{head}\n</head>\n{tag("body", *children)}\n</html>\n'


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _attributes(attributes: dict[str, str]) -> str:
    return "".join(f' {k.rstrip("_").replace("_", "-")}="{escape(v)}"' for k, v in attributes.items())
