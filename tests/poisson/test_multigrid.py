"""The multigrid preconditioner against equations (7.1) and (7.2) in dense matrices, and its solves."""

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from theorylab.poisson import ConvergenceWarning, PoissonOperator, _hierarchy, problems, solve_pressure
from theorylab.poisson._multigrid import LearnedMultigrid
from theorylab.poisson._recipe_training import TrainedRecipe, convergence_rate, train_recipe
from theorylab.poisson._recipes import certify, digest, get_recipe, load_learned, revisit
from theorylab.testing import relative_error

from ._multigrid_reference import coarsen, first_level, matrix, preconditioner, transfer

# Spec, section 8: 2-D and 3-D recipes of another training, generic numbers here.
RECIPE_2D = (0.543, 1.046, 0.638, 1.969, 1.008, 0.691, 1.022, 1.294)
RECIPE_3D = (0.594, 1.494, 0.512, 1.685, 0.884, 2.155, 1.007, 1.206)
OVER = (1.3, 1.3, 1.3, 1.3, 1.0, 1.0, 1.0, 1.0)
SHAPES = [(16, 16), (13, 22), (24, 25), (1, 90), (90, 1), (9, 9, 9), (6, 11, 8), (1, 1, 90), (2, 9, 14)]
# Shares of SOLID, FLUID, AIR.
SHARES = [(0.0, 1.0, 0.0), (0.1, 0.88, 0.02), (0.3, 0.6, 0.1), (0.5, 0.45, 0.05)]


def random_flags(shape, shares, seed=0):
    flags = np.random.default_rng(seed).choice(3, size=shape, p=shares).astype(np.uint8)
    flags.flat[flags.size // 2] = 1
    return flags


def recipe_for(flags):
    return RECIPE_2D if flags.ndim == 2 else RECIPE_3D


def dense(B):
    return B @ np.eye(B.shape[0])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("shares", SHARES, ids=str)
def test_equals_the_formulas(shape, shares):
    flags = random_flags(shape, shares)
    expected = preconditioner(first_level(flags), recipe_for(flags))
    B = LearnedMultigrid(flags, recipe=recipe_for(flags), precision="float64")
    # The coarsest inverse has a condition number below 64^2 = 4e3; tens of terms a sum: 4e3 * 50 u = 2e-11.
    assert np.abs(dense(B) - expected).max() <= 2e-11 * np.abs(expected).max()
    single = LearnedMultigrid(flags, recipe=recipe_for(flags))
    # The same in single precision would be 1e-2; that many roundings do not conspire.
    assert np.abs(dense(single) - expected).max() <= 2e-4 * np.abs(expected).max()


@pytest.fixture(params=[1, 2], ids=["visited twice from level 1", "from level 2"])
def deep(monkeypatch, request):
    """Second visits on small grids too: down to 4 unknowns, from an early level on."""
    monkeypatch.setattr(_hierarchy, "COARSEST", 4)
    monkeypatch.setattr(_hierarchy, "TWICE", {2: request.param, 3: request.param})
    return {"coarsest": 4, "twice": request.param}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("shares", SHARES, ids=str)
def test_second_visits_equal_the_formulas(shape, shares, deep):
    flags = random_flags(shape, shares)
    recipe = load_learned(flags.ndim)[0]
    expected = preconditioner(first_level(flags), recipe, **deep, damping=revisit(recipe))
    B = LearnedMultigrid(flags, recipe=recipe, precision="float64")
    assert np.abs(dense(B) - expected).max() <= 2e-11 * np.abs(expected).max()
    # Definite, and below twice the inverse of A: what a second visit by a larger grid asks for.
    assert scipy.linalg.eigvalsh(expected)[0] > -1e-12
    A = matrix(*first_level(flags)[1:])
    assert scipy.linalg.eigvals(expected @ A).real.max() < 1.0 + 1.0 / revisit(recipe)


def certified_for_two(rng):
    """A recipe far from any optimum for which second visits are known to keep the cycle definite."""
    while True:
        recipe = (*rng.uniform(0.2, 2.5, 4), *rng.uniform(0, 1, 1), *rng.uniform(0, 2.5, 1),
                  *rng.uniform(0.3, 1.5, 1), *rng.uniform(0.3, 4, 1))  # fmt: skip
        if revisit(recipe) > 0.0:
            return tuple(float(x) for x in recipe)


@settings(deadline=None, max_examples=60)
@given(
    hnp.arrays(
        np.uint8,
        hnp.array_shapes(min_dims=2, max_dims=3, min_side=2, max_side=10),
        elements=st.sampled_from([0, 1, 1, 1, 2]),
    ),
    st.integers(0, 2**32 - 1),
)
def test_bound_of_the_transfer(flags, seed):
    """The proof of `revisit`: no e has a larger |P e|_A^2 / |e|_Ac^2 than 4 / (oc (1 + w)), on any level."""
    recipe = certified_for_two(np.random.default_rng(seed))
    tf, td, oc, alpha = recipe[4:]
    bound = 4.0 / (oc * (1.0 + revisit(recipe))) if revisit(recipe) < 1.0 else 4.0 / oc / 2.0
    level = first_level(flags)
    for _ in range(3):
        owner, below = coarsen(*level, alpha)
        if not below[0]:
            return
        P = transfer(*level[1:], owner, len(below[0]), tf, td)
        fine, coarse = P.T @ matrix(*level[1:]) @ P, matrix(*below[1:])
        # On constants of components without AIR both are zero: the pencil bound * coarse - fine has no sign.
        assert scipy.linalg.eigvalsh(bound * coarse - fine)[0] >= -1e-12 * np.abs(coarse).max()
        level = below


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.sampled_from(problems.FAMILIES), st.booleans())
def test_second_visits_stay_definite(seed, family, deep_grid):
    """Random recipes, all levels twice, down to a handful of unknowns."""
    rng = np.random.default_rng(seed)
    flags = problems.domain(family, (6, 7, 6) if deep_grid else (17, 16), rng)
    recipe = certified_for_two(rng)
    B = preconditioner(first_level(flags), recipe, coarsest=2, twice=1, damping=revisit(recipe))
    low = scipy.linalg.eigvalsh(B)
    assert low[0] > -1e-12 * low[-1]
    assert low[1 if family == "closed" else 0] > 0.0


