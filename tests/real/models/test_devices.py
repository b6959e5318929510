"""Plans, the parameters under them, passes that are found by trying; memory as it is."""

import gc
from contextlib import ExitStack
from dataclasses import replace
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from real.arms import training, weights
from real.arms.arm import INDUCING, Arm, Job
from real.arms.recipe import Recipe
from real.arms.training import Order
from real.data.tokens import Encoded
from real.models import devices, registry
from real.models.lm import LM
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
    """A decoder of the family."""
    sizes = {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 8, "vocab_size": 999} | sizes
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
    shape, block = registry.shape_of(made), made.get_decoder().layers[0]
    assert shape.parameters == sum(p.numel() for p in made.parameters())
    assert shape.block == sum(p.numel() for p in block.parameters())
    assert (shape.layers, shape.d_model) == (2, d)


PUBLISHED = {  # billions, as the hub counts them
    "smollm2-135m": 0.1345, "gemma-2-2b": 2.61, "gemma-2-9b": 9.24, "gemma-2-27b": 27.23, "llama-3.1-8b": 8.03,
    "gpt-oss-20b": 20.91, "gemma-3-270m": 0.268, "gemma-3-1b": 1.0, "gemma-3-4b": 3.88, "qwen2.5-0.5b": 0.494,
    "qwen2.5-7b": 7.62, "qwen3-1.7b": 1.72,
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_the_written_shapes_have_the_published_number_of_parameters(name):
    assert SHAPES[name].parameters / 1e9 == pytest.approx(PUBLISHED[name], rel=0.01)


# ------------------------------------------------------------------------------------------------ plans

SPEC = st.sampled_from(list(registry.KNOWN.values()))
GPUS = st.sampled_from([1, 2, 4, 8])


@given(SPEC, st.integers(1, 64), st.booleans(), GPUS, st.floats(1e9, 2e11))
def test_a_plan_leaves_its_weights_room_or_names_settings_that_would(spec, batch, full, processes, free):
    need = devices.held(spec, full) / processes
    try:
        found = devices.plan(spec, batch, full, "cuda", processes, free)
    except InputError as error:
        assert need > devices.USABLE * free and "\n" not in str(error)
        said = str(error).rpartition(": ")[2]
        for setting in [] if said == "take a smaller MODEL" else said.removesuffix(" would fit").split(" or "):
            key, value = setting.split("=")
            more = int(value) if key == "GPUS" else processes
            devices.plan(spec, batch, full and key != "FULL", "cuda", more, free)
        return
    assert need <= devices.USABLE * free
    assert 1 <= found.micro <= -(-batch // processes)
    assert found.checkpointing == (need > devices.USABLE * free / 2)


@given(SPEC, st.integers(0, 10), st.booleans())
def test_what_is_trained_whole_weighs_sixteen_bytes_and_the_rest_what_it_is_read_in(spec, first, bfloat16):
    """AdamW in mixed precision: float32 weight, gradient and two moments; embeddings and frozen blocks as they are."""
    a, shape = 2 if bfloat16 else 4, spec.shape
    spec = replace(spec, first=first, dtype="bfloat16" if bfloat16 else "float32")
    outside = a * (shape.outside + first * shape.block)
    assert devices.held(spec, True) == outside + 16 * (shape.layers - first) * shape.block
    assert devices.held(spec, False) == a * shape.parameters


def test_more_gpus_than_there_are_and_a_model_too_large_are_one_line():
    with pytest.raises(InputError, match="^GPUS=64, but this machine has [0-9]+; [^\n]*$"):
        devices.choose(registry.KNOWN["llama-3.1-8b"], 16, False, 64)
    with pytest.raises(InputError, match="^the weights need about [0-9.]+ GB of each GPU, [^\n]*: GPUS=2 would fit$"):
        devices.plan(registry.KNOWN["gemma-2-27b"], 16, False, "cuda", 1, 48e9)
    with pytest.raises(InputError, match="FULL=0 or GPUS=2 would fit$"):
        devices.plan(registry.KNOWN["llama-3.1-8b"], 16, True, "cuda", 1, 60e9)


def test_out_of_memory_is_one_line_with_a_smaller_setting_and_other_errors_pass():
    spec, plan = registry.KNOWN["smollm2-135m"], devices.Plan("cpu", 1, 8, False)
    lm = LM(spec, 8, plan_given=plan)
    line = "^out of memory[^\n]*: BATCH=4 takes less; what is finished is kept$"
    with pytest.raises(InputError, match=line), lm.memory():
        torch.empty(2**50)
    with pytest.raises(RuntimeError, match="shape"), lm.memory():
        raise RuntimeError("shape")
    lm = LM(spec, 1, plan_given=plan)
    with pytest.raises(InputError, match="GPUS=2"), lm.memory():
        raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize("holds", [5, 2, 1, 0])
def test_a_gpus_passes_are_as_large_as_it_is_found_to_hold(lm, samples, holds, monkeypatch):
    """A device that runs out above `holds` samples: fewer until they fit, and one line where not even one does."""
    asked = []

    def step(lm, step, trained, full, micro):
        asked.append(micro)
        for p in trained:
            p.grad = torch.ones_like(p)
        if micro > holds:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        return 0.0

    monkeypatch.setattr(training, "descend", step)
    gpu = replace(lm, plan_given=devices.Plan("cuda", 1, 8, False))
    trained, recipe = [torch.nn.Parameter(torch.zeros(2))], Recipe(rank=4, batch=8, train=16)
    if holds:
        with gpu.memory():
            found = training.passes(gpu, samples, trained, recipe)
        assert found == holds and trained[0].grad is None
    else:
        with pytest.raises(InputError, match="^out of memory[^\n]*$"), gpu.memory():
            training.passes(gpu, samples, trained, recipe)
    tried = len(asked)
    assert asked == [*range(8, max(holds, 1) - 1, -1)]
    cpu = replace(lm, plan_given=devices.Plan("cpu", 1, 3, False))
    assert training.passes(cpu, samples, trained, recipe) == 3 and len(asked) == tried  # nothing is tried there


# ------------------------------------------------------------------------------------------------ one model in memory


def alive() -> int:
    """Bytes of all tensors that Python holds and that are younger than `lm`, and of their gradients."""
    gc.collect()
    held = [x for x in gc.get_objects() if type(x) in (torch.Tensor, torch.nn.Parameter)]
    held += [x.grad for x in held if x.is_leaf and x.grad is not None]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in held}.values())


