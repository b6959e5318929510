"""The page to play with, in a real browser: its numbers are toy/law.py's, and hands, keys and ears can use it."""

import os
import re
import shutil

import numpy as np
import pytest
import torch
from playwright.sync_api import expect, sync_playwright

from shared.geometry import dimensionality
from toy import law
from toy.explore import page as build
from toy.measure import step_change
from toy.model import gradient

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
PANELS = {"push": "[name=guess]", "optimiser": "[value=SGD]", "rotation": "[value=SGD]", "relu": "[value=nothing]"}
ADAM_EPS = 1e-8
expect.set_options(timeout=30_000)  # a busy machine is no fault of the page


@pytest.fixture(scope="module")
def browser():
    """The system's Chromium (.ci/run installs it). Where CI is true it must be there."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found:
        line = "no Chromium, so nobody looked at explore.html: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(line)
        pytest.skip(line)
    with sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=found, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    file = tmp_path_factory.mktemp("explore") / "explore.html"
    file.write_text(build(), encoding="utf-8")
    return file.as_uri()


@pytest.fixture(scope="module")
def functions(browser, uri):
    """One page for the tests that only call its functions."""
    page = browser.new_page()
    page.goto(uri)
    return page


@pytest.fixture
def opened(browser, uri):
    """opened(viewport, **context) is a page; at the end, that it logged nothing and asked for nothing but itself."""
    pages, heard = [], []

    def open_page(viewport=DESKTOP, **context):
        page = browser.new_context(viewport=viewport, **context).new_page()
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("request", lambda request: request.url == uri or heard.append(request.url))
        page.goto(uri)
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.context.close()
    assert pages and heard == []


def commit(page, name):
    """Answers a panel's question, so that its numbers show."""
    control = page.locator(f"#{name} form {PANELS[name]}")
    control.fill("-0.5") if name == "push" else control.check()
    page.click(f"#{name} form button")


def world(page, key):
    return page.evaluate(f"world.{key}")


def cells(page, name):
    """The panel's table, without the bars: [cosine, law, step] of every feature."""
    rows = page.locator(f"#{name} tbody tr").all()
    texts = [[row.locator("td").nth(k).inner_text() for k in (0, 2, 3)] for row in rows]
    return [[float(text.replace("−", "-")) for text in row] for row in texts]


def drawn(case):
    """A random case: W [feature d], gradients, inputs, probes and eta, float64."""
    rng = np.random.default_rng(case)
    n, d, d_in, samples = rng.integers(2, 7), rng.integers(2, 6), rng.integers(1, 6), rng.integers(1, 6)
    shapes = {"W": (n, d), "g": (samples, d), "x": (samples, d_in), "probe": (3, d_in)}
    return {name: rng.normal(size=size) for name, size in shapes.items()} | {"eta": rng.uniform(0.01, 2)}


RULES = {
    "representation_step": ("W", "g", "eta"),
    "sign_step": ("W", "g", "eta"),
    "adam": ("W", "g", "eta"),
    "spectral_step": ("W", "g", "x", "probe", "eta"),
}


@pytest.mark.parametrize("rule", RULES)
def test_the_laws_of_the_page_are_those_of_law_py(functions, rule):
    """Fifty random W and gradients for each rule, to 1e-12 of the largest change."""
    cases = [drawn(case) for case in range(50)]
    name = "sign_step" if rule == "adam" else rule
    more = [ADAM_EPS] if rule == "adam" else []
    arguments = [[case[key] for key in RULES[rule]] + more for case in cases]
    if len(RULES[rule]) == 3:  # these take one hidden state
        arguments = [[W, g[0], *rest] for W, g, *rest in arguments]
    plain = [[np.asarray(one).tolist() for one in case] for case in arguments]
    found = functions.evaluate(f"cases => cases.map((case_) => {name}(...case_))", plain)
    for case, change in zip(arguments, found, strict=True):
        wanted = getattr(law, name)(*(torch.from_numpy(a) if isinstance(a, np.ndarray) else a for a in case))
        assert np.abs(np.array(change) - wanted.numpy()).max() <= 1e-12 * wanted.abs().max().item()


