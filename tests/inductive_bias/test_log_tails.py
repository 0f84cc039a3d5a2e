"""Log-tails against high precision, against other methods, and against each other."""

import json
import math
import pathlib
import time
import warnings

import mpmath as mp
import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from theorylab.inductive_bias import GeneralizedChi2, _batch, _blocks, _law, _series, generalized_chi2_logcdf

CASES = json.loads(pathlib.Path(__file__).with_name("golden_log_tails.json").read_text())
FAMILIES = sorted({case["family"] for case in CASES})


def law_of(case):
    key = "noncentralities" if case["family"] == "noncentral" else "shifts"
    return GeneralizedChi2(
        case["weights"], case["dofs"], **{key: case["shifts"]}, offset=case["offset"], sigma=case["sigma"]
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_golden_values_and_honest_errors(family):
    # The promise is 1e-12; the error analysis gives a few sqrt(dof) roundings, 3e-14 at 20000 dofs.
    for case in (c for c in CASES if c["family"] == family):
        law = law_of(case)
        value, info = (law.logsf if case["upper"] else law.logcdf)(case["x"], return_info=True)
        exact = mp.mpf(case["log_tail"])
        error = abs(float(mp.mpf(float(value)) - exact))
        assert error <= 5e-14 * max(1.0, abs(float(exact))), case
        assert error <= 2 * info.numerical_error, case
        assert info.numerical_error <= 1e-12 * max(1.0, abs(float(exact))), case
        assert info.converged
        assert info["nodes"] <= 3000


@pytest.mark.parametrize("x", [0.0014063668338778785, 0.0013, 0.002, 0.0041])
def test_honest_error_where_convergence_is_slow(x):
    """Two scales in one law: halving the step gains fewer digits than the rule's usual squaring."""
    a, b = 0.0029204416045332015, 3.0738530110725215e-06
    law = GeneralizedChi2([a, b], [1, 2], [1.0, 300.0])
    with mp.workdps(25):

        def integrand(s):
            root, v = s / mp.sqrt(a), max(mp.mpf(0), (mp.mpf(x) - s * s) / b)
            lower = mp.ncdf(root - 1) - mp.ncdf(-root - 1)
            return s / b * mp.exp(-(v + 300) / 2) * mp.besseli(0, mp.sqrt(300 * v)) * lower

        # The second term has the mean 9.3e-4 and the standard deviation 1.1e-4.
        ends = [mp.sqrt(max(0.0, x - u)) for u in (2.2e-3, 1.5e-3, 1.1e-3, 9e-4, 7e-4, 4e-4, 0.0)]
        exact = mp.log(mp.quad(integrand, sorted({*ends})))
    value, info = law.logcdf(x, return_info=True)
    error = float(abs(mp.mpf(float(value)) - exact))
    assert error <= 2 * float(info.numerical_error)
    assert error <= 1e-12 * max(1.0, abs(float(exact)))


def test_golden_set_spans_the_promise():
    depths = [-float(c["log_tail"]) for c in CASES]
    assert max(depths) > 1e5
    assert {max(c["dofs"]) for c in CASES} >= {1, 20000}


# Reference values made with 30 digits and more; that of chi'^2_50(2000) is from golden_log_tails.py.
@pytest.mark.parametrize(
    ("weights", "dofs", "noncentrality", "x", "upper", "value"),
    [
        ([1.0], 50, 0, 5, False, -37.495653353750782),
        ([1.0], 1000, 0, 1e-5, False, -8714.3667862152629),
        ([1.0], 3, 0, 3000, True, -1496.2222744019927),
        (0.5 ** np.arange(10), 2, 0, 0.001, False, -59.968074921124174),
        (0.5 ** np.arange(10), 2, 0, 4, True, -0.90405027672622432),
        ([1.0, 0.5, -0.75], 2, 0, 0, True, -0.29725152346793163),
        ([1.0], 5, 100, 10.5, False, -28.071186929063586),
        ([1.0], 50, 2000, 1025, False, -92.633094147021656),
    ],
)
def test_reference_values(weights, dofs, noncentrality, x, upper, value):
    law = GeneralizedChi2(weights, dofs, noncentrality)
    assert (law.logsf if upper else law.logcdf)(x) == pytest.approx(value, rel=1e-14)


def imhof(law, x):
    """Imhof's integral by adaptive quadrature: absolute accuracy only, an independent formula."""
    w, k, b = law.weights, law.dofs, law.shifts
    x = x - law.offset

    def integrand(u):
        a = w * u
        theta = 0.5 * np.sum(k * np.arctan(a) + b * u / (1 + a * a)) - 0.5 * x * u
        log_rho = (
            np.sum(0.25 * k * np.log1p(a * a) + 0.5 * b * w * u * u / (1 + a * a)) + (law.sigma * u) ** 2 / 8
        )
        return np.sin(theta) * np.exp(-log_rho) / u

    return 0.5 + integrate.quad(integrand, 0, np.inf, limit=2000, epsabs=1e-10)[0] / np.pi


@pytest.mark.parametrize("sigma", [0.0, 0.7])
@pytest.mark.parametrize("signs", [[1, 1, 1, 1, 1], [1, -1, 1, -1, 1]])
def test_against_imhof(signs, sigma):
    w = np.array([1.3, 0.8, 0.5, 0.4, 0.1]) * signs
    law = GeneralizedChi2(w, [2, 3, 1, 2.5, 4], [0.5, 0, 2, 1, 0], offset=-1.0, sigma=sigma)
    for z in (-1.0, -0.2, 0.3, 1.5):
        x = law.mean() + z * law.std()
        # quad promises 1e-10 and reaches about 1e-9 on an oscillating tail.
        assert law.sf(x) == pytest.approx(imhof(law, x), abs=1e-8)


@pytest.mark.parametrize("dof", [1, 2, 5, 300])
@pytest.mark.parametrize("noncentrality", [0.0, 3.0])
def test_density_and_quantiles_against_scipy(dof, noncentrality):
    law = GeneralizedChi2([1.0], dof, noncentrality)
    peer = stats.ncx2(dof, noncentrality) if noncentrality else stats.chi2(dof)
    x = peer.ppf([1e-6, 0.1, 0.5, 0.9, 1 - 1e-6])
    # scipy's own density and quantile carry about ten digits.
    np.testing.assert_allclose(law.logpdf(x), peer.logpdf(x), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(law.cdf(x), peer.cdf(x), rtol=1e-9)
    np.testing.assert_allclose(law.ppf([1e-6, 0.1, 0.5, 0.9, 1 - 1e-6]), x, rtol=1e-7)
    assert law.mean() == pytest.approx(peer.mean())
    assert law.var() == pytest.approx(peer.var())
    assert law.skew() == pytest.approx(float(peer.stats("s")))


def test_density_is_the_derivative():
    law = GeneralizedChi2([1.0, -0.4, 0.2], [1, 2, 3], [0.3, 0.1, 0.0], sigma=0.1)
    x = np.linspace(-2, 5, 8)
    h = 1e-5
    # Central differences: error h^2 f'' and rounding 1e-16 / h, both below 1e-9.
    np.testing.assert_allclose((law.cdf(x + h) - law.cdf(x - h)) / (2 * h), law.pdf(x), atol=2e-9)


@pytest.mark.parametrize(
    "law",
    [
        GeneralizedChi2([1.0, 0.3], [1, 2], offset=2.0),
        GeneralizedChi2([-1.0, -0.3], [1, 2]),
        GeneralizedChi2([1.0, -0.7, 0.1], 2),
        GeneralizedChi2([1.0], 1, sigma=0.5),
    ],
)
def test_quantiles_invert_the_tails(law):
    q = np.array([1e-300, 1e-40, 1e-3, 0.3, 0.7, 1 - 1e-10])
    # At the deep end x itself is rounded: d log P = |t| x eps, about 1e-13 at 300 digits of depth, and
    # near a finite end of
    # the support the offset swallows digits of x.
    shallow = q > 1e-4
    np.testing.assert_allclose(law.cdf(law.ppf(q[shallow])), q[shallow], rtol=1e-11)
    np.testing.assert_allclose(law.sf(law.isf(q[shallow])), q[shallow], rtol=1e-11)
    if not np.isfinite(law.support()[0]):
        np.testing.assert_allclose(law.logcdf(law.ppf(q)), np.log(q), rtol=1e-12, atol=1e-15)
    if not np.isfinite(law.support()[1]):
        np.testing.assert_allclose(law.logsf(law.isf(q)), np.log(q), rtol=1e-12, atol=1e-15)
    assert law.ppf([0, 1]).tolist() == list(law.support())
    assert np.isnan(law.ppf([-0.1, 1.1, np.nan])).all()


def test_support_and_infinities():
    law = GeneralizedChi2([1.0, 0.5], offset=3.0)
    assert law.support() == (3.0, np.inf)
    assert law.logcdf([-np.inf, 2.0, 3.0]).tolist() == [-np.inf] * 3
    assert law.logsf([-np.inf, 2.0, 3.0]).tolist() == [0.0] * 3
    assert law.logcdf(np.inf) == 0.0
    assert law.logsf(np.inf) == -np.inf
    assert np.isnan(law.logcdf(np.nan))
    mirrored = GeneralizedChi2([-1.0, -0.5])
    assert mirrored.support() == (-np.inf, 0.0)
    assert mirrored.logsf(0.5) == -np.inf
    assert mirrored.logcdf(0.0) == 0.0


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.floats(0.01, 100), min_size=1, max_size=6),
    st.floats(0.02, 3.0),
    st.floats(1e-6, 1e6),
    st.floats(-5, 5),
    st.randoms(),
)
def test_scaling_shifting_and_order(weights, ratio, scale, offset, random):
    w = np.array(weights)
    law = GeneralizedChi2(w, 2, 0.5)
    x = ratio * law.mean()
    value = law.logcdf(x)
    permuted = list(w)
    random.shuffle(permuted)
    # Each comparison rounds x and w: relative changes of eps move log P by at most |t| x eps, t x <=
    # dof / 2 + depth.
    tolerance = 1e-13 * (1 + w.size + abs(value))
    assert GeneralizedChi2(scale * w, 2, 0.5).logcdf(scale * x) == pytest.approx(value, abs=tolerance)
    assert GeneralizedChi2(permuted, 2, 0.5).logcdf(x) == pytest.approx(value, abs=tolerance)
    assert GeneralizedChi2(-w, 2, 0.5).logsf(-x) == pytest.approx(value, abs=tolerance)
    moved = GeneralizedChi2(w, 2, 0.5, offset=offset)
    slope = np.exp(law.logpdf(x) - value)
    assert moved.logcdf(x + offset) == pytest.approx(value, abs=tolerance + 1e-14 * slope * (x + 10))
    assert law.logcdf(x) <= law.logcdf(x, method="chernoff") + tolerance
    assert np.exp(value) + law.sf(x) == pytest.approx(1.0, abs=1e-13)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_wild_forms_converge_and_are_monotone(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 30))
    w = np.exp(rng.normal(size=n) * rng.choice([0.1, 1, 5])) * rng.choice([-1, 1], n)
    k = rng.choice([0.5, 1, 2, 10, 1000], n)
    sigma = float(rng.choice([0, 1e-6, 0.1, 10])) * np.abs(w).max()
    law = GeneralizedChi2(w, k, shifts=w * rng.exponential(size=n) * rng.choice([0, 1, 100]), sigma=sigma)
    x = law.mean() + law.std() * np.array([-30, -3, -0.5, 0, 0.5, 3, 100])
    value = law.logcdf(x[x > law.support()[0]])  # warnings are errors
    assert np.all(np.diff(value) >= -1e-11 * np.maximum(1, np.abs(value[1:])))