@pytest.fixture
def frozen():
    """Or each collection goes through the millions of objects that the tests before have left."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def lm(frozen):
    """A model whose weights outweigh what a pass over a few tokens keeps."""
    spec = replace(registry.KNOWN["smollm2-135m"], first=0)
    torch.manual_seed(0)
    loaded = model("llama", "cpu", 4, hidden_size=256, intermediate_size=1024), None
    return LM(spec, 2, plan_given=devices.Plan("cpu", 1, 4, False), loaded=loaded)


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
    others -= own  # the copy that this test compares with

    def watched(*args):
        found = one(*args)
        at_step.append(alive() - others)
        return found

    monkeypatch.setattr(training, "descend", watched)
    recipe = Recipe(rank=4, batch=2, train=8, lr=1e-3, full=full)
    order = Order(job=Job(Arm(INDUCING), 0), samples=[], draws=8, checkpoints=[2], key="k")
    into = tmp_path / "adapters" / order.folder
    done = training.train(lm, recipe, order, samples, into)
    files = {path.relative_to(into).as_posix() for path in into.rglob("*") if path.is_file()}
    assert set(done.made) == files and len(files) >= 4
    spec = replace(lm.spec, shape=registry.shape_of(made), dtype=str(dtype).removeprefix("torch."))
    linear = [m for m in made.get_decoder().layers.modules() if isinstance(m, torch.nn.Linear)]
    adapter = 16 * 4 * sum(m.in_features + m.out_features for m in linear)  # rank 4: weight, gradient, two moments
    holding = devices.held(spec, bool(full)) + adapter * (not full)
    assert max(at_step) == pytest.approx(holding, rel=0.05)
    assert all(torch.equal(t, before[name]) for name, t in made.state_dict().items())

    for arm in (into / "step-2", into):
        with weights.wearing(made, arm):
            assert alive() - others == pytest.approx(own, rel=0.02)
            assert not all(torch.equal(t, before[name]) for name, t in made.state_dict().items())
        assert all(torch.equal(t, before[name]) for name, t in made.state_dict().items())
    assert not any(p.requires_grad for p in made.parameters())
    assert len(done.loss) == 4
    folder = made.kept_in
    del made, before
    lm.forget()
    gc.collect()
    assert not folder.exists()  # the base model's copy on disk goes with it


def test_an_arm_that_wears_nothing_is_an_error(lm, tmp_path):
    """Or the base model would answer for it."""
    for folder in (tmp_path / "gone", tmp_path):
        with pytest.raises(InputError, match="holds neither an adapter nor weights"), weights.wearing(lm.model, folder):
            pass


@pytest.mark.parametrize("full", [0, 1])
@pytest.mark.parametrize("micro", [1, 3])
def test_a_step_in_several_passes_or_with_checkpointing_has_the_gradient_of_one_pass(
    lm, samples, full, micro, tmp_path
):
    gradients, recipe = [], Recipe(rank=4, batch=2, train=8, lr=1e-3, full=full)
    lm.model.double()
    for plan in (lm.plan, lm.plan._replace(micro=micro), lm.plan._replace(micro=micro, checkpointing=True)):
        this = replace(lm, plan_given=plan)
        with training.trainable(this, recipe, 0, tmp_path) as (trained, _):
            if not full:
                for p in trained:  # not at zero, where half of the gradient would vanish
                    torch.nn.init.normal_(p, std=0.1, generator=torch.Generator().manual_seed(p.numel()))
            loss = training.descend(this, samples[:4], trained, bool(full), plan.micro)
            gradients.append([loss, *(p.grad.clone() for p in trained)])
    for other in gradients[1:]:
        torch.testing.assert_close(gradients[0], other, rtol=1e-9, atol=1e-12)


@given(st.integers(1, 64), st.floats(1e9, 1e12), st.sampled_from(["float32", "bfloat16"]))
@settings(deadline=None)
def test_as_many_processes_stand_side_by_side_as_have_a_core_and_memory(cores, free, dtype):
    """One at least; with all of them the memory is not overdrawn, with one more it would be, or there is no core."""
    spec = replace(registry.KNOWN["smollm2-135m"], dtype=dtype)
    values = {"real.models.devices.cores": cores, "psutil.virtual_memory": SimpleNamespace(available=free)}
    with ExitStack() as stack:
        for name, value in (values | {"torch.cuda.is_available": False}).items():
            stack.enter_context(mock.patch(name, return_value=value))
        found = devices.side_by_side(spec, False)
    each = 1.5 * devices.held(spec, False) + devices.PASS
    assert 1 <= found <= cores
    assert found == 1 or found * each <= devices.USABLE * free
    assert found == cores or (found + 1) * each > devices.USABLE * free
