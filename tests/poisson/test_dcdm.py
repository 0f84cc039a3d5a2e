"""Deep conjugate directions: the properties of the method, its safeguards, its endings."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theorylab.poisson import ConvergenceWarning, IncompleteCholesky, PoissonOperator, cg, dcdm, pcg
from theorylab.testing import assert_close

from .reference import box
from .test_krylov import spd

PLAIN = {"safeguard": False, "normalize": "unit"}


def tanh_mixture(n, seed=0):
    """Return a random nonlinear direction: two dense layers."""
    rng = np.random.default_rng(seed)
    V, W = (rng.standard_normal((n, n)) / math.sqrt(n) for _ in range(2))
    return lambda r: r + 0.3 * (W @ np.tanh(5 * (V @ r)))


def published(A, b, f, m, steps):
    """Return iterates of section 4 as it is written: lists, true residuals, no shortcuts."""
    x, kept, iterates = np.zeros_like(b), [], []
    for _ in range(steps):
        r = b - A @ x
        d = f(r / np.linalg.norm(r))
        d = d - sum(((d @ q) / (p @ q) * p for p, q in kept), np.zeros_like(b))
        q = A @ d
        x = x + (d @ r) / (d @ q) * d
        kept = [*kept, (d, q)][-m:] if m else []
        iterates.append(x)
    return np.array(iterates)


@pytest.mark.parametrize("m", [0, 1, 2, 5])
def test_iterates_are_the_published_ones(m):
    n, steps = 40, 25
    A, b = spd(n, 100.0), np.random.default_rng(0).standard_normal(n)
    f, seen = tanh_mixture(n), []
    with pytest.warns(ConvergenceWarning):
        dcdm(A, b, rtol=1e-15, maxiter=steps, direction=f, n_directions=m, callback=seen.append, **PLAIN)
    # Rounding errors of a Lipschitz iteration grow by a modest factor a step.
    assert_close(np.array(seen), published(A, b, f, m, steps), rtol=1e-8, atol=1e-8)


def run(A, b, f, m, steps):
    """Return residuals r_k and steps d_k (up to a factor) of the plain algorithm."""
    x = [np.zeros_like(b)]
    with pytest.warns(ConvergenceWarning):
        dcdm(A, b, rtol=1e-14, maxiter=steps, direction=f, n_directions=m, callback=x.append, **PLAIN)
    x = np.array(x)
    return [b - A @ v for v in x], np.diff(x, axis=0), x


@pytest.mark.parametrize("m", [0, 1, 2, 6])
def test_residuals_are_orthogonal_to_the_last_directions(m):
    """D1; and d_k is conjugate to the m directions before it."""
    n = 50
    A, b = spd(n, 50.0), np.random.default_rng(2).standard_normal(n)
    r, d, _ = run(A, b, tanh_mixture(n), m, 15)
    for k in range(len(d)):
        for j in range(max(0, k - m), k + 1):
            size = np.linalg.norm(d[j])
            assert abs(d[j] @ r[k + 1]) < 1e-10 * size * np.linalg.norm(r[k])
            if j < k:
                assert abs(d[j] @ A @ d[k]) < 1e-10 * 50 * size * np.linalg.norm(d[k])
    if m == 0:  # the control: without the second step of the method older directions are not respected
        assert abs(d[3] @ r[5]) > 1e-3 * np.linalg.norm(d[3]) * np.linalg.norm(r[4])


@pytest.mark.parametrize("m", [0, 2, None])
def test_energy_falls_by_the_gain_and_at_least_by_that_of_the_raw_direction(m):
    """D2."""
    n = 50
    A, b = spd(n, 50.0), np.random.default_rng(3).standard_normal(n)
    f = tanh_mixture(n)
    r, d, x = run(A, b, f, m, 12)
    exact = np.linalg.solve(A, b)
    energy = [(v - exact) @ A @ (v - exact) for v in x]
    for k in range(12):
        gain = (d[k] @ r[k]) ** 2 / (d[k] @ A @ d[k])
        assert math.isclose(energy[k] - energy[k + 1], gain, rel_tol=1e-10, abs_tol=1e-13 * energy[0])
        raw = f(r[k] / np.linalg.norm(r[k]))
        assert gain >= (raw @ r[k]) ** 2 / (raw @ A @ raw) - 1e-12 * energy[0]


@pytest.mark.parametrize("m", [1, 2, 5, None])
@pytest.mark.parametrize("safeguard", [False, True])
def test_residual_as_direction_is_conjugate_gradients(m, safeguard):
    """D3, with safeguards too: the race restarts nothing while the steps are those of CG."""
    A = PoissonOperator(box(24, 2))
    b = np.random.default_rng(4).standard_normal(576)
    classic = cg(A, b, rtol=1e-8, return_info=True)[1]
    for f in (lambda r: r, lambda r: -3e7 * r, None):
        info = dcdm(
            A,
            b,
            rtol=1e-8,
            direction=f,
            n_directions=m,
            safeguard=safeguard,
            normalize="unit",
            return_info=True,
        )[1]
        assert info.iterations == classic.iterations
        assert_close(info.residuals[:30], classic.residuals[:30], rtol=1e-10)


@pytest.mark.parametrize("m", [1, 3])
def test_linear_direction_is_preconditioned_cg(m):
    A = PoissonOperator(box(24, 2))
    M = IncompleteCholesky(A)
    b = np.random.default_rng(4).standard_normal(576)
    classic = pcg(A, b, M=M, rtol=1e-8, return_info=True)[1]
    for options in ({"direction": M.matvec, "safeguard": False}, {"M": M}):
        info = dcdm(A, b, rtol=1e-8, n_directions=m, return_info=True, **options)[1]
        assert info.iterations == classic.iterations
        assert_close(info.residuals, classic.residuals, rtol=1e-8)


def test_without_kept_directions_it_is_steepest_descent():
    A, b = spd(20, 10.0), np.ones(20)
    seen, x = [], np.zeros(20)
    with pytest.warns(ConvergenceWarning):
        dcdm(
            A, b, maxiter=10, rtol=1e-12, direction=lambda r: r, n_directions=0, callback=seen.append, **PLAIN
        )
    for v in seen:
        r = b - A @ x
        x = x + (r @ r) / (r @ A @ r) * r
        assert_close(v, x, rtol=1e-10, atol=1e-12)


@given(st.floats(1e-200, 1e200), st.booleans())
def test_scale_and_sign_of_the_direction_do_not_matter(factor, negative):
    """D4."""
    factor = -factor if negative else factor
    A, b = spd(20, 10.0), np.arange(20.0)
    f = tanh_mixture(20)
    one = dcdm(A, b, direction=f, n_directions=None, safeguard=False, return_info=True)[1]
    two = dcdm(A, b, direction=lambda r: factor * f(r), n_directions=None, safeguard=False, return_info=True)[
        1
    ]
    assert_close(one.residuals[:8], two.residuals[:8], rtol=1e-9)


def test_the_residual_may_rise_while_the_energy_falls():
    """D5: the direction that ignores the stiffest coordinate."""
    A, b = spd(30, 1e3, seed=5), np.random.default_rng(5).standard_normal(30)
    info = dcdm(A, b, direction=tanh_mixture(30, 5), n_directions=None, return_info=True, **PLAIN)[1]
    assert info.converged
    assert (np.diff(info.residuals) > 0).any()


def test_locality():
    """D6: a direction of radius R moves the support by R + 1 an iteration."""
    n, radius, steps = 31, 2, 3
    A = PoissonOperator(box(n, 2))
    b = np.zeros((n, n))
    b[n // 2, n // 2] = 1.0

    def blur(r):
        grid = np.pad(r.reshape(n, n), radius)
        shifts = range(2 * radius + 1)
        total = sum(np.tanh(grid[i : i + n, j : j + n] * (1 + i + 2 * j)) for i in shifts for j in shifts)
        return total.ravel()

    seen = []
    with pytest.warns(ConvergenceWarning):
        dcdm(A, b.ravel(), direction=blur, maxiter=steps, callback=seen.append, **PLAIN)
    distance = np.maximum(*np.abs(np.indices((n, n)) - n // 2))
    for k, x in enumerate(seen):
        reach = radius + k * (radius + 1)
        assert not x.reshape(n, n)[distance > reach].any()
        assert x.reshape(n, n)[distance == reach].any()


def test_what_the_direction_sees():
    A, b, sizes = spd(50, 10.0), np.ones(50), []

    def f(r):
        sizes.append(np.linalg.norm(r))
        r[:] = 0 * r + 1 if len(sizes) > 100 else r  # its argument is its own
        return r

    dcdm(A, b, direction=f, **PLAIN)
    assert_close(np.array(sizes), np.ones(len(sizes)), rtol=1e-12)
    for options in ({"n_train": 200}, {}):
        sizes.clear()
        f.n_train = 200
        dcdm(A, b, direction=f, normalize="rms", **options)
        assert_close(np.array(sizes), np.full(len(sizes), math.sqrt(50 / 200)), rtol=1e-12)


def hostile(n, seed):
    """Return directions that mislead."""
    rng = np.random.default_rng(seed)
    signs, mask = rng.choice([-1.0, 1.0], n), rng.random(n) < 0.5
    calls = []

    def sometimes(r):
        calls.append(1)
        return r * np.inf if len(calls) % 3 == 0 else rng.standard_normal(n)

    return {
        "zero": lambda r: 0 * r,
        "nan": lambda r: r * np.nan,
        "constant": np.ones_like,
        "noise": lambda r: rng.standard_normal(n),
        "negated": lambda r: -r,
        "signs": lambda r: signs * r,
        "half-masked": lambda r: mask * r,
        "sometimes infinite": sometimes,
        "one nan": lambda r: np.where(np.arange(n) == 3, np.nan, r),
        "huge": lambda r: r * 1e300 * signs,
        "always the same": lambda r: signs,
    }


@pytest.mark.parametrize("name", hostile(1, 0))
@pytest.mark.parametrize("m", [0, 2, 10])
def test_hostile_directions_converge_within_the_bound(name, m):
    A = PoissonOperator(box(24, 2))
    b = np.random.default_rng(6).standard_normal(576)
    classic = cg(A, b, rtol=1e-6, return_info=True)[1].iterations
    x, info = dcdm(A, b, rtol=1e-6, direction=hostile(576, 1)[name], n_directions=m, return_info=True)
    assert info.converged
    assert np.linalg.norm(b - A @ x) <= 1e-6 * np.linalg.norm(b)
    assert info.iterations <= 4.5 * classic


def test_the_error_never_grows_under_the_race():
    A, b = spd(60, 1e3), np.random.default_rng(7).standard_normal(60)
    exact, seen = np.linalg.solve(A, b), []
    dcdm(A, b, rtol=1e-8, direction=hostile(60, 2)["noise"], callback=seen.append)
    energy = np.array([(v - exact) @ A @ (v - exact) for v in seen])
    assert (np.diff(energy) <= 1e-12 * energy[0]).all()


@pytest.mark.parametrize("m", [0, 1, 4])
def test_subspace_gains_at_least_what_steepest_descent_does(m):
    """S2, each step against the bound, with and without a preconditioner."""
    n, kappa = 60, 200.0
    A, b = spd(n, kappa), np.random.default_rng(8).standard_normal(n)
    exact, seen = np.linalg.solve(A, b), [np.zeros(n)]
    f = hostile(n, 3)["signs"]
    info = dcdm(
        A, b, rtol=1e-8, direction=f, n_directions=m, subspace=True, race=False, callback=seen.append,
        maxiter=3000, return_info=True,
    )[1]  # fmt: skip
    assert info.converged
    energy = np.array([math.sqrt((v - exact) @ A @ (v - exact)) for v in seen])
    assert (energy[1:] <= (kappa - 1) / (kappa + 1) * energy[:-1] * (1 + 1e-9)).all()
    # Exactly the minimum over span{f, g}: the residual is orthogonal to both.
    for k in range(3):
        r, after = b - A @ seen[k], b - A @ seen[k + 1]
        for direction in (r, f(r)):
            assert abs(direction @ after) < 1e-9 * np.linalg.norm(direction) * np.linalg.norm(r)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("zero", "zero"),
        ("nan", "NaN"),
        ("constant", "span"),
        ("one nan", "NaN"),
        ("sometimes infinite", "infinity"),
    ],
)
def test_the_plain_algorithm_breaks_down_honestly(name, text):
    A = PoissonOperator(box(8, 2))
    b = np.random.default_rng(9).standard_normal(64)
    with pytest.warns(ConvergenceWarning, match=text):
        x, info = dcdm(A, b, rtol=1e-10, direction=hostile(64, 4)[name], return_info=True, **PLAIN)
    assert info.code == -2
    assert np.isfinite(x).all()
    assert_close(info.residuals[-1:], np.array([np.linalg.norm(b - A @ x)]), rtol=1e-10)


def test_fallbacks_are_counted():
    A, b = spd(40, 1e3), np.ones(40)
    info = dcdm(A, b, direction=lambda r: 0 * r, return_info=True)[1]
    assert info.n_fallback == info.iterations
    assert dcdm(A, b, direction=lambda r: r, return_info=True, **PLAIN)[1].n_fallback == 0


def test_a_good_direction_is_not_slowed_down_much():
    """Half of the iterations of CG, safeguards on; A^-1 itself takes one."""
    A = spd(80, 1e4)
    values, vectors = np.linalg.eigh(A)
    inverse, root = ((vectors * values**power) @ vectors.T for power in (-1.0, -0.5))
    b = np.random.default_rng(10).standard_normal(80)
    assert dcdm(A, b, direction=lambda r: inverse @ r, return_info=True)[1].iterations == 1
    mixture = tanh_mixture(80)

    def rough(r):
        s = root @ r
        return root @ (9 * s / np.linalg.norm(s) + mixture(s / np.linalg.norm(s)))

    info = dcdm(A, b, direction=rough, return_info=True)[1]
    assert info.iterations < 0.2 * cg(A, b, return_info=True)[1].iterations


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"direction": 3}, TypeError, "direction must be callable"),
        ({"direction": lambda r: r[:-1]}, ValueError, r"direction returned shape \(3,\), expected \(4,\)"),
        ({"direction": lambda r: r[None]}, ValueError, r"direction returned shape \(1, 4\)"),
        ({"direction": lambda r: r * 1j}, TypeError, "direction returned is complex"),
        ({"direction": lambda r: None}, ValueError, r"direction returned shape \(\)"),
        ({"n_directions": -1}, ValueError, "n_directions must lie in"),
        ({"n_directions": 2.0}, TypeError, "n_directions must be an integer"),
        ({"normalize": "max"}, ValueError, "normalize must be one of 'unit', 'rms'"),
        ({"safeguard": "yes"}, TypeError, "safeguard must be True or False"),
        (
            {"direction": np.sin, "safeguard": False, "race": True},
            ValueError,
            "race=True needs safeguard=True",
        ),
        ({"check_every": 0}, ValueError, "check_every must lie in"),
        ({"n_train": 0}, ValueError, "n_train must lie in"),
    ],
)
def test_bad_options(options, error, text):
    with pytest.raises(error, match=text):
        dcdm(spd(4, 2.0), np.ones(4), **options)
