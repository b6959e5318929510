"""Plans and the formulas under them, against Hugging Face, PEFT, autograd and PyTorch's own counts; memory as it is."""

import gc
from dataclasses import replace

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from peft.helpers import disable_input_dtype_casting
from torch.utils.flop_counter import FlopCounterMode

from real.arms import training, weights
from real.arms.arm import INDUCING, Arm, Job
from real.arms.recipe import Recipe
from real.arms.training import Order
from real.data.tokens import Encoded
from real.models import costs, devices, registry
from real.models.costs import Work
from real.models.lm import LM, work
from real.models.registry import SHAPES
from shared.errors import InputError

FAMILIES = {
    "llama": transformers.LlamaConfig,
    "qwen2": transformers.Qwen2Config,
    "gemma2": transformers.Gemma2Config,
    "gemma3": transformers.Gemma3TextConfig,
    "gpt_oss": transformers.GptOssConfig,
}
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def model(family: str, device: str = "meta", blocks: int = 2, **sizes):
    """A decoder of the family, wide enough that biases and the like, which the formulas leave out, are little."""
    sizes = {
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_attention_heads": 8,
        "vocab_size": 999,
    } | sizes
    sizes |= {"num_key_value_heads": 2, "head_dim": sizes["hidden_size"] // 8, "num_hidden_layers": blocks}
    if family == "gpt_oss":
        sizes |= {"num_local_experts": 8, "num_experts_per_tok": 2}
    with torch.device(device):
        made = transformers.AutoModelForCausalLM.from_config(FAMILIES[family](**sizes))
    return made.eval().requires_grad_(False)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("d", [256, 512])
def test_parameters_are_those_of_hugging_faces_model(family, d):
    made = model(family, hidden_size=d)
    counted = sum(p.numel() for p in made.parameters())
    assert costs.shape_of(made.config).parameters == pytest.approx(counted, rel=0.01)


PUBLISHED = {  # billions, as the hub counts them
    "smollm2-135m": 0.1345, "gemma-2-2b": 2.61, "gemma-2-9b": 9.24, "gemma-2-27b": 27.23, "llama-3.1-8b": 8.03,
    "gpt-oss-20b": 20.91, "gemma-3-270m": 0.268, "gemma-3-1b": 1.0, "gemma-3-4b": 3.88, "qwen2.5-0.5b": 0.494,
    "qwen2.5-7b": 7.62,
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_the_written_shapes_have_the_published_number_of_parameters(name):
    assert SHAPES[name].parameters / 1e9 == pytest.approx(PUBLISHED[name], rel=0.01)


def adapted(made, rank: int):
    return get_peft_model(made, LoraConfig(r=rank, target_modules=LINEAR))


@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_has_the_parameters_that_peft_gives_it(family):
    made = model(family, "cpu")
    peft = adapted(made, 4)
    trained = sum(p.numel() for p in peft.parameters() if p.requires_grad)
    assert trained == 2 * 4 * costs.shape_of(made.config).adapter


@given(st.integers(2, 40), st.sampled_from([64, 128]), st.sampled_from([96, 256]), st.integers(1, 30))
@settings(max_examples=8)
def test_operations_are_those_that_pytorch_counts(tokens, d, d_mlp, logits):
    made = model("llama", "cpu", hidden_size=d, intermediate_size=d_mlp)
    made.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter:
        made(torch.zeros(1, tokens, dtype=torch.long), logits_to_keep=min(tokens, logits))
    ours = costs.operations(costs.shape_of(made.config), tokens, 2, min(tokens, logits))
    rope = 2 * tokens * (d // 8)  # the angles, counted as a product
    assert counter.get_total_flops() - ours in (0, rope)


def saved(made, tokens: int) -> int:
    """Bytes that autograd keeps of a pass over random vectors, weights apart."""
    own, seen = {p.untyped_storage().data_ptr() for p in made.parameters()}, {}
    alive = []

    def pack(tensor):
        storage = tensor.untyped_storage()
        alive.append(tensor)  # so that no other takes its address
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    hidden = torch.randn(1, tokens, made.config.hidden_size, dtype=made.dtype)
    mask = torch.ones(1, 1, tokens, tokens, dtype=torch.bool).tril()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        made.get_decoder()(inputs_embeds=hidden, attention_mask=mask, use_cache=False)
    return sum(seen.values())


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma3"])
@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("a", [2, 4])
@pytest.mark.parametrize("sizes", [(128, 256), (256, 256), (128, 768)])
def test_a_block_keeps_for_its_backward_what_the_formula_says(family, full, a, sizes):
    """To a fifth; in bfloat16, where what is trained is in float32 and computed with a copy, without that copy."""
    kept, tokens = [], 64
    for blocks in (2, 4):
        made = model(family, "cpu", blocks, hidden_size=sizes[0], intermediate_size=sizes[1])
        made.to(torch.bfloat16 if a == 2 else torch.float32)
        shape = costs.shape_of(made.config)
        if full:
            made.get_decoder().layers.float().requires_grad_(True)
        peft = made if full else adapted(made, 4)
        with torch.autocast("cpu", torch.bfloat16, enabled=a == 2), disable_input_dtype_casting(peft, a == 2):
            kept.append(saved(made, tokens) - full * (a == 2) * a * blocks * shape.block)
    assert costs.kept(shape, a, full, 4) == pytest.approx((kept[1] - kept[0]) / 2 / tokens, rel=0.2)


# ------------------------------------------------------------------------------------------------ plans

WORKS = st.builds(
    Work, a=st.sampled_from([2, 4]), batch=st.integers(1, 64), rank=st.integers(1, 64),
    full=st.booleans(), first=st.integers(0, 10), tokens=st.integers(16, 2048),
)  # fmt: skip
SHAPE = st.sampled_from(list(SHAPES.values()))
GPUS = st.sampled_from([1, 2, 4, 8])


@given(SHAPE, WORKS, GPUS, st.floats(4e9, 2e11))
def test_a_plan_stays_within_its_budget_or_names_settings_that_would(shape, work, processes, budget):
    try:
        found = devices.plan(shape, work, "cuda", processes, budget)
    except InputError as error:
        said = str(error).rpartition(": ")[2]
        for setting in (
            [] if said == "take a smaller MODEL" else said.removesuffix(" would fit").split(" or ")
        ):
            key, value = setting.split("=")
            if key == "GPUS":
                devices.plan(shape, work, "cuda", int(value), budget)
            else:
                changed = {"FULL": {"full": False}, "RANK": {"rank": 4}}[key]
                devices.plan(shape, work._replace(**changed), "cuda", processes, budget)
        return
    assert max(found.training, found.reading / processes) <= budget
    assert 1 <= found.micro <= -(-work.batch // processes)
    assert found.training == costs.training(shape, work, processes, found.micro, found.checkpointing)


@given(SHAPE, WORKS, GPUS, st.integers(1, 32), st.booleans())
def test_memory_grows_with_the_pass_the_model_and_what_is_trained(
    shape, work, processes, micro, checkpointing
):
    def peak(shape=shape, work=work, micro=micro, checkpointing=checkpointing):
        return costs.training(shape, work, processes, micro, checkpointing)

    assert peak() < peak(micro=micro + 1)
    assert peak() < peak(work=work._replace(tokens=work.tokens + 1))
    assert peak() < peak(shape=replace(shape, layers=shape.layers + 1))
    assert peak() < peak(shape=replace(shape, d_mlp=shape.d_mlp + 1))
    assert peak(checkpointing=True) < peak(checkpointing=False)
    assert peak(work=work._replace(full=False)) <= peak(work=work._replace(rank=work.rank + 1, full=False))


@given(SHAPE, WORKS, GPUS, st.floats(4e9, 2e11))
def test_more_memory_never_gives_a_smaller_pass_or_more_work(shape, work, processes, budget):
    try:
        less = devices.plan(shape, work, "cuda", processes, budget)
    except InputError:
        return
    more = devices.plan(shape, work, "cuda", processes, 2 * budget)
    assert (not more.checkpointing, more.micro) >= (not less.checkpointing, less.micro)


def test_more_gpus_than_there_are_and_a_model_too_large_are_one_line():
    work = Work(a=2, batch=16, rank=32, full=False, first=0, tokens=512)
    with pytest.raises(InputError, match="^GPUS=64, but this machine has [0-9]+; [^\n]*$"):
        devices.choose(SHAPES["llama-3.1-8b"], work, 64)
    with pytest.raises(
        InputError, match="^this needs about [0-9.]+ GB on one GPU, [^\n]*: GPUS=2 would fit$"
    ):
        devices.plan(SHAPES["gemma-2-27b"], work, "cuda", 1, 48e9)


def test_out_of_memory_is_one_line_with_a_smaller_setting_and_other_errors_pass():
    spec, plan = registry.KNOWN["smollm2-135m"], devices.Plan("cpu", 1, 8, False, 1e9, 1e9, 2e9)
    lm = LM(spec, work(spec, batch=8, rank=4, full=False), plan_given=plan)
    line = "^out of memory[^\n]*: BATCH=4 takes less; what is finished is kept$"
    with pytest.raises(InputError, match=line), lm.memory():
        torch.empty(2**50)
    with pytest.raises(RuntimeError, match="shape"), lm.memory():
        raise RuntimeError("shape")
    lm = LM(spec, work(spec, batch=1, rank=4, full=False), plan_given=plan)
    with pytest.raises(InputError, match="GPUS=2"), lm.memory():
        raise torch.OutOfMemoryError("CUDA out of memory")


# ------------------------------------------------------------------------------------------------ one model in memory


def alive() -> int:
    """Bytes of all tensors that Python holds, and of their gradients."""
    gc.collect()
    held = [x for x in gc.get_objects() if type(x) in (torch.Tensor, torch.nn.Parameter)]
    held += [x.grad for x in held if x.is_leaf and x.grad is not None]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in held}.values())


@pytest.fixture
def lm():
    """A model whose weights outweigh what a pass over a few tokens keeps."""
    spec = replace(registry.KNOWN["smollm2-135m"], first=0)
    torch.manual_seed(0)
    loaded = model("llama", "cpu", 4, hidden_size=256, intermediate_size=1024), None
    plan = devices.Plan("cpu", 1, 4, False, 0, 0, 0)
    return LM(spec, work(spec, batch=2, rank=4, full=False), plan_given=plan, loaded=loaded)


@pytest.fixture
def samples():
    torch.manual_seed(1)
    return [(Encoded(text, 6, 11), None) for text in torch.randint(3, 900, (8, 12)).tolist()]


def state(made) -> dict:
    return {name: p.detach().clone() for name, p in made.state_dict().items()}


@pytest.mark.parametrize("full", [0, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_training_and_wearing_hold_one_model_and_leave_it_as_it_was_bit_for_bit(
    lm, samples, full, dtype, monkeypatch, tmp_path
):
    """At a step: the model, its gradients and AdamW's moments of what is trained. Worn: the model, and nothing."""
    made = lm.model.to(dtype)
    before, others = state(made), alive()
    own = sum(t.nbytes for t in made.state_dict().values())
    at_step, one = [], training.descend
    others -= own  # the copy that this test compares with, and what other tests hold

    def watched(*args):
        found = one(*args)
        at_step.append(alive() - others)
        return found

    monkeypatch.setattr(training, "descend", watched)
    recipe = Recipe(rank=4, batch=2, train=8, lr=1e-3, full=full)
    order = Order(job=Job(Arm(INDUCING), 0), samples=[], checkpoints=(0.5,), key="k")
    into = tmp_path / "adapters" / order.folder
    done = training.train(lm, recipe, order, samples, into)
    files = {path.relative_to(into).as_posix() for path in into.rglob("*") if path.is_file()}
    assert set(done.made) == files and len(files) >= 4
    shape = costs.shape_of(made.config)
    holding = costs.holding(shape, Work(dtype.itemsize, 4, 4, bool(full), 0, 12), 1)
    # bfloat16's working copy, which the formula counts, is gone by the time of the optimiser's step
    copy = dtype.itemsize * shape.block * 4 if full and dtype == torch.bfloat16 else 0
    assert max(at_step) == pytest.approx(holding - copy, rel=0.05)
    assert all(torch.equal(t, before[name]) for name, t in made.state_dict().items())

    for arm in (into / "step-2", into):
        with weights.wearing(made, arm):
            assert alive() - others == pytest.approx(own, rel=0.02)
            assert not all(torch.equal(t, before[name]) for name, t in made.state_dict().items())
        assert all(torch.equal(t, before[name]) for name, t in made.state_dict().items())
    assert not any(p.requires_grad for p in made.parameters())
    assert len(done.loss) == done.steps == 4 and done.checkpoints == [2]
    folder = made.kept_in
    del made, before
    lm.forget()
    gc.collect()
    assert not folder.exists()  # the base model's copy on disk goes with it


def test_an_arm_that_wears_nothing_is_an_error(lm, tmp_path):
    """Or the base model would answer for it."""
    for folder in (tmp_path / "gone", tmp_path):
        with (
            pytest.raises(InputError, match="holds neither an adapter nor weights"),
            weights.wearing(lm.model, folder),
        ):
            pass


@pytest.mark.parametrize("full", [0, 1])
@pytest.mark.parametrize("micro", [1, 3])
def test_a_step_in_several_passes_or_with_checkpointing_has_the_gradient_of_one_pass(
    lm, samples, full, micro, tmp_path
):
    gradients, recipe = [], Recipe(rank=4, batch=2, train=8, lr=1e-3, full=full)
    lm.model.double()
    for plan in (
        lm.plan,
        lm.plan._replace(micro=micro),
        lm.plan._replace(micro=micro, checkpointing=True),
    ):
        this = replace(lm, plan_given=plan)
        with training.trainable(this, recipe, 0, tmp_path) as (trained, _):
            if not full:
                for p in trained:  # not at zero, where half of the gradient would vanish
                    torch.nn.init.normal_(p, std=0.1, generator=torch.Generator().manual_seed(p.numel()))
            loss = training.descend(this, samples[:4], trained, bool(full))
            gradients.append([loss, *(p.grad.clone() for p in trained)])
    for other in gradients[1:]:
        torch.testing.assert_close(gradients[0], other, rtol=1e-9, atol=1e-12)