@pytest.mark.parametrize(
    ("change", "allowed"),
    [
        ({}, True),
        ({4: 0.99}, False),
        ({4: 0.0}, False),
        ({5: 0.5}, False),
        ({5: 3.0}, False),
        ({6: 1.5}, False),
        ({6: -1.0}, False),
        ({7: 0.5}, False),
        ({0: 1.3, 1: 1.3}, False),
    ],
)
def test_second_visits_want_a_proof(change, allowed):
    recipe = [0.5, 1.4, 0.6, 2.5, 0.9, 1.3, 1.0, 1.5]
    for k, v in change.items():
        recipe[k] = v
    assert (revisit(tuple(recipe)) > 0.0) is allowed


def test_golden_damping():
    # tD <= tF alphaD and 2 tF < 2: k = 2 and w = 4 / (2 oc) - 1, at most 1.
    assert revisit((0.5, 1.4, 0.6, 2.5, 0.9, 1.3, 1.25, 1.5)) == pytest.approx(0.6)
    assert revisit((0.5, 1.4, 0.6, 2.5, 0.9, 1.3, 0.9, 1.5)) == 1.0
    # tD / (tF alphaD) = 1.08 / 0.9: k = 2.4, oc k = 2.4, w = 2 / 3.
    assert revisit((0.5, 1.4, 0.6, 2.5, 0.9, 1.08, 1.0, 1.0)) == pytest.approx(2 / 3)


