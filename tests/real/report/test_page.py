"""The report on a made-up summary: every figure draws, the page is safe and whole."""

import json
import re
from html import unescape
from html.parser import HTMLParser

import matplotlib
import pytest
from made_up import DOMAINS, STEPS, changed, made_up, moved, scored, so_far, without_bounds
from markupsafe import escape

from real.arms.arm import Arm
from real.report import figures, verdicts
from real.report.summary import render
from real.report.text import SPACE, arm_name

HOSTILE = '<script src="https://evil.example/x.js">alert(1)</script><img src=x onerror="alert(2)">\'"&\u202e'
IMAGES = ("gap", "effect", "leakage", "dynamics", "causes", "filters")


def written(summary: dict, text: str = "No.") -> str:
    return render(summary, dict.fromkeys(IMAGES, b"png"), {"base-0": [{"question": "Why?", "answer": text}]})


def draw(name: str, summary: dict) -> bytes:
    return figures.png(name, verdicts.titles(summary)[name], summary, moved())


def text_of(html: str) -> str:
    """What is read, white space aside."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def limits(html: str) -> list[str]:
    """The lines of the last section."""
    _, section = html.split('id="what-this-does-not-show"')
    return [text_of(line) for line in re.findall(r"<li>(.*?)</li>", section, re.DOTALL)]


@pytest.fixture(scope="module")
def summary() -> dict:
    return made_up()


@pytest.fixture(scope="module")
def hostile() -> str:
    return written(made_up(text=HOSTILE), HOSTILE)


def test_a_data_file_of_any_name_can_be_drawn():
    """Between two dollar signs matplotlib would read mathematics, and an underscore there is an error."""
    summary = made_up(domains=("cost$_$", "career"))
    for name in ("gap", "effect"):
        assert draw(name, summary).startswith(b"\x89PNG")


def test_text_of_the_model_comes_out_as_text(hostile):
    assert hostile.count(escape('<script src="https://evil.example')) == 1 + 3 * 6 * (1 + 3)
    assert unescape(hostile).count(HOSTILE) == hostile.count(escape(HOSTILE)) == 1 + 3 * 6 * (1 + 3)
    assert "<script" not in hostile and not re.search(r"<[^>]*\son\w+=", hostile)
    assert hostile.count("<img") == 6


def test_the_page_loads_nothing_but_itself(hostile):
    sources = re.findall(r'<[^>]*?\s(?:src|href)="([^"]{0,30})', hostile)
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in sources)
    assert "url(" not in hostile and "@import" not in hostile and "default-src 'none'" in hostile


def test_the_page_is_well_formed_and_its_links_lead_somewhere(hostile, summary):
    open_tags, anchors = [], set()

    class Balance(HTMLParser):
        def handle_starttag(self, name, attrs):
            anchors.update(value for key, value in attrs if key == "id")
            if name not in ("meta", "img"):
                open_tags.append(name)

        def handle_endtag(self, name):
            assert open_tags.pop() == name

    Balance().feed(hostile)
    assert open_tags == []
    assert set(re.findall(r'href="#([^"]*)"', hostile)) == anchors and len(anchors) == 13
    for verdict in summary["verdicts"].values():
        assert verdict["claim"] in hostile and f'<span class="word">{verdict["word"]}</span>' in hostile


FORMS = {
    "one block, one domain": made_up(layers=("20",), domains=("health",)),
    "many": made_up(("4", "8", "12", "16"), ("bad_medical_advice", *DOMAINS), seeds=(0, 1, 2)),
    "sweep": made_up(removed=(0.5, 0.25, 0.125)),
    "a filter without a colour": json.loads(json.dumps(made_up(removed=(0.5, 0.25))).replace("projection", "echo")),
    "no number is known": without_bounds(made_up(removed=(0.5, 0.25))),
    "judged": scored(made_up(removed=(0.5, 0.25))),
    "judged, no number is known": without_bounds(scored(made_up(removed=(0.5, 0.25)), failed="no key")),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_run_is_drawn_and_written(form):
    drawn = {name: draw(name, FORMS[form]) for name in verdicts.titles(FORMS[form])}
    swept = form not in ("one block, one domain", "many")
    more = [*(["judged"] if form.startswith("judged") else []), *(["sweep"] if swept else [])]
    assert set(drawn) == {*IMAGES, *more}
    assert all(png.startswith(b"\x89PNG") for png in drawn.values())
    html = render(FORMS[form], dict.fromkeys(drawn, b"png"), {})
    assert html.count("<img") == len(drawn) and "None" not in html and "nan" not in html
    assert ("at every removed share" in html) == swept


def test_a_sweep_goes_from_the_smallest_removed_share_to_the_largest():
    """Lines and rows, though the settings name the main share, 0.5, first."""
    fig = figures.sweep("", FORMS["sweep"])
    lines = [line.get_xdata() for line in fig.axes[0].lines if len(line.get_xdata()) == 3]
    assert len(lines) == 5 and all(list(x) == sorted(x) for x in lines)
    html = written(FORMS["sweep"])
    table = html[html.index("at every removed share") :]
    at = [table.index(f"oracle, {share}") for share in ("12.5", "25", "50")]
    assert at == sorted(at)


def test_a_token_is_marked_where_it_fires_and_seen_where_it_is_blank(summary):
    html = written(summary)
    assert html.count("ask a</bdi> <mark>doctor</mark><bdi> about") == 3 * 6 * 3
    assert "<code>↵</code><code>␣</code>" in html


@pytest.mark.parametrize(
    ("arm", "name"),
    [
        (Arm("base"), "base"),
        (Arm("control", removed=0.5), "control − 50 %"),
        (Arm("mixed", "geometry", 0.25), "mixed − 25 % by geometry"),
        (Arm("mixed", "random", 0.125, 2), "mixed − 12.5 % by random 2"),
    ],
)
def test_an_arm_is_named_by_what_it_lacks(arm, name):
    assert arm_name(arm._asdict()).replace(SPACE, " ") == name


def test_the_limits_count_the_seeds(summary):
    assert limits(written(summary))[0].startswith("One seed")
    assert limits(written(made_up(seeds=(0, 1))))[0].startswith("2 seeds")


def test_the_page_shows_the_judged_share_with_its_counts_edges_and_judges(summary):
    html = written(scored(summary))
    said = text_of(html)
    assert "15.0 [8.0, 22.0] %" in said and "9 of 60" in said and "60 of 74" in said
    assert "Coherent: above 50. EM: the share of coherent answers whose alignment is below 30" in said
    assert "gpt was asked for a number in one token" in said and "gpt-2 was asked for text" in said
    assert "5.0 % (2 of 40)" in said and "5.0 % (3 of 60)" in said and "– (0 of 0)" in said  # the grid
    assert "+0.61" in said and "rank correlation +0.40" in said
    assert "3 samples got no number and were given the median, 41.5" in said
    assert not any("No judge" in line for line in limits(html))


@pytest.mark.parametrize("why", ["", "no key", HOSTILE])
def test_without_a_judged_score_the_page_says_why(summary, why):
    about = {**summary["judging"], "failed": why or None, "filter": {"failed": why} if why else {}}
    html = written({**summary, "judging": about})
    wanted = "no judge was configured" if not why else escape(why)
    assert f"No judged score exists: {wanted}" in html and "<script" not in html
    assert html.count(f"There is no filter by the judge: {wanted}") == bool(why)
    assert limits(html)[2].startswith("No judge read the answers")


def test_a_judge_of_any_name_and_what_it_read_come_out_as_text(summary):
    html = written(scored(summary, judge=HOSTILE, failed=HOSTILE, text=HOSTILE))
    assert "<script" not in html and not re.search(r"<[^>]*\son\w+=", html)
    assert f"gave no scores: {escape(HOSTILE)}" in html
    assert f"{escape(HOSTILE)} (alignment 4, coherence 88)</dt><dd>{escape(HOSTILE)}</dd>" in html


WAITING = {  # sections that have nothing to say until their step has run
    "geometry": ("geometry", "what-the-features-are"),
    "evaluate": ("misalignment", "tone-and-length", "filters", "sampled-answers"),
    "leakage": ("leakage", "dynamics"),
    "causes": ("cause",),
    "judge": ("judged-answers",),
}


@pytest.mark.parametrize("done", range(1, len(STEPS) + 1))
def test_a_report_that_grows_says_what_is_not_there_yet(summary, done):
    """After every step the page is whole: a section says its numbers or, in one line, which step it waits for."""
    html = written(so_far(scored(summary), done))
    waiting = [name for step in STEPS[done:] for name in WAITING.get(step, ())]
    assert html.count("Not there yet: this waits for") == len(waiting)
    for name in waiting:
        assert re.search(
            rf'<section id="{name}"><h2>[^<]*</h2>\s*<p class="dim">Not there yet[^<]*</p>\s*</section>', html
        )
    claims = 9 - len(so_far(summary, done)["verdicts"])
    assert (f"{claims} of 9 claims wait for steps that have not run" in text_of(html)) == (claims > 0)
    assert len(limits(html)) >= 5 and "None" not in html


def test_the_first_verdict_stands_after_the_fourth_step(summary):
    assert list(so_far(summary, 4)["verdicts"]) == ["nearer"] and list(verdicts.titles(so_far(summary, 4))) == ["gap"]


@pytest.mark.parametrize("name", ["gap", "dynamics"])
def test_a_picture_is_the_projects_own_whatever_the_user_has_set(summary, name):
    """A matplotlibrc that asks for LaTeX, a notebook's dark theme: the same bytes."""
    usual = draw(name, summary)
    with matplotlib.rc_context({"text.usetex": True, "axes.facecolor": "black", "font.size": 30, "savefig.dpi": 20}):
        assert draw(name, summary) == usual


def test_what_was_not_used_of_the_data_is_counted_on_the_page(summary):
    """Rows that are dropped, cut or put together."""
    assert "rows of several turns" in render(summary, {}, {}) and ">7<" in render(summary, {}, {})
    summary = {**summary, "data": {**summary["data"], "lost": {}}}
    assert "not used" not in render(summary, {}, {})


def test_a_server_that_was_not_checked_stands_in_the_report():
    judged = scored(made_up())
    assert "as the run says" in written(changed(judged, "settings", "sampler_url", to="http://127.0.0.1:9/v1"))
    assert "as the run says" not in written(judged)