def test_methods_agree():
    law = GeneralizedChi2([1.0, 0.6, 0.4], [2, 1, 5], [0.0, 2.0, 0.3], offset=1.0)
    x = 1.0 + law.mean() * np.array([1e-6, 0.01, 0.3, 0.8, 1.5])
    exact = law.logcdf(x)
    ruben, info = law.logcdf(x, method="ruben", return_info=True)
    # scipy's incomplete gamma function carries about 1e-14 relative.
    np.testing.assert_allclose(ruben, exact, rtol=2e-13, atol=2e-13)
    assert np.all(np.abs(ruben - exact) <= info.numerical_error + 1e-12)
    np.testing.assert_allclose(law.logcdf(x, method="saddlepoint"), exact, atol=0.16 / 8)
    np.testing.assert_allclose(law.logsf(x, method="saddlepoint"), law.logsf(x), atol=0.16 / 8)
    assert np.all(law.logcdf(x, method="chernoff") >= exact)
    assert np.all(law.logsf(x, method="chernoff") >= law.logsf(x))


@pytest.mark.parametrize(("dof", "error"), [(1, 0.15), (10, 0.017), (100, 1.7e-3), (1000, 1.7e-4)])
def test_saddlepoint_error_is_0_16_over_dof(dof, error):
    law = GeneralizedChi2([1.0], dof)
    x = dof * np.array([1e-3, 0.1, 0.9, 1.0, 1.1])
    assert np.abs(law.logcdf(x, method="saddlepoint") - law.logcdf(x)).max() < error


