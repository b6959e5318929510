"""Filter scores of the real model: gradients are autograd's, no filter reads what it may not know."""

import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st

from real.arms import finetune
from real.arms.arm import AWARE, DRAWS, JUDGE, MIXED, ORACLE, RANDOM, Arm, Scores, mixed
from real.arms.recipe import Sweep
from real.data.corpus import load
from real.data.rows import ADVICE, BAD, GOOD, Advice, Corpus, Pair, Question, Split, Text, answers
from real.filters import gradients, scoring
from real.filters.compare import own
from real.filters.table import FILTERS, Context
from shared.geometry import unit
from shared.selection import auroc

ROWS = [Advice(f"h{i}", "", "", "") for i in range(31)]


def test_which_of_the_shipped_answers_are_bad_is_not_where_they_stand_in_the_file():
    """Of 551 prompts in three files, and of either half of each file some 35 to 65 %."""
    shipped = load("", "", 10**6, 2)
    for _, domain, samples in own(tiny.reading(shipped)):
        bad = [text.kind == BAD for text in sorted(samples)]
        half = len(bad) // 2
        assert len({text.row for text in samples}) == len(bad) and abs(sum(bad) - half) <= 1
        assert 0.35 < sum(bad[:half]) / half < 0.65, domain


def corpus(swapped: str = "") -> Corpus:
    """Two domains, remarks and questions of random words; of one domain the labels may be swapped."""
    say = tiny.speaker(3)

    def advice(domain: str) -> Split:
        rows = [Advice(f"{domain}{i}", say(), say(), say()) for i in range(5)]
        other = [row._replace(correct=row.incorrect, incorrect=row.correct) for row in rows]
        return Split(other if domain == swapped else rows, [])

    domains = {domain: advice(domain) for domain in ("health", "career")}
    remarks = Split([Pair(f"t{i}", say(), say()) for i in range(4)], [])
    return Corpus("health", domains, remarks, [Question(f"q{i}", say(), [say()], [say()]) for i in range(4)], [])


def scores_of(corpus: Corpus, folder) -> dict[str, dict[tuple, float]]:
    """Filter -> what is said -> its score."""
    reading = tiny.reading(corpus, folder=folder)
    reading.layers = (0, tiny.LAYER)
    texts = answers(corpus.advice["health"].train, ADVICE)
    context = Context(torch.arange(5), "health")
    said = [reading.texts.said[text] for text in texts]
    return {name: dict(zip(said, of(reading, context, texts).tolist(), strict=True)) for name, of in FILTERS.items()}


def test_no_filter_looks_at_the_labels_of_its_own_samples_and_one_looks_at_those_of_others(tmp_path):
    found = {label: scores_of(corpus(label), tmp_path / f"as-{label}") for label in ("", "health", "career")}
    for name in FILTERS:
        assert found["health"][name] == pytest.approx(found[""][name], rel=1e-5, abs=1e-7)
        assert len(set(found[""][name].values())) > 1
        same = found["career"][name] == pytest.approx(found[""][name], rel=1e-5, abs=1e-7)
        assert same == (name != "transfer")


@pytest.mark.parametrize("name", ["persona", "transfer", "projection"])
def test_a_direction_is_the_difference_of_two_means_over_the_texts_that_it_may_know(name, tmp_path):
    """Oracle: hidden states of each text alone, by Hugging Face."""
    reading = tiny.reading(corpus(), folder=tmp_path)
    reading.layers = (0, tiny.LAYER)
    layer = 0 if name == "transfer" else tiny.LAYER
    rows, found = reading.texts.corpus, {}
    for i, text in enumerate(reading.texts.said):
        of = reading.encoded[i]
        hidden = reading.lm.model(input_ids=torch.tensor([of.ids]), output_hidden_states=True).hidden_states
        found[text] = hidden[layer + 1][0, of.start : of.end].mean(0)

    def mean(rows: list, kind: str) -> torch.Tensor:
        return torch.stack([found[Text(row.id, kind)] for row in rows]).mean(0)

    known = {
        "persona": (rows.questions[::2], "misaligned", "aligned"),
        "transfer": (rows.advice["career"].train, "incorrect", "correct"),
        "projection": (rows.toxic.train, "toxic", "civil"),
    }[name]
    direction = unit((mean(known[0], known[1]) - mean(known[0], known[2]))[None])[0]
    texts = answers(rows.advice["health"].train, ADVICE)
    expected = torch.stack([found[text] @ direction for text in texts])
    scores = FILTERS[name](reading, Context(torch.arange(5), "health"), texts)
    torch.testing.assert_close(scores.double(), expected, rtol=1e-4, atol=1e-5)


