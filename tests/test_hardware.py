"""What is known of a device: the rules that the budgets stand in, for devices that are not here too."""

from __future__ import annotations

import pytest
import torch

from lossatlas import hardware

CPU, CUDA, MPS = (torch.device(kind) for kind in ("cpu", "cuda", "mps"))


def test_chunks_are_larger_on_cuda():
    assert hardware.chunk_bytes(CPU) == hardware.chunk_bytes(MPS) == 4 * 2**20
    assert hardware.chunk_bytes(CUDA) == 256 * 2**20


@pytest.mark.parametrize(("device", "least"), [(CPU, 32), (MPS, 32), (CUDA, 2)])
def test_few_points_are_evaluated_one_by_one(device, least):
    assert not hardware.vectorization_pays(least - 1, device)
    assert hardware.vectorization_pays(least, device)


@pytest.mark.parametrize(("points", "rows"), [(1, 1), (63, 1), (64, 4), (160, 10)])
def test_rows_go_together_on_a_cpu_from_four_up(points, rows):
    assert hardware.rows_at_once(points, CPU) == rows
    assert hardware.rows_at_once(points, CUDA) == hardware.rows_at_once(points, MPS) == points


def test_mps_has_no_float64_and_only_a_cpu_takes_bfloat16_and_small_batches(monkeypatch):
    monkeypatch.setattr(hardware, "has_bfloat16", lambda: True)
    assert [hardware.supports_float64(device) for device in (CPU, CUDA, MPS)] == [True, True, False]
    assert [hardware.microbatches_pay(device) for device in (CPU, CUDA, MPS)] == [True, False, False]
    assert [hardware.takes_bfloat16(device, torch.float32) for device in (CPU, CUDA, MPS)] == [True, False, False]
    assert not hardware.takes_bfloat16(CPU, torch.float64)