@pytest.mark.parametrize("family", problems.FAMILIES)
@pytest.mark.parametrize("shape", [(24, 24), (9, 9, 9)], ids=str)
@pytest.mark.parametrize("nu", [1, 2])
def test_families_equal_the_formulas(family, shape, nu):
    flags, _ = problems.make(family, shape, 3)
    recipe = recipe_for(flags)
    single = (recipe[0], 0.0, recipe[2], 0.0, *recipe[4:])
    expected = preconditioner(first_level(flags), recipe if nu == 2 else single)
    B = LearnedMultigrid(flags, recipe=recipe, precision="float64", nu=nu)
    assert np.abs(dense(B) - expected).max() <= 2e-11 * np.abs(expected).max()


def test_thin_walls_are_not_crossed():
    """Two rooms that share blocks, and touch AIR each on its side, do not hear of each other."""
    flags = np.ones((40, 20), np.uint8)
    flags[20], flags[0], flags[-1] = 0, 2, 2
    B = LearnedMultigrid(flags, precision="float64")
    number = np.cumsum(flags.ravel() == 1).reshape(flags.shape) - 1
    above = number[:20][flags[:20] == 1]
    below = number[21:][flags[21:] == 1]
    full = dense(B)
    assert np.all(full[np.ix_(above, below)] == 0.0)
    assert np.abs(full[np.ix_(above, above)]).max() > 0.1


@pytest.mark.parametrize("shape", [(16, 16), (8, 8, 8)], ids=str)
@pytest.mark.parametrize("family", problems.FAMILIES)
def test_certificate_agrees_with_dense_spectra(shape, family):
    flags, _ = problems.make(family, shape, 1)
    for recipe in ("default", recipe_for(flags)):
        B = LearnedMultigrid(flags, recipe=recipe, precision="float64")
        assert B.certificate().holds
        full = dense(B)
        assert np.abs(full - full.T).max() <= 1e-13 * np.abs(full).max()
        null = (
            (np.ones(len(full)) / len(full) ** 0.5)[:, None]
            if family == "closed"
            else np.zeros((len(full), 0))
        )
        basis = scipy.linalg.null_space(null.T) if null.size else np.eye(len(full))
        assert scipy.linalg.eigvalsh(basis.T @ full @ basis)[0] > 0.05
    if family in ("empty", "smoke", "closed"):
        broken = LearnedMultigrid(flags, recipe=OVER, precision="float64")
        assert not broken.certificate().holds
        assert scipy.linalg.eigvalsh(dense(broken))[0] < 0.0


@settings(deadline=None, max_examples=25)
@given(
    hnp.arrays(
        np.uint8,
        hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=12),
        elements=st.integers(0, 2),
    ),
    st.integers(0, 2**32 - 1),
)
def test_any_flags_symmetric_semidefinite(flags, seed):
    if not (flags == 1).any():
        flags[(0,) * flags.ndim] = 1
    rng = np.random.default_rng(seed)
    B = LearnedMultigrid(flags, precision="float64")
    x, y = rng.standard_normal((2, B.shape[0]))
    bx, by = B @ x, B @ y
    # A scalar product of two vectors, and the roundings of the cycle, relative to their norms.
    scale = np.linalg.norm(bx) * np.linalg.norm(y) + np.linalg.norm(by) * np.linalg.norm(x)
    assert abs(x @ by - y @ bx) <= 1e-12 * scale + 1e-300
    assert x @ bx >= -1e-12 * scale