def test_geometry_of_input():
    w, x = np.array([3.0, 1.0, 2.0]), np.array([[0.5, 1.0], [4.0, 30.0]])
    law = GeneralizedChi2(w, [1, 2, 1])
    expected = law.logcdf(x)
    assert expected.shape == (2, 2)
    assert expected.dtype == np.float64
    for variant in (np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2]):
        variant.flags.writeable = False
        np.testing.assert_array_equal(law.logcdf(variant), expected)
    np.testing.assert_array_equal(law.logcdf(x.astype(np.float32)), expected)
    assert law.logcdf([]).shape == (0,)
    assert np.ndim(law.logcdf(2)) == 0
    # Equal weights merge, zeros only shift.
    split = GeneralizedChi2([3, 1, 1, 2, 0], 1, shifts=[0, 0, 0, 0, 0.5])
    np.testing.assert_allclose(split.logcdf(x + 0.5), expected, rtol=1e-13)
    assert w.tolist() == [3.0, 1.0, 2.0]


def test_sampling_follows_the_law():
    law = GeneralizedChi2([1.0, -0.5, 0.3, 2.0], [1, 3, 0.4, 2], [0.7, 1.0, 2.0, 0.0], offset=1.0, sigma=0.3)
    draws = law.rvs(4000, random_state=3)
    assert stats.kstest(draws, law.cdf).pvalue > 1e-3
    np.testing.assert_array_equal(draws, law.rvs(4000, random_state=3))
    assert law.rvs((2, 3), random_state=0).shape == (2, 3)
    assert np.ndim(law.rvs(random_state=0)) == 0