def first_step(optimiser, W, eta):
    """Δf [target feature] by law.py, every feature pushed at an input of its own."""
    match optimiser:
        case "SGD":
            return law.representation_step(W, -W, eta)
        case "spectral":
            inputs = torch.eye(len(W), dtype=W.dtype)
            return law.spectral_step(W, -W, inputs, inputs, eta)
        case _:
            return law.sign_step(W, -W, eta, ADAM_EPS if optimiser == "Adam" else 0.0)


@pytest.mark.parametrize("optimiser", ["SGD", "sign", "Adam", "spectral"])
def test_real_steps_in_the_page_agree_with_law_py(functions, optimiser):
    """One step that pushes each feature of fifty random worlds, in a basis that is turned, from h = 0."""
    rng = np.random.default_rng(0)
    worlds = [(rng.normal(size=(5, 2)), rng.uniform(0, 2 * np.pi)) for _ in range(50)]
    found = functions.evaluate(
        "([optimiser, worlds]) => worlds.map(([W, angle]) => stepped(W, {optimiser, angle, eta: 0.1, together: true})"
        ".map((h) => readouts(W, h)))",
        [optimiser, [[W.tolist(), angle] for W, angle in worlds]],
    )
    for (W, angle), change in zip(worlds, found, strict=True):
        cos, sin = np.cos(angle), np.sin(angle)
        wanted = first_step(optimiser, torch.from_numpy(W @ [[cos, -sin], [sin, cos]]), 0.1)
        assert np.abs(np.array(change) - wanted.numpy()).max() <= 1e-12 * wanted.abs().max().item()


def test_turning_the_basis_moves_adam_and_not_sgd(functions):
    """SGD and the spectral step do not know the axes: their leakages stay, at every angle."""
    for optimiser, moves in (("SGD", False), ("spectral", False), ("sign", True), ("Adam", True)):
        y = functions.evaluate(
            "(optimiser) => [0, 0.3, 0.9].map((angle) => leakages(world.W, stepped(world.W, "
            "{optimiser, angle, together: true})).map((point) => point.y))",
            optimiser,
        )
        assert (np.ptp(y, axis=0).max() > 0.1) == moves
        assert moves or np.ptp(y, axis=0).max() < 1e-12


def after_twelve_steps(W, h, optimiser, relu):
    """Readouts when A has been raised and the others trained to stay, by torch.optim."""

    def seen(h):
        return torch.relu(W @ h) if relu else W @ h

    def loss(now):
        return -W[0] @ now + (seen(now) - seen(h))[1:].square().sum() / 2

    return seen(h) + step_change(seen, loss, h, optimiser.lower(), 0.05, 12)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("optimiser", ["SGD", "Adam"])
def test_many_steps_in_the_page_are_those_of_torch(functions, optimiser, relu):
    """Twenty random worlds, each from a random state."""
    rng = np.random.default_rng(1)
    for W, h in [(rng.normal(size=(5, 2)), rng.normal(size=2)) for _ in range(20)]:
        found = functions.evaluate(
            "([W, h, optimiser, relu]) => readouts(W, walk(push(W, [0], [h], {keep: true, relu}), [h],"
            "{optimiser, steps: 12}).at(-1)[0], relu)",
            [W.tolist(), h.tolist(), optimiser, relu],
        )
        wanted = after_twelve_steps(torch.from_numpy(W), torch.from_numpy(h), optimiser, relu)
        assert np.abs(np.array(found) - wanted.numpy()).max() <= 1e-10


def test_the_training_of_the_page_has_the_gradient_of_model_py(functions):
    """Of a batch of fifty samples: dL/dW and dL/db, and how the directions share the plane."""
    rng = np.random.default_rng(2)
    W, b, x = rng.normal(size=(5, 2)), rng.normal(size=5), rng.random((50, 5)) * (rng.random((50, 5)) < 0.4)
    found = functions.evaluate(
        "([theta, x]) => { const grad = new Float64Array(15); x.forEach((one) => loss(theta, one, grad));"
        "return [...grad].map((g) => g / x.length); }",
        [[*W.ravel(), *b], x.tolist()],
    )
    theta = torch.from_numpy(np.column_stack([W, b]))[None]
    wanted = gradient(theta, torch.from_numpy(x.T)[None], torch.ones(1, 5, dtype=torch.float64))[0].numpy()
    assert np.abs(np.array(found) - np.concatenate([wanted[:, :2].ravel(), wanted[:, 2]])).max() <= 1e-14
    shares = functions.evaluate("dimensionality", W.tolist())
    assert np.abs(np.array(shares) - dimensionality(torch.from_numpy(W)).numpy()).max() <= 1e-14