@pytest.mark.parametrize("family", problems.FAMILIES)
@pytest.mark.parametrize("shape", [(37, 52), (13, 17, 12)], ids=str)
@pytest.mark.parametrize("recipe", ["default", "learned"])
def test_solves_to_ten_digits(family, shape, recipe):
    flags, b = problems.make(family, shape, 2)
    B = LearnedMultigrid(flags, recipe=recipe)
    p, residuals, iterations = B._solve(b, None, 1e-12, 0.0, 60, True)
    A, fluid = PoissonOperator(flags), flags == 1
    assert residuals.shape == (iterations + 1,)
    assert iterations <= 25
    right = b[fluid] - (b[fluid].mean() if family == "closed" else 0.0)
    # The history is of the true residual: the last one is computed from the definition.
    true = np.linalg.norm(right - A @ p[fluid])
    assert true <= 1e-12 * np.linalg.norm(right)
    assert abs(true - residuals[-1]) <= 1e-3 * residuals[-1] + 1e-16 * np.linalg.norm(right)
    matrix_, rhs = A.to_csr().tolil(), right.copy()
    if family == "closed":
        matrix_[0] = 0.0
        matrix_[0, 0], rhs[0] = 1.0, 0.0
    exact = scipy.sparse.linalg.spsolve(matrix_.tocsc(), rhs)
    exact -= exact.mean() if family == "closed" else 0.0
    # Condition number below 4e3: 1e-12 * 4e3.
    assert relative_error(p[fluid], exact) <= 1e-8
    assert np.all(p[~fluid] == 0.0)
    again, _, fewer = B._solve(b, p, 1e-10, 0.0, 60, True)
    assert fewer == 0
    assert relative_error(again[fluid], p[fluid]) <= 1e-12


def test_pockets_closed_and_open():
    """Sealed pockets of one, two and many cells beside an open domain."""
    flags = np.zeros((30, 30), np.uint8)
    flags[1:12, 1:29], flags[12, 1:29] = 1, 2
    flags[14, 14] = 1
    flags[16, 15:17] = 1
    flags[20:28, 3:27] = 1
    b = np.where(flags == 1, np.random.default_rng(0).standard_normal(flags.shape), 0.0)
    B = LearnedMultigrid(flags)
    p, residuals, _ = B._solve(b, None, 1e-10, 0.0, 60, True)
    assert residuals[-1] <= 1e-10 * residuals[0]
    assert p[14, 14] == 0.0
    assert abs(p[16, 15] + p[16, 16]) < 1e-14
    assert p[16, 15] - p[16, 16] == pytest.approx((b[16, 15] - b[16, 16]) / 2, rel=1e-9)
    assert abs(p[20:28, 3:27].mean()) < 1e-14


@pytest.mark.parametrize(
    ("flags", "inverse"), [([[1, 2]], 1.0), ([[2, 1, 2]], 0.5), ([[0, 1]], 0.0), ([[[1]]], 0.0)]
)
def test_single_cells(flags, inverse):
    B = LearnedMultigrid(flags)
    assert B.shape == (1, 1)
    assert (B @ np.array([3.0])).tolist() == [3.0 * inverse]


def test_update_reuses_memory_and_equals_a_fresh_one():
    first, second = random_flags((40, 50), SHARES[1], 1), random_flags((40, 50), SHARES[3], 2)
    B = LearnedMultigrid(first)
    x = np.random.default_rng(0).standard_normal(int((second == 1).sum()))
    B.update(second)
    memory = [B._hierarchy.A, B._hierarchy.cell, B._hierarchy.li, B._hierarchy.work, B._outer.x]
    B.update(first)
    B.update(second)
    after = [B._hierarchy.A, B._hierarchy.cell, B._hierarchy.li, B._hierarchy.work, B._outer.x]
    assert all(a is c for a, c in zip(memory, after))
    assert B.shape == (x.size, x.size)
    fresh = LearnedMultigrid(second)
    assert np.array_equal(B @ x, fresh @ x)
    assert B.levels == fresh.levels
    B.update(np.ones((7, 5), int))
    assert B.shape == (35, 35)
    with pytest.raises(ValueError, match="expected a 2-D grid as before"):
        B.update(np.ones((3, 3, 3), int))


def test_flags_of_the_caller_may_change():
    """Moving solids are often painted into one array: the multigrid keeps its own."""
    flags = random_flags((20, 22), SHARES[1], 1)
    before = flags.copy()
    x = np.random.default_rng(0).standard_normal(int((flags == 1).sum()))
    B, fresh = LearnedMultigrid(flags), LearnedMultigrid(before)
    flags[5:9, 5:9] = 0
    assert np.array_equal(B @ x, fresh @ x)
    B.update(flags)
    moved = LearnedMultigrid(flags.copy())
    y = x[: moved.shape[0]]
    flags[:] = before
    assert np.array_equal(B @ y, moved @ y)