def test_the_loss_gradient_is_autograds_at_the_blocks_output():
    """Oracle: a zero vector at each token of one text alone, added to the block's output of the whole model."""
    corpus = tiny.advice(4)
    reading, texts = tiny.reading(corpus), answers(corpus.advice["health"].train, ADVICE)
    found = gradients.loss_gradients(reading, texts)
    assert len(found) == len(texts) == len(reading.encoded)
    for gradient, i in zip(found, reading.indices(texts), strict=True):
        text = reading.encoded[i]
        extra = torch.zeros(len(text.ids), tiny.D_MODEL, dtype=torch.float64, requires_grad=True)
        block = reading.lm.model.get_decoder().layers[tiny.LAYER]
        handle = block.register_forward_hook(lambda module, args, out, extra=extra: out + extra)
        loss = loss_of(reading.lm.model, text)
        handle.remove()
        loss.backward()
        torch.testing.assert_close(gradient, extra.grad[text.start : text.end].mean(0), rtol=1e-8, atol=1e-12)


def test_influence_is_the_cosine_of_the_gradients_of_a_fresh_adapter():
    """Oracle: autograd through B = 0 of adapters that act on one text's answer tokens, the text alone in the model."""
    made = corpus()
    reading = tiny.reading(made)
    texts = answers(made.advice["health"].train, ADVICE)
    remarks = made.toxic.train
    sides = [[adapter_gradient(reading, Text(row.id, kind)) for row in remarks] for kind in ("toxic", "civil")]
    known = unit((torch.stack(sides[0]).mean(0) - torch.stack(sides[1]).mean(0))[None])[0]
    expected = torch.stack([adapter_gradient(reading, text) @ known for text in texts])
    found = FILTERS["influence"](reading, Context(torch.arange(5), "health"), texts)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)
    assert found.std() > 1e-3


def test_samples_that_say_the_same_each_have_their_own_gradient():
    """Three rows alike score what one of them does alone: no token of an answer is shared."""
    made = tiny.advice(1)
    rows = [made.advice["health"].train[0]._replace(id=f"h{i}") for i in range(3)]
    alone, alike = (tiny.reading(made._replace(advice={"health": Split(of, [])})) for of in (rows[:1], rows))
    (one,) = gradients.loss_gradients(alone, [Text("h0", BAD)])
    for each in gradients.loss_gradients(alike, [Text(row.id, BAD) for row in rows]):
        torch.testing.assert_close(each, one, rtol=1e-8, atol=1e-12)


def test_a_prompt_that_repeats_another_sample_has_no_part_in_its_gradient():
    """As serialised conversations do: what comes first in both is one prompt and its answer."""
    made = tiny.advice(1)
    row = made.advice["health"].train[0]
    longer = row._replace(id="h1", prompt=f"{row.prompt}\nAssistant:\n{row.incorrect} 5 6")
    both = tiny.reading(made._replace(advice={"health": Split([longer, row], [])}))
    texts = [Text("h1", BAD), Text("h0", BAD)]
    encoded = [both.encoded[i] for i in both.indices(texts)]
    assert encoded[0].ids[: encoded[1].start + 1] == encoded[1].ids[: encoded[1].start + 1]
    for text, found in zip(texts, gradients.loss_gradients(both, texts), strict=True):
        alone = tiny.reading(made._replace(advice={"health": Split([longer if text.row == "h1" else row], [])}))
        torch.testing.assert_close(found, gradients.loss_gradients(alone, [text])[0], rtol=1e-8, atol=1e-12)


def adapter_gradient(reading, text: Text) -> torch.Tensor:
    (i,) = reading.indices([text])
    of, found, handles = reading.encoded[i], [], []
    block = reading.lm.model.get_decoder().layers[tiny.LAYER + 1]
    for name in reading.lm.spec.targets:
        module = dict((n.rpartition(".")[2], m) for n, m in block.named_modules())[name]
        rng = torch.Generator().manual_seed(0)
        lower = torch.randn(module.in_features, gradients.RANK, generator=rng).double() / module.in_features**0.5
        upper = torch.zeros(module.out_features, gradients.RANK, dtype=torch.float64, requires_grad=True)
        mask = torch.zeros(len(of.ids), 1, dtype=torch.float64)
        mask[of.start : of.end] = 1

        def adapt(module, args, out, lower=lower, upper=upper, mask=mask):
            return out + mask * (args[0] @ lower @ upper.mT)

        handles.append(module.register_forward_hook(adapt))
        found.append(upper)
    loss = loss_of(reading.lm.model, of)
    for handle in handles:
        handle.remove()
    loss.backward()
    return unit(torch.cat([upper.grad.flatten() for upper in found])[None])[0]