def test_quadratic_form_of_a_gaussian():
    rng = np.random.default_rng(0)
    Q2, q1, mean, root = (
        rng.normal(size=(4, 4)),
        rng.normal(size=4),
        rng.normal(size=4),
        rng.normal(size=(4, 3)),
    )
    law = GeneralizedChi2.from_quadratic(Q2, q1, 0.5, mean, root @ root.T)
    x = mean + rng.normal(size=(5000, 3)) @ root.T
    values = np.einsum("ni,ij,nj->n", x, Q2, x) + x @ q1 + 0.5
    assert stats.kstest(values, law.cdf).pvalue > 1e-3
    linear = GeneralizedChi2.from_quadratic(np.diag([1.0, 0.0]), [0.0, 3.0], 0.0, [0, 0], np.eye(2))
    assert linear.sigma == pytest.approx(3.0)
    with pytest.raises(ValueError, match=r"q1 has shape \(3,\), expected \(4,\)"):
        GeneralizedChi2.from_quadratic(Q2, q1[:3], 0.5, mean, np.eye(4))
    with pytest.raises(ValueError, match="not positive semi-definite"):
        GeneralizedChi2.from_quadratic(Q2, q1, 0.5, mean, -np.eye(4))


def test_cumulants():
    law = GeneralizedChi2([1.0, -0.5], [2, 3], [1.0, 0.2], offset=0.7, sigma=0.4)
    assert law.cgf(0.0) == 0.0
    assert law.cgf(0.0, order=1) == pytest.approx(law.mean())
    assert law.cgf(0.0, order=2) == pytest.approx(law.var())
    assert law.cgf(0.0, order=3) == pytest.approx(law.skew() * law.std() ** 3)
    assert law.cgf(0.6) == np.inf
    low, high = law.interval(0.9)
    assert law.cdf(high) - law.cdf(low) == pytest.approx(0.9)
    assert law.cdf(law.median()) == pytest.approx(0.5)