def test_a_multigrid_solves_on_its_own_flags_only():
    """As many FLUID cells in other places would give another pressure, and no word about it."""
    flags = np.full((6, 7), 2, np.uint8)
    flags.flat[:20] = 1
    B = LearnedMultigrid(np.pad(np.ones((4, 5), int), 1, constant_values=2))
    with pytest.raises(ValueError, match="multigrid for other flags"):
        solve_pressure(flags, np.ones(flags.shape), method=B)
    B.update(flags)
    assert np.array_equal(
        solve_pressure(flags, np.ones(flags.shape), method=B),
        solve_pressure(flags, np.ones(flags.shape), method="mg"),
    )


@pytest.mark.parametrize("method", ["learned-mg", "mg"])
def test_unreachable_tolerance_ends_without_overflow(method):
    flags = np.pad(np.ones((4, 5), int), 1, constant_values=2)
    b = np.random.default_rng(0).standard_normal(flags.shape)
    with pytest.warns(ConvergenceWarning, match="rounding errors set the limit"):
        p, info = solve_pressure(flags, b, method=method, rtol=1e-300, return_info=True)
    A = PoissonOperator(flags)
    # Rounding of the 5 terms of A p, each at most 8 max|p|.
    true = np.linalg.norm(b[flags == 1] - A @ p[flags == 1])
    assert true <= 20**0.5 * 5 * 8 * np.finfo(float).eps * np.abs(p).max()
    assert info.residuals[-1] == pytest.approx(true, abs=1e-14)


def test_product_refuses_complex_and_passes_nan_on():
    B = LearnedMultigrid(np.ones((3, 4), int))
    with pytest.raises(TypeError, match="x is complex"):
        B @ np.ones(12, complex)
    assert np.isnan(B @ np.full(12, np.nan)).all()


def test_layouts_and_precisions():
    flags = random_flags((33, 20), SHARES[1])
    x = np.random.default_rng(1).standard_normal(int((flags == 1).sum()))
    B = LearnedMultigrid(flags)
    frozen = np.asfortranarray(flags.astype(np.int64))
    frozen.flags.writeable = False
    wide = np.zeros((33, 40), int)
    wide[:, ::2] = flags
    for other in (frozen, wide[:, ::2], flags.tolist()):
        assert np.array_equal(LearnedMultigrid(other) @ x, B @ x)
    assert (B @ x).dtype == np.float64
    assert (B @ x.astype(np.float32)).dtype == np.float32
    assert relative_error(B.T @ x, B @ x) == 0.0
    # Subnormal and huge input is scaled: the operator is linear. The scale itself is rounded.
    assert relative_error((B @ (1e-300 * x)) * 1e300, B @ x) <= 1e-6
    assert relative_error((B @ (1e300 * x)) * 1e-300, B @ x) <= 1e-6
    assert np.array_equal(B @ np.zeros_like(x), np.zeros_like(x))


def test_golden_certificates():
    # Section 16: (1 - 0.638 * 2)(1 - 1.969 * 2) = 0.8109; (1 - 2.6)^2 = 2.56; (1 - 0.8 * 2)^2 = 0.36 at 2.
    assert certify(RECIPE_2D).value == pytest.approx(0.810888, abs=1e-6)
    assert certify(OVER) == (False, pytest.approx(2.56))
    even = certify((0.8, 0.8, 0.8, 0.8, 1, 1, 1, 1))
    assert even.holds
    assert even.value == pytest.approx(0.84**2)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-3, 3), min_size=4, max_size=4))