@pytest.mark.parametrize("name", PANELS)
def test_a_panel_shows_no_number_before_a_prediction(opened, name):
    page = opened()
    results, verdict = page.locator(f"#{name} .results"), page.locator(f"#{name} [data-verdict]")
    expect(results).to_be_hidden()
    if name in ("rotation", "relu"):  # nothing chosen, nothing committed
        page.click(f"#{name} form button")
        expect(results).to_be_hidden()
    commit(page, name)
    expect(results).to_be_visible()
    expect(page.locator(f"nav [href='#{name}']")).to_have_class("done")
    expect(verdict).to_have_text(re.compile(r"^(Right|Well seen|The right side of 0|Not this time): "))
    page.click(f"#{name} [data-again]")
    expect(results).to_be_hidden()
    expect(verdict).to_be_empty()


def test_the_verdict_is_of_the_arrows_as_they_stand(opened):
    """Along the axes signs are exact, so that there every rule keeps the line: three ticks are wrong, four right."""
    page = opened()
    page.evaluate("world.change({W: [[1, 0], [0, 1], [-1, 0], [0, -0.8], [0.5, 0]]})")
    for name in ("SGD", "sign", "Adam"):
        page.check(f"#optimiser [name=keeps][value={name}]")
    page.click("#optimiser form button")
    expect(page.locator("#optimiser [data-verdict]")).to_contain_text("Not this time: SGD, sign, Adam and spectral")
    page.click("#optimiser [data-again]")
    page.check("#optimiser [name=keeps][value=spectral]")
    page.click("#optimiser form button")
    expect(page.locator("#optimiser [data-verdict]")).to_contain_text("Right: ")


def tip(page, feature):
    """Where an arrow ends on the screen."""
    box = page.locator(f"#push [data-feature={feature}] .grip").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_a_mouse_drags_an_arrow_and_the_numbers_follow(opened):
    page = opened()
    commit(page, "push")
    before, others = cells(page, "push"), world(page, "W")
    page.locator("#push svg.plane").scroll_into_view_if_needed()
    x, y = tip(page, "B")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 60, y + 20, steps=4)
    page.mouse.up()
    assert tip(page, "B") == (pytest.approx(x - 60, abs=1), pytest.approx(y + 20, abs=1))
    W, after = np.array(world(page, "W")), cells(page, "push")
    assert (W[[0, 2, 3, 4]] == np.array(others)[[0, 2, 3, 4]]).all()
    wanted = law.representation_step(torch.from_numpy(W), -torch.from_numpy(W[0]), world(page, "eta"))
    for _, *change in (before[1], after[1]):
        assert change[0] == change[1]
    assert before[1] != after[1] and after[1][2] == pytest.approx(wanted[1].item(), abs=6e-4)
    assert world(page, "pushed") == 0
    page.mouse.click(*tip(page, "B"))  # a tap pushes it
    assert world(page, "pushed") == 1


def test_a_finger_drags_an_arrow(opened):
    page = opened(PHONE, has_touch=True, is_mobile=True)
    page.locator("#push svg.plane").scroll_into_view_if_needed()
    (x, y), hand = tip(page, "C"), page.context.new_cdp_session(page)
    for kind, by in (("touchStart", 0), ("touchMove", 12), ("touchMove", 30), ("touchEnd", None)):
        points = [] if by is None else [{"x": x + by, "y": y + by}]
        hand.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    assert tip(page, "C") == (pytest.approx(x + 30, abs=1), pytest.approx(y + 30, abs=1))


