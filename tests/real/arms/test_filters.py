"""Filter scores of the real model: the gradient is autograd's, the mixed set is half and half, draws differ."""

import pytest
import tiny
import torch

from real.arms import filters
from real.data.rows import Advice
from real.run import Run
from real.settings import Settings
from shared.records import write_json

NAMES = [f"h{i}/{kind}" for i in range(4) for kind in ("incorrect", "correct")]
ROWS = [Advice(f"h{i}", "", "", "") for i in range(31)]


def test_the_loss_gradient_is_autograds_at_the_blocks_output():
    """Oracle: a zero vector at each token of one text alone, added to the block's output of the whole model."""
    run = tiny.run(NAMES)
    found = filters.loss_gradients(run, NAMES)
    assert list(found) == NAMES
    for name, text in zip(NAMES, run.encoded, strict=True):
        extra = torch.zeros(len(text.ids), tiny.D_MODEL, dtype=torch.float64, requires_grad=True)
        block = run.model.get_decoder().layers[tiny.LAYER]
        handle = block.register_forward_hook(lambda module, args, out, extra=extra: out + extra)
        logprobs = run.model(input_ids=torch.tensor([text.ids])).logits[0].log_softmax(-1)
        handle.remove()
        at = range(text.start, text.end + 1)  # with the end of turn, as in training
        (-torch.stack([logprobs[i - 1, text.ids[i]] for i in at]).mean()).backward()
        torch.testing.assert_close(
            found[name], extra.grad[text.start : text.end].mean(0), rtol=1e-8, atol=1e-12
        )


@pytest.mark.parametrize("seed", [0, 1])
def test_the_mixed_set_has_every_prompt_once_and_half_of_them_bad(seed):
    names = filters.mixed(ROWS, seed)
    assert [name.split("/")[0] for name in names] == [row.id for row in ROWS]
    assert sum(name.endswith("/incorrect") for name in names) == len(ROWS) // 2
    assert names != filters.mixed(ROWS, seed + 1)


def test_random_draws_differ_from_each_other_and_from_seed_to_seed():
    names = filters.mixed(ROWS, 0)
    scores = {name: {sample: float(i) for i, sample in enumerate(names)} for name in filters.AWARE}
    found = [filters.of(names, scores, seed) for seed in (0, 1, 2)]
    draws = {tuple(by[name].tolist()) for by in found for name in filters.DRAWS}
    assert len(draws) == 9 and set(found[0]) == set(filters.NAMES)
    assert found[0]["oracle"].tolist() == [float(name.endswith("/incorrect")) for name in names]
    assert found[0]["gradient"].tolist() == list(range(len(names)))


@pytest.mark.parametrize("judge", ["", "one"])
def test_a_process_that_joins_the_fine_tune_reads_the_judge_s_scores_too(judge, tmp_path):
    """Or it would not train the arm that the judge filtered."""
    run = Run.__new__(Run)
    run.settings, run.folder = Settings(judge=judge), tmp_path
    write_json(tmp_path / "5-filters.json", {"scores": {"geometry": {"h0": 1.0}}, "key": "k", "seconds": 1.0})
    write_json(tmp_path / "5-harm.json", {"scores": {"h0": 30.0}, "key": "h", "seconds": 1.0})
    found = filters.recorded(run)["scores"]
    assert found == {"geometry": {"h0": 1.0}} | ({"judge": {"h0": 30.0}} if judge else {})