def test_certificate_equals_a_scan(weights):
    certificate = certify((*weights, 1, 1, 1, 1))
    t = np.linspace(0.2, 2, 20001)
    scan = max(np.abs((1 - u * t) * (1 - v * t)).max() for u, v in (weights[:2], weights[2:]))
    # A maximum inside is missed by at most |f''| dt^2 / 8 = 2 * 9 * (9e-5)^2 / 8.
    assert scan <= certificate.value + 1e-12
    assert certificate.value <= scan + 2e-8
    t = np.linspace(1e-3, 2, 20001)
    inside = max(np.abs((1 - u * t) * (1 - v * t)).max() for u, v in (weights[:2], weights[2:]))
    if certificate.holds:
        assert inside < 1.0 + 1e-12
    elif inside < 1.0 - 1e-6:
        # Only at t -> 0 or between the points of the scan can it fail.
        assert min(weights[0] + weights[1], weights[2] + weights[3]) < 1e-2


@pytest.mark.parametrize(
    ("change", "holds"), [({6: -0.1}, False), ({7: -0.1}, False), ({6: 0.0}, True), ({0: 0.0, 1: 0.0}, False)]
)
def test_certificate_sees_every_number(change, holds):
    recipe = list(RECIPE_2D)
    for k, v in change.items():
        recipe[k] = v
    assert certify(tuple(recipe)).holds is holds


def test_uncertified_recipe_constructs_and_ends_honestly():
    flags, b = problems.make("empty", (40, 40), 0)
    B = LearnedMultigrid(flags, recipe=OVER)
    assert B.certificate() == (False, pytest.approx(2.56))
    bad = LearnedMultigrid(flags, recipe=(-1.0, -1.0, -1.0, -1.0, 1, 1, 1, 1))
    with pytest.raises(np.linalg.LinAlgError, match="preconditioner is not positive definite"):
        bad._solve(-np.abs(b), None, 1e-10, 0.0, 50, True)


def test_limits_of_iterations():
    flags, b = problems.make("smoke", (48, 48), 0)
    B = LearnedMultigrid(flags)
    _, residuals, iterations = B._solve(b, None, 1e-10, 0.0, 3, True)
    assert iterations == 3
    assert residuals.shape == (4,)
    assert residuals[-1] > 1e-10 * residuals[0]
    # A tolerance below the rounding error ends, and says what was reached.
    p, residuals, iterations = B._solve(b, None, 1e-18, 0.0, 500, True)
    assert iterations < 200
    assert np.linalg.norm(b[flags == 1] - PoissonOperator(flags) @ p[flags == 1]) <= 1e-12 * residuals[0]
    zero, residuals, iterations = B._solve(np.zeros_like(b), None, 1e-6, 0.0, 50, True)
    assert iterations == 0
    assert not zero.any()


# Measured over eight seeds: 6 or 7 in 2-D; in 3-D 6, porous 7 or 8, thin walls 7 to 9.
@pytest.mark.parametrize("family", problems.FAMILIES)
def test_counts_2d(family):
    for seed in range(3):
        flags, b = problems.make(family, (256, 256), seed)
        assert LearnedMultigrid(flags, recipe="learned")._solve(b, None, 1e-6, 0.0, 50, True)[2] <= 8


@pytest.mark.parametrize("family", problems.FAMILIES)
def test_counts_3d(family):
    for seed in (0, 3) if family == "walls" else (0,):
        flags, b = problems.make(family, (64, 64, 64), seed)
        assert LearnedMultigrid(flags, recipe="learned")._solve(b, None, 1e-6, 0.0, 50, True)[2] <= 10


def dense_iterations(A, B, b):
    """Count conjugate-gradient steps to 1e-6 with the dense preconditioner B."""
    x, r = np.zeros(len(A)), b.copy()
    z = p = B @ r
    start = np.linalg.norm(r)
    for k in range(1, 200):
        q = A @ p
        step = (r @ z) / (p @ q)
        x, rest = x + step * p, r - step * q
        if np.linalg.norm(rest) <= 1e-6 * start:
            return k
        y = B @ rest
        p, r, z = y + (rest @ y) / (r @ z) * p, rest, y
    return 200