def test_keys_turn_an_arrow_lengthen_it_and_push_it(opened):
    page = opened()
    commit(page, "push")
    arrow, before = page.get_by_role("slider", name="Feature B").first, cells(page, "push")
    arrow.focus()
    expect(arrow).to_have_attribute("aria-valuetext", "75 degrees, length 0.80")
    for key in ("ArrowLeft", "ArrowLeft", "Shift+ArrowRight", "ArrowUp"):
        page.keyboard.press(key)
    expect(arrow).to_have_attribute("aria-valuetext", "84 degrees, length 0.85")
    expect(arrow).to_have_attribute("aria-valuenow", "84")
    after = cells(page, "push")
    assert after[1][0] == pytest.approx(np.cos(np.radians(84 - 20)), abs=6e-3)
    assert after[1][2] != before[1][2] and after[2] == before[2]
    page.keyboard.press("Enter")
    assert world(page, "pushed") == 1
    expect(page.get_by_role("slider", name="Feature B, pushed").first).to_be_focused()


def test_a_screen_reader_hears_the_values(opened):
    """Every slider has a name and a value in words; what changed is said politely."""
    page = opened()
    for name in PANELS:
        commit(page, name)
    for slider in page.get_by_role("slider").all():
        assert slider.get_attribute("aria-valuetext")
    assert page.get_by_role("slider", name=re.compile(".")).count() == page.get_by_role("slider").count() >= 26
    for name in PANELS:
        expect(page.locator(f"#{name} [aria-live=polite]")).not_to_be_empty()
    page.get_by_role("slider", name=re.compile("axes turned by")).press("ArrowRight")
    expect(page.locator("#rotation [aria-live=polite]")).to_contain_text("Axes turned by 1 degrees. Farthest")
    expect(page.locator("#push [aria-live=polite]")).to_contain_text(re.compile(r"A pushed. Changes: A \+0.500, B \+"))


def test_the_relu_hides_what_falls(opened):
    page = opened()
    commit(page, "relu")
    for _, predicted, seen in cells(page, "relu"):
        assert seen == (predicted if predicted > 0 else 0)
    page.uncheck("#relu [data-world=relu]")
    assert any(seen < 0 for _, _, seen in cells(page, "relu"))
    assert all(predicted == seen for _, predicted, seen in cells(page, "relu"))


def test_keys_move_the_hidden_state_and_what_fell_unseen_is_seen(opened):
    """From (-.5, 0) feature D, on the left, is on at the start: it falls to 0, and its ReLU shows that."""
    page = opened()
    commit(page, "relu")
    assert cells(page, "relu")[3][2] == 0
    dot = page.get_by_role("slider", name="Hidden state at the start")
    dot.focus()
    for _ in range(10):
        page.keyboard.press("ArrowLeft")
    expect(dot).to_have_attribute("aria-valuetext", "−0.50 across, 0.00 up")
    assert world(page, "start") == [pytest.approx(-0.5), 0]
    assert cells(page, "relu")[3][2] < -0.2


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_training_in_the_page_finds_the_pentagon(opened, motion):
    """At p = .05 the five directions are 72 degrees apart, within 2, and can be played with.

    Who wants no motion sees the trained models and not their way there.
    """
    page = opened(reduced_motion=motion)
    expect(page.locator("#train .value")).to_have_text("0.05")
    page.evaluate(
        "window.pictures = 0; new MutationObserver(() => pictures++)"
        ".observe(document.querySelector('.mini'), {subtree: true, attributes: true})"
    )
    page.check("#train [value=pentagon]")
    page.click("#train form button")
    page.wait_for_selector("#train.trained", timeout=60_000)
    assert (page.evaluate("pictures") == 1) == (motion == "reduce")
    expect(page.locator("#train [data-verdict]")).to_contain_text("Right: at p = 0.05 it is a pentagon")
    angles = [float(gap) for gap in re.findall(r"[\d.]+", page.locator("[data-angles]").inner_text())]
    assert len(angles) == 5 and all(abs(angle - 72) <= 2 for angle in angles)
    page.click("#train [data-use]")
    turns = np.sort(np.degrees(np.arctan2(*np.array(world(page, "W")).T[::-1])))
    assert np.abs(np.diff(turns) - 72).max() <= 2


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_screen(opened, viewport, scheme):
    page = opened(viewport, color_scheme=scheme, reduced_motion="reduce")
    for committed in (None, *PANELS):
        if committed:
            commit(page, committed)
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