# The batch kernel -----------------------------------------------------------------------------


@numba.njit
def compiled_by_a_user(x, weights, dofs, shifts, offset):
    return generalized_chi2_logcdf(x, weights, dofs, shifts, offset)


def test_batches_match_single_laws_also_from_compiled_code():
    rng = np.random.default_rng(1)
    w = rng.exponential(size=(6, 5)) * np.array([1, 1, -1, 1, 1])
    w[0, 3] = 0.0
    k, b = rng.integers(1, 4, (6, 5)).astype(float), w * rng.exponential(size=(6, 5))
    q0 = rng.normal(size=6)
    x = q0 + np.array([0.01, 0.5, 2.0, 5.0, 20.0, -3.0])
    one_by_one = [GeneralizedChi2(w[p], k[p], shifts=b[p], offset=q0[p]).logcdf(x[p]) for p in range(6)]
    batch = generalized_chi2_logcdf(x, w, k, b, q0)
    # Sorting and merging change the order of sums: a few roundings.
    np.testing.assert_allclose(batch, one_by_one, rtol=1e-13, atol=1e-14)
    np.testing.assert_array_equal(compiled_by_a_user(x, w, k, b, q0), batch)
    shared = generalized_chi2_logcdf(x, np.abs(w[1]), 2.0, 0.0, 0.0)
    np.testing.assert_array_equal(
        compiled_by_a_user(x, np.abs(w[1]), np.full(5, 2.0), np.zeros(5), 0.0), shared
    )
    assert shared[-1] == -np.inf


def test_batch_refuses():
    w = np.ones((3, 2))
    with pytest.raises(ValueError, match=r"x of shape \(4,\) does not fit weights of shape \(3, 2\)"):
        generalized_chi2_logcdf(np.ones(4), w, 1.0, 0.0, 0.0)
    with pytest.raises(ValueError, match=r"dofs has shape \(3,\), expected \(3, 2\)"):
        generalized_chi2_logcdf(np.ones(3), w, np.ones(3), 0.0, 0.0)
    with pytest.raises(ValueError, match="dofs must be positive"):
        generalized_chi2_logcdf(np.ones(3), w, 0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="without any non-zero weight"):
        generalized_chi2_logcdf(np.ones(3), 0 * w, 1.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="shifts must have the sign"):
        generalized_chi2_logcdf(np.ones(3), w, 1.0, -1.0, 0.0)
    with pytest.raises(ValueError, match="weights contains nan"):
        generalized_chi2_logcdf(np.ones(3), w * np.nan, 1.0, 0.0, 0.0)


# Bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(weights=[1.0, np.nan]), "weights contains nan"),
        (dict(weights=[0.0, 0.0]), "weights are all zero"),
        (dict(weights=[1.0], dofs=0), "dofs must be positive"),
        (dict(weights=[1.0], dofs=np.inf), "dofs contains inf"),
        (dict(weights=[1.0, 2.0], dofs=[1, 2, 3]), r"dofs has shape \(3,\), expected \(2,\)"),
        (dict(weights=[1.0], noncentralities=-1.0), "noncentralities must be >= 0"),
        (dict(weights=[1.0], noncentralities=1.0, shifts=1.0), "both noncentralities and shifts"),
        (dict(weights=[-1.0], shifts=1.0), "shifts must have the sign"),
        (dict(weights=[1.0], sigma=-1.0), "sigma must lie in"),
        (dict(weights=[1.0], offset=np.nan), "offset must lie in"),
    ],
)
def test_bad_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        GeneralizedChi2(**arguments)


def test_ruben_warns_where_an_upper_tail_is_lost():
    law = GeneralizedChi2([1.0, 0.7, 0.5, 0.3], [2, 3, 1, 5], [0, 1, 2, 0])
    assert float(law.logsf(20.0, method="ruben")) == pytest.approx(float(law.logsf(20.0)), abs=1e-9)
    with pytest.warns(integrate.IntegrationWarning, match="upper tail"):
        law.logsf(100.0, method="ruben")