def test_split_aggregates_beat_blocks():
    """Control: blocks that are not split leak through thin walls."""
    total = {True: 0, False: 0}
    for seed in (5, 6):
        flags, b = problems.make("walls", (32, 32), seed)
        level = first_level(flags)
        A = matrix(*level[1:])
        counts = {
            split: dense_iterations(A, preconditioner(level, RECIPE_2D, split=split), b[flags == 1])
            for split in total
        }
        assert counts[True] <= 10
        compiled = LearnedMultigrid(flags, recipe=RECIPE_2D)._solve(b, None, 1e-6, 0.0, 50, True)[2]
        assert abs(compiled - counts[True]) <= 1
        total = {split: total[split] + counts[split] for split in total}
    assert total[False] >= 1.3 * total[True]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"recipe": "best"}, "recipe must be 'learned', 'default' or 8 numbers"),
        ({"recipe": (1.0, 2.0)}, "recipe has shape"),
        ({"recipe": (0.6, 1.1, 0.6, 1e300, 1, 1, 1, 1)}, "recipe has w2c = 1e\\+300, expected sizes"),
        ({"recipe": [np.nan] * 8}, "recipe contains nan"),
        ({"precision": "float16"}, "precision must be one of"),
        ({"nu": 3}, "nu must lie in"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        LearnedMultigrid(np.ones((4, 4), int), **arguments)


def test_bad_flags():
    with pytest.raises(ValueError, match="FLUID"):
        LearnedMultigrid(np.zeros((4, 4), int))
    with pytest.raises(ValueError, match="2-D or 3-D"):
        LearnedMultigrid(np.ones(4, int))
    with pytest.raises(TypeError, match="complex"):
        LearnedMultigrid(np.ones((4, 4), int), recipe=np.ones(8) * 1j)


@pytest.mark.parametrize("dimension", [2, 3])
def test_shipped_recipes(dimension):
    recipe, meta = load_learned(dimension)
    assert meta["sha256"] == digest(recipe)
    certificate = certify(recipe)
    assert certificate.holds
    assert certificate.value <= 0.9
    assert meta["certificate"] == pytest.approx(certificate.value)
    assert meta["heldout_rate"] > meta["heldout_rate_default"]
    assert get_recipe("learned", dimension) == recipe


def test_training_improves():
    draws = [problems.make("smoke", (32, 32), seed) for seed in range(2)]
    trained = train_recipe(draws, evaluations=60)
    assert isinstance(trained, TrainedRecipe)
    assert len(trained) == 8
    assert trained.rate > 1.05 * trained.start_rate
    assert trained.certificate().holds
    assert len(trained.history) <= 60
    assert list(trained.history) == sorted(trained.history)
    assert convergence_rate(trained, draws) == pytest.approx(trained.rate, rel=1e-12)
    assert convergence_rate("default", draws) == pytest.approx(trained.start_rate, rel=1e-12)
    assert tuple(train_recipe(draws, evaluations=60)) == tuple(trained)


def test_training_refuses():
    for function in (train_recipe, lambda pairs: convergence_rate("learned", pairs)):
        with pytest.raises(ValueError, match="problems is empty"):
            function([])
        for pairs in (problems.make("smoke", (16, 16), 0), 3):
            with pytest.raises(ValueError, match="problems must be a list of pairs"):
                function(pairs)
    with pytest.raises(ValueError, match="iterations must lie in"):
        convergence_rate("learned", [problems.make("smoke", (16, 16), 0)], iterations=0)
    with pytest.raises(ValueError, match="mix 2-D and 3-D"):
        train_recipe([problems.make("smoke", (16, 16), 0), problems.make("smoke", (8, 8, 8), 0)])
    with pytest.raises(ValueError, match="start has the certificate"):
        train_recipe([problems.make("smoke", (16, 16), 0)], start=OVER)
    with pytest.raises(ValueError, match="evaluations"):
        train_recipe([problems.make("smoke", (16, 16), 0)], evaluations=0)
