"""What hostile input is told: which argument, what was expected, what came."""

import numpy as np
import pytest
from scipy import sparse

from theorylab.poisson import (
    ConvergenceWarning,
    DeflatedPreconditioner,
    DirectionNetwork,
    IncompleteCholesky,
    LearnedMultigrid,
    PoissonOperator,
    cg,
    dcdm,
    project,
    solve_pressure,
)
from theorylab.poisson.smoke import simulate_smoke

FLAGS = np.pad(np.ones((6, 6), int), 1, constant_values=2)
A = PoissonOperator(FLAGS)
B = np.ones(36)
OPERATORS = {
    "A": A,
    "multigrid": LearnedMultigrid(FLAGS),
    "ic0": IncompleteCholesky(A),
    "deflated": DeflatedPreconditioner(A),
}


@pytest.mark.parametrize("solver", [cg, dcdm])
def test_right_hand_sides_that_are_none(solver):
    with pytest.raises(ValueError, match="b is None, expected an array"):
        solver(A, None)
    with pytest.raises(TypeError, match=r"^b: .*got the text 'a'; pass numbers"):
        solver(A, "a")
    with pytest.raises(ValueError, match="b is None"):
        solve_pressure(FLAGS, None)


@pytest.mark.parametrize("name", list(OPERATORS))
def test_products_say_which_shape_they_wanted(name):
    M = OPERATORS[name]
    for wrong in (np.ones(35), np.ones((35, 2)), np.ones((8, 8)), 3.0):
        with pytest.raises(ValueError, match=r"x has shape .* expected \(36,\) or \(36, k\)"):
            M @ wrong
    with pytest.raises(ValueError, match=r"x has shape \(35,\)"):
        M.matvec(np.ones(35))
    with pytest.raises(ValueError, match="expected one column"):
        M.matvec(np.ones((36, 2)))
    with pytest.raises(ValueError, match="x has shape"):
        M.matmat(np.ones(36))
    with pytest.raises(TypeError, match="x is None"):
        M @ None
    with pytest.raises(TypeError, match="x has dtype <U1"):
        M @ "a"
    with pytest.raises(TypeError, match=r"sparse csr_array.*toarray"):
        M @ sparse.csr_array(np.ones((36, 1)))
    with pytest.raises(ValueError, match="x is no array of numbers"):
        M @ [[1.0], [1.0, 2.0]]


@pytest.mark.parametrize("name", list(OPERATORS))
def test_products_still_compose_as_scipy_s_do(name):
    M = OPERATORS[name]
    x = np.linspace(-1, 1, 36)
    y = M @ x
    np.testing.assert_array_equal(M.matvec(x[:, None])[:, 0], y)
    np.testing.assert_array_equal((M @ np.stack([x, x], 1))[:, 1], y)
    np.testing.assert_array_equal(M.T @ x, y)
    np.testing.assert_allclose((2.0 * M) @ x, 2 * y)
    np.testing.assert_allclose((M @ M) @ x, M @ y)


@pytest.mark.parametrize("scale", [1e-200, 1e200, 1e280])
@pytest.mark.parametrize("solver", [cg, dcdm])
def test_matrices_of_any_size_are_solved(solver, scale):
    x, code = solver(A.to_csr() * scale, B)
    assert code == 0
    # Powers of ten are rounded: the same iteration up to rounding, amplified by the condition number, 20.
    np.testing.assert_allclose(x * scale, solver(A, B)[0], rtol=1e-12)


@pytest.mark.parametrize("solver", [cg, dcdm])
def test_solutions_beyond_the_range_are_told(solver):
    with pytest.warns(ConvergenceWarning, match="beyond the range of float64; divide b"):
        _, code = solver(A, 1e308 * B)
    assert code == -3
    with pytest.warns(ConvergenceWarning, match="beyond the range of float32"):
        solver(A, np.float32(3e38) * np.ones(36, np.float32))


@pytest.mark.parametrize("method", ["learned-mg", "cg"])
@pytest.mark.parametrize(("dtype", "size"), [(np.float64, 1e308), (np.float32, 3e38)])
def test_pressures_beyond_the_range_are_told(method, dtype, size):
    with pytest.warns(ConvergenceWarning, match="beyond the range"):
        _, info = solve_pressure(FLAGS, np.full(FLAGS.shape, size, dtype), method=method, return_info=True)
    assert not info.converged
    assert info.code == -3


@pytest.mark.parametrize("solver", [cg, dcdm])
def test_singular_systems_say_what_to_do(solver):
    closed = PoissonOperator(np.ones((4, 4), int))
    with pytest.warns(ConvergenceWarning, match="subtract its mean on closed components, or call solve_pres"):
        assert solver(closed, np.ones(16))[1] == -1


def test_other_arguments_are_named():
    with pytest.raises(TypeError, match="race must be True, False or None"):
        dcdm(A, B, direction=lambda r: r, race="x")
    with pytest.raises(TypeError, match="path must be a string or a path, got None"):
        DirectionNetwork.from_npz(None)
    with pytest.raises(ValueError, match="flags is None"):
        PoissonOperator(None)
    with pytest.raises(ValueError, match="u is None"):
        project(None, np.zeros((8, 9)), FLAGS)
    with pytest.raises(TypeError, match="dtype must be float32 or float64, got 'abc'"):
        PoissonOperator(FLAGS, dtype="abc")
    with pytest.raises(ValueError, match="2 face arrays, one for each axis of flags, got 1 of them"):
        PoissonOperator(FLAGS, (np.ones((9, 8)),))
    with pytest.raises(TypeError, match="frames must be a sequence of steps, got 3"):
        simulate_smoke((8, 8), frames=3)
    with pytest.raises(ValueError, match="solver must be one of"):
        simulate_smoke((8, 8), solver="x")


def test_deflation_of_nothing():
    assert (DeflatedPreconditioner(np.zeros((0, 0))) @ np.zeros(0)).shape == (0,)