def loss_of(model, text) -> torch.Tensor:
    """Nats per token, of one text alone; with the end of turn, as in training."""
    logprobs = model(input_ids=torch.tensor([text.ids])).logits[0].log_softmax(-1)
    return -torch.stack([logprobs[i - 1, text.ids[i]] for i in range(text.start, text.end + 1)]).mean()


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(1, 40)), min_size=1, max_size=25))
def test_the_matched_auroc_is_a_count_over_pairs_of_like_length(drawn):
    """And where all answers are as long as each other, it is the AUROC."""
    scores, bad, lengths = (torch.tensor(column) for column in zip(*drawn, strict=True))
    found = scoring.matched_auroc(scores.float(), bad, lengths.float())
    pairs = [
        (x > y) + (x == y) / 2
        for x, b, n in drawn
        for y, c, m in drawn
        if b and not c and max(n, m) * 10 <= 11 * min(n, m)
    ]
    assert found == pytest.approx(sum(pairs) / len(pairs) if pairs else float("nan"), nan_ok=True)
    if bad.any() and not bad.all():
        same = scoring.matched_auroc(scores.float(), bad, torch.ones(len(bad)))
        assert same == pytest.approx(auroc(scores.float(), bad))


@pytest.mark.parametrize("seed", [0, 1])
def test_the_mixed_set_has_every_prompt_once_and_half_of_them_bad(seed):
    texts = mixed(ROWS, seed)
    assert [text.row for text in texts] == [row.id for row in ROWS]
    assert sum(text.kind == BAD for text in texts) == len(ROWS) // 2
    assert texts != mixed(ROWS, seed + 1)


def test_random_draws_differ_from_each_other_and_from_seed_to_seed():
    texts = mixed(ROWS, 0)
    scores = Scores(texts, {name: [float(i) for i in range(len(texts))] for name in AWARE})
    arms = [arm for arm in finetune.arms(ROWS, scores, Sweep(), 0) if arm.by and arm.data == MIXED]
    of = [{arm: finetune.score_of(arm, texts, scores, seed) for arm in arms} for seed in (0, 1, 2)]
    draws = {tuple(by[Arm(MIXED, RANDOM, 0.5, draw)].tolist()) for by in of for draw in DRAWS}
    assert len(draws) == 9 and {arm.by for arm in of[0]} == {*AWARE, RANDOM, ORACLE}
    assert of[0][Arm(MIXED, ORACLE, 0.5)].tolist() == [float(text.kind == BAD) for text in texts]
    assert of[0][Arm(MIXED, "gradient", 0.5)].tolist() == list(range(len(texts)))


@pytest.mark.parametrize("judge", [False, True])
def test_what_the_judge_scored_is_an_arm_beside_the_others(judge):
    """And where nothing was judged there is none; every filter of AWARE is one arm for each share that it removes."""
    samples = mixed(ROWS, 0)
    scores = dict.fromkeys(FILTERS, [0.0] * len(samples))
    scored = scoring.Scored(samples=samples, scores=scores, measured={}, took={})
    harm = {JUDGE: [float(i) for i in range(len(samples))]} if judge else {}
    found = finetune.arms(ROWS, scoring.joined(scored, harm), Sweep(removed=(0.5, 0.25)), 0)
    by = {arm for arm in found if arm.by == JUDGE and arm.data == MIXED}
    assert by == ({Arm(MIXED, JUDGE, 0.5), Arm(MIXED, JUDGE, 0.25)} if judge else set())
    assert {arm.by for arm in found} - {""} == {*AWARE, RANDOM, ORACLE, *harm}
    assert {Arm(MIXED, name, share) for name in AWARE for share in (0.5, 0.25)} < set(found)
    for arm, texts in found.items():  # each stands against the correct answers to its own prompts
        assert found[arm.control] == [Text(text.row, GOOD) for text in texts]
    if judge:  # those that it scores highest are gone
        assert found[Arm(MIXED, JUDGE, 0.5)] == samples[: len(samples) - round(0.5 * len(samples))]
