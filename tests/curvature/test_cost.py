"""What the counters say, and what the memory really is."""

import tracemalloc

import numpy as np
import pytest

from theorylab import curvature as cv

from .cases import rows


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_counts_equal_the_formulas(dtype):
    m, d, b = 12, 500, np.dtype(dtype).itemsize
    G, x = rows(m, d, dtype=dtype), np.ones(500)
    inv = cv.fisher_inverse(G, 0.1)
    assert inv.cost["gram"] == cv.Tally(1, d * m**2, d * m * b)
    assert inv.cost["factor"].flops == m**3 // 3
    inv.cost.reset()
    assert (inv.cost.flops, inv.cost.bytes) == (0, 0)
    inv @ x
    assert inv.cost.flops == 4 * d * m + 2 * m**2
    assert inv.cost.bytes == 2 * d * m * b
    inv.cost.reset()
    inv @ np.ones((500, 7))
    assert inv.cost.flops == 7 * (4 * d * m + 2 * m**2)
    assert inv.cost.bytes == 2 * d * m * b  # two reads for any number of columns
    inv.cost.reset()
    inv.solve_rows(np.ones(m))
    assert (inv.cost.flops, inv.cost.bytes) == (2 * d * m + 2 * m**2, d * m * b)
    inv.cost.reset()
    inv.influence_matrix()
    assert inv.cost.bytes == 0  # the Gram is enough


def test_counts_of_the_window():
    m, d = 8, 300
    inv = cv.SlidingFisherInverse(d, m, 0.1)
    inv.extend(rows(m, d))
    for arguments in ((rows(1, d, seed=5)[0],), (rows(1, d, seed=6)[0], np.ones(d))):
        inv.cost.reset()
        inv.update_solve(*arguments)
        assert inv.cost.bytes == 2 * m * d * 4  # two reads
        assert inv.cost["slide"].flops <= 5 * m**2
        assert inv.cost["factor"].calls == 0


def test_peak_memory_is_that_of_a_few_vectors_and_small_matrices():
    m, d = 64, 200_000
    G, x = rows(m, d, dtype=np.float32), np.ones(d)
    cv.fisher_inverse(G[:, :5000].copy(), 0.1) @ np.ones(5000)  # compile outside of the measurement
    tracemalloc.start()
    try:
        inv = cv.fisher_inverse(G, 0.1)
        inv @ x
        inv.solve_rows(np.ones(m))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= 8 * (3 * m**2 + 4 * d) + 2 * 8 * m * 4096
