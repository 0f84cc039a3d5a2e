"""Ordinal models: certified paths, proportional odds against statsmodels, large problems against BLAS.

statsmodels is optional (`pip install statsmodels`); its comparisons are left out where it is absent. Paths
have no peer here: the times of the R code, taken once on another machine, stand in the column of promises.
"""

import sys
import warnings

import numpy as np
from _harness import Benchmark
from scipy.linalg.blas import dsyrk

from theorylab.ordinal import ProportionalOddsClassifier, presto_path
from theorylab.ordinal.datasets import load_soup

LARGE = "--small" not in sys.argv


def simulate(n, p, K, seed=0, spread=1.0):
    """Draw normal features and classes of one slope vector."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p))
    beta = spread * rng.standard_normal(p) / np.sqrt(p)
    y = np.sum(rng.logistic(size=n)[:, None] > np.linspace(-1, 1.5, K - 1) + (X @ beta)[:, None], axis=1)
    return X, y


def certificate(path):
    """Return the worst of KKT residual and duality gap."""
    return float(max(path.kkt.max(), path.dual_gap.max()))


bench = Benchmark("ordinal")

for n, p, K, R in [(240, 5, 4, 1.10), (1000, 4, 4, 2.86), (2500, 10, 4, 12.2), (80, 120, 3, 18.9)]:
    X, y = simulate(n, p, K)
    bench.compare(
        f"path of 20, n={n}, p={p}, K={K}; certificate {certificate(presto_path(X, y)):.1g}",
        ours=lambda X=X, y=y: presto_path(X, y),
        target=f"R code: {R:g} s on its own case of this size",
    )

try:
    X, y = load_soup()
    bench.compare(
        f"soup, path of 20, K=6; certificate {certificate(presto_path(X, y)):.1g}",
        ours=lambda: presto_path(X, y),
        target="R code: 81 s; >= 1000 times faster",
    )
except FileNotFoundError as missing:
    print(missing)

try:
    from statsmodels.miscmodels.ordinal_model import OrderedModel
except ImportError:
    print("statsmodels is absent: pip install statsmodels")
else:
    for n, p in [(1000, 4), (2500, 10)]:
        X, y = simulate(n, p, 4)

        def peer(X=X, y=y):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return OrderedModel(y, X, distr="logit").fit(method="bfgs", disp=False, maxiter=500)

        model = ProportionalOddsClassifier().fit(X, y)
        theirs = peer()
        difference = float(np.abs(np.asarray(theirs.params)[:p] + model.coef_[0]).max())
        bench.compare(
            f"proportional odds, n={n}, p={p}, K=4",
            ours=lambda X=X, y=y: ProportionalOddsClassifier().fit(X, y),
            peer=peer,
            peer_name="statsmodels OrderedModel, bfgs",
            accuracy=(model.kkt_, difference),
            repeats=5,
            target=">= 15",
        )

if LARGE:
    n, p = 300, 20_000
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, p))
    eta = X[:, :5] @ [1.0, -1.0, 0.8, 0.5, 0.5]
    y = np.sum(rng.logistic(size=n)[:, None] > np.array([-0.5, 1.0]) + eta[:, None], axis=1)
    alphas = presto_path(X, y, n_alphas=1).alpha_max * np.geomspace(1, 0.2, 20)
    bench.compare(
        "path of 20 to .2 alpha_max, n=300, p=20000, K=3",
        accuracy=(certificate(presto_path(X, y, alphas=alphas)), 0.0),
        ours=lambda: presto_path(X, y, alphas=alphas),
        repeats=3,
        target="about 1 s",
    )

    n, p, K = 1_000_000, 50, 4
    X, y = simulate(n, p, K)
    design = np.asfortranarray(np.column_stack((np.ones(n), X)))
    STEPS = (
        57  # Newton steps of this path when every one forms its Hessian: three Grams of n (p + 1)^2 / 2 each
    )

    def grams():
        """The flops of those Grams, by BLAS."""
        for _ in range(3 * STEPS // 2):
            dsyrk(1.0, design, trans=1)

    bench.compare(
        "path of 20, n=1e6, p=50, K=4",
        ours=lambda: presto_path(X, y),
        peer=grams,
        peer_name="dsyrk, Gram flops of 57 Newton steps",
        repeats=1,
        target=">= 0.25",
    )

bench.finish()