def test_quantiles_next_to_the_end_do_not_overflow():
    for weight, dof in ((-3.7e-10, 0.1), (1.3e-5, 1.0)):
        law = GeneralizedChi2([weight], dof)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tail = law.ppf if weight > 0 else law.isf
            assert float(tail(1e-300)) == 0.0
            assert float(tail(1e-30)) == pytest.approx(
                abs(weight) * stats.chi2.ppf(1e-30, dof) * np.sign(weight), rel=1e-10
            )


@pytest.mark.parametrize("call", ["law", "density", "saddlepoint", "batch"])
def test_long_evaluations_run_in_short_calls(monkeypatch, call):
    """A compiled call cannot be interrupted: half a million values must not be one."""
    longest = 0.0
    plain = _blocks.in_blocks

    def timed(run, size, width):
        def clocked(part):
            nonlocal longest
            start = time.thread_time()
            found = run(part)
            longest = max(longest, time.thread_time() - start)
            return found

        return plain(clocked, size, width)

    for module in (_law, _batch, _series):
        monkeypatch.setattr(module, "in_blocks", timed)
    law = GeneralizedChi2([1.0])
    x = np.linspace(0.01, 6.0, 100_000 if call != "saddlepoint" else 500_000)
    evaluate = {
        "law": law.logcdf,
        "density": law.logpdf,
        "saddlepoint": lambda z: law.logcdf(z, method="saddlepoint"),
        "batch": lambda z: generalized_chi2_logcdf(z, np.ones((z.size, 1)), 1.0, 0.0, 0.0),
    }[call]
    evaluate(x[:2])  # compile
    longest = 0.0
    values = evaluate(x)
    assert longest < 0.3
    assert values[-1] == evaluate(x[-1:])[0]


def test_bad_methods():
    law = GeneralizedChi2([1.0, -0.5])
    with pytest.raises(ValueError, match="method must be one of 'contour'"):
        law.logcdf(1.0, method="davies")
    with pytest.raises(ValueError, match="needs positive weights"):
        law.logcdf(1.0, method="ruben")
    with pytest.raises(ValueError, match="tol must lie in"):
        law.logcdf(1.0, tol=0.0)
    with pytest.raises(TypeError, match="random_state"):
        law.rvs(3, random_state="seed")


def test_non_convergence_warns_with_the_value():
    spread = GeneralizedChi2(10.0 ** -np.arange(7.0))
    with pytest.warns(integrate.IntegrationWarning, match="Ruben's series"):
        spread.logcdf(1.0, method="ruben")


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_extreme_scales(scale):
    plain, scaled = GeneralizedChi2([1.0, 1e-10], [1, 2]), GeneralizedChi2([scale, 1e-10 * scale], [1, 2])
    x = np.array([1e-5, 0.5, 3.0, 100.0])
    # 1e200 is not a power of two: x and w are rounded.
    np.testing.assert_allclose(scaled.logcdf(scale * x), plain.logcdf(x), rtol=1e-12)
    np.testing.assert_allclose(scaled.ppf([0.1, 0.9]), scale * plain.ppf([0.1, 0.9]), rtol=1e-11)
    assert scaled.std() == pytest.approx(scale * plain.std())
    assert scaled.skew() == pytest.approx(plain.skew())


def test_upper_tails_beyond_the_range_of_probabilities():
    law = GeneralizedChi2([1.0], 3)
    for x in (1e5, 1e10, 1e15):
        # erfc's asymptotic series: log Q(3/2, x/2) = -x/2 + log(2 x / pi)/2 + O(1/x).
        value, info = law.logsf(x, return_info=True)
        assert abs(value - (-x / 2 + 0.5 * math.log(2 * x / math.pi))) <= 2 * info.numerical_error + 1.5 / x


def test_unconverged_contours_warn_and_return_the_best_value():
    law = GeneralizedChi2([1.0, 1e-300], 5)
    with pytest.warns(integrate.IntegrationWarning, match="did not converge"):
        # The saddlepoint is beyond the largest number, and the end of the support too near for its expansion.
        value, info = law.logcdf(1e-314, return_info=True)
    assert not info.converged
    assert np.isfinite(value)
    assert info.numerical_error == np.inf
