"""Every loss computes in float32 under autocast and from half-precision tensors, and has a gradient there."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from transfer_cli.engine.devices.device import Compute, prepare
from transfer_cli.methods.distill.contrast import Contrast
from transfer_cli.methods.distill.feature_losses import attention, hint, rkd
from transfer_cli.methods.distill.logit_losses import ce, dist, dkd, kd, mix_teachers, standardize
from transfer_cli.methods.full_precision import are_tf32, float32, full_precision, products, set_products

LABELS = torch.arange(6) % 4


def contrast(student: Tensor, teacher: Tensor) -> Tensor:
    module = Contrast(5, 5, rows=6, population=6, seed=0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.linspace(-1, 1, parameter.numel()).view_as(parameter))
    return module(student, teacher, torch.arange(6), (torch.arange(6)[:, None] + torch.tensor([1, 2])) % 6)


def projected(student: Tensor, teacher: Tensor) -> Tensor:
    layer = nn.Linear(5, 5)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(5) * 0.1)
    return hint(student, teacher, layer)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "ce": lambda s, t: ce(s, LABELS),
    "kd": lambda s, t: kd(s, t, 4.0),
    "dkd": lambda s, t: dkd(s, t, LABELS, 4.0),
    "dist": lambda s, t: dist(s, t, 4.0),
    "standardised": lambda s, t: kd(standardize(s), standardize(t), 2.0),
    "teachers": lambda s, t: kd(s, mix_teachers(torch.stack([s, t], 1).detach(), 4.0), 4.0),
    "hint": projected,
    "attention": lambda s, t: attention(s[:, :, None], t[:, :, None].expand(-1, -1, 1)),
    "rkd": rkd,
    "crd": contrast,
}


def outputs(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Answers that both half precisions hold exactly, far beyond what exp or a square survives in float16."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randint(-120, 120, (2, 6, 5), generator=generator) * 2
    return student.to(dtype).requires_grad_(), teacher.to(dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_inputs_lose_nothing(name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    student, teacher = outputs(torch.float32)
    expected = LOSSES[name](student, teacher)
    torch.manual_seed(0)
    half_student, half_teacher = outputs(dtype)
    with torch.autocast("cpu", dtype=dtype):
        value = LOSSES[name](half_student, half_teacher)
    assert value.dtype == torch.float32
    assert torch.equal(value, expected)
    value.backward()
    assert half_student.grad is not None
    assert torch.isfinite(half_student.grad).all()


@pytest.fixture
def ieee() -> Iterator[None]:
    """As on a GPU; afterwards as torch begins."""
    backends = [torch.backends.cuda.matmul, torch.backends.cudnn, torch.backends.cudnn.conv, torch.backends.cudnn.rnn]
    before = [one.fp32_precision for one in backends]
    set_products("ieee")
    yield
    for one, precision in zip(backends, before, strict=True):
        one.fp32_precision = precision


@pytest.mark.usefixtures("ieee")
def test_losses_and_adapters_know_no_tf32() -> None:
    """Torch keeps the setting without a GPU, too; only there does it change a number."""

    @full_precision
    def loss(value: Tensor) -> Tensor:
        seen.append(are_tf32())
        return value.sum()

    seen: list[bool] = []
    with products("tf32"):
        assert are_tf32()
        loss(torch.ones(2))
        with float32("cpu"):
            assert not are_tf32()
        assert are_tf32()
        with pytest.raises(FloatingPointError), float32("cpu"):
            raise FloatingPointError
        assert are_tf32()
    assert seen == [False] and not are_tf32()


@pytest.mark.usefixtures("ieee")
def test_tf32_is_of_the_steps_of_a_training_alone() -> None:
    assert not are_tf32()
    with Compute(torch.device("cuda"), "tf32").products():
        assert are_tf32()
    for precision in ("fp32", "bf16"):
        with Compute(torch.device("cuda"), precision).products():
            assert not are_tf32()


@pytest.mark.gpu
def test_fp32_on_a_gpu_is_that_of_ieee_754() -> None:
    device = torch.device("cuda", 0)
    prepare(device, 0)
    a, b = (torch.randn(512, 512, dtype=torch.float64, device=device) for _ in range(2))
    expected = a @ b
    errors = {}
    for precision in ("fp32", "tf32"):
        with Compute(device, precision).products():
            errors[precision] = float((a.float() @ b.float() - expected).abs().max())
    assert errors["fp32"] < 1e-3 < errors["tf32"]
