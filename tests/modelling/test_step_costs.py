"""Where the time of a step goes, from lists of events written by hand, whose answer is known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.modelling.step_costs import (
    COSTS,
    STEP,
    Event,
    break_down,
    classify,
    read_events,
    without_overhead,
)


def kernel(name: str, start: float, end: float, correlation: int | None = None) -> Event:
    return Event(name, "kernel", start, end, 7, correlation)


def mark(name: str, start: float, end: float) -> Event:
    return Event(name, "user_annotation", start, end, 1)


def launch(start: float, correlation: int, thread: int = 1) -> Event:
    return Event("cudaLaunchKernel", "cuda_runtime", start, start + 1, thread, correlation)


GPU_STEP = [
    mark(STEP, 0, 100),
    mark("luthier.batch", 0, 10),
    mark("luthier.loss", 40, 60),
    mark("luthier.optimizer", 80, 95),
    launch(12, 1),
    launch(14, 2),
    launch(42, 3),
    launch(82, 4),
    Event("flash_attn::_flash_attn_varlen", "cpu_op", 15, 20, 1),
    launch(16, 5),
    kernel("sm90_xmma_gemm_bf16", 15, 30, 1),
    kernel("vectorized_elementwise_kernel", 30, 35, 2),
    kernel("some_prepare_kernel", 35, 40, 5),
    kernel("nvjet_tst_128x256", 45, 60, 3),
    kernel("multi_tensor_apply_kernel", 85, 95, 4),
    Event("Memcpy HtoD", "gpu_memcpy", 95, 97, 7, None),
]


def test_each_moment_of_a_gpu_step_is_counted_once_and_where_it_belongs() -> None:
    costs = break_down(GPU_STEP)
    micro = {cost: round(value * 1e6, 6) for cost, value in costs.seconds.items()}
    assert micro == {
        "data_wait": 10,
        "host_launch": 5 + 5 + 25 + 3,
        "attention": 5,
        "matmul": 15,
        "logits": 15,
        "optimizer": 10,
        "elementwise": 5,
        "copies": 2,
        "idle": 0,
    }
    assert costs.on_device
    assert (costs.steps, costs.largest) == (1, "host_launch")
    assert sum(costs.seconds.values()) == pytest.approx(costs.wall_seconds)


def test_kernels_that_overlap_are_not_counted_twice() -> None:
    costs = break_down([mark(STEP, 0, 10), kernel("gemm", 0, 8), kernel("gemm", 2, 10), kernel("gemm", 3, 4)])
    assert costs.share("matmul") == pytest.approx(1.0)


def test_the_time_between_steps_is_idle() -> None:
    costs = break_down([mark(STEP, 0, 10), mark(STEP, 30, 40), kernel("gemm", 0, 10), kernel("gemm", 30, 40)])
    assert costs.steps == 2
    assert costs.share("idle") == pytest.approx(0.5)


def test_on_a_cpu_an_operator_counts_for_what_it_is_inside_of() -> None:
    def op(name: str, start: float, end: float) -> Event:
        return Event(name, "cpu_op", start, end, 1)

    costs = break_down(
        [
            mark("ProfilerStep#3", -5, 105),
            mark(STEP, 0, 100),
            op("aten::linear", 10, 30),
            op("aten::addmm", 12, 28),
            op("aten::scaled_dot_product_attention", 30, 50),
            op("aten::bmm", 32, 48),
            op("aten::gelu", 50, 55),
            mark("Optimizer.step#AdamW.step", 60, 80),
            op("aten::_fused_adamw_", 62, 78),
        ]
    )
    micro = {cost: round(value * 1e6, 6) for cost, value in costs.seconds.items() if value}
    assert micro == {"matmul": 20, "attention": 20, "elementwise": 5, "optimizer": 20, "host_launch": 35}
    assert not costs.on_device


@pytest.mark.parametrize(
    ("name", "cost"),
    [
        ("void cutlass::Kernel2<cutlass_80_wmma_tensorop_bf16_s161616gemm>", "matmul"),
        ("nvjet_tst_256x128_64x4_1x2_h_bz_coopA_TNT", "matmul"),
        ("aten::mm", "matmul"),
        ("aten::baddbmm", "matmul"),
        ("void pytorch_flash::flash_fwd_kernel<Flash_fwd_kernel_traits>", "attention"),
        ("fmha_cutlassF_bf16_aligned_64x64_rf_sm80", "attention"),
        ("triton_poi_fused_add_mul_silu_3", "elementwise"),
        ("triton_red_fused__log_softmax_nll_loss_0", "logits"),
        ("void at::native::multi_tensor_apply_kernel<FusedAdamMathFunctor>", "optimizer"),
        ("Memcpy DtoH (Device -> Pinned)", "copies"),
        ("aten::comm", "elementwise"),
        ("autograd::engine::evaluate_function: NllLossBackward0", "logits"),
    ],
)
def test_work_is_known_by_its_name(name: str, cost: str) -> None:
    assert classify(name) == cost


def test_what_the_profiler_adds_is_taken_from_the_waits() -> None:
    costs = break_down(GPU_STEP)
    timed = without_overhead(costs, 80e-6)
    assert timed.wall_seconds == pytest.approx(80e-6)
    assert timed.seconds["matmul"] == costs.seconds["matmul"]
    assert timed.seconds["host_launch"] == pytest.approx((38 - 20 * 38 / 48) * 1e-6)
    assert without_overhead(costs, 200e-6) == costs


def test_a_trace_without_events_costs_nothing() -> None:
    costs = break_down([])
    assert costs.wall_seconds == 0
    assert all(costs.share(cost) == 0 for cost in COSTS)


def test_a_chrome_trace_is_read_without_what_is_no_work() -> None:
    trace = {
        "traceEvents": [
            {
                "ph": "X",
                "cat": "kernel",
                "name": "gemm",
                "ts": 1,
                "dur": 2,
                "tid": 7,
                "args": {"correlation": 3},
            },
            {"ph": "X", "cat": "gpu_user_annotation", "name": STEP, "ts": 0, "dur": 9, "tid": 7},
            {"ph": "M", "name": "process_name", "ts": 0},
            {"ph": "X", "cat": "Trace", "name": "PyTorch Profiler", "ts": 0, "dur": 99, "tid": "Traces"},
        ]
    }
    (event,) = read_events(trace)
    assert (event.name, event.start_us, event.end_us, event.correlation) == ("gemm", 1, 3, 3)


@given(
    st.lists(st.tuples(st.integers(-20, 200), st.integers(1, 60), st.sampled_from(["gemm", "flash", "x"])), max_size=30),
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=9),
)  # fmt: skip
def test_the_costs_add_up_to_the_wall_time(
    kernels: list[tuple[int, int, str]], steps: list[tuple[int, int]]
) -> None:
    events = [kernel(name, start, start + length) for start, length, name in kernels]
    at = 0
    for gap, length in steps:
        events.append(mark(STEP, at + gap, at + gap + length))
        at += gap + length
    costs = break_down(events)
    assert sum(costs.seconds.values()) == pytest.approx(costs.wall_seconds)
    assert min(costs.seconds.values()) >= 0
