"""Write golden_log_tails.json: log-tails of generalised chi-squared laws in high precision.

None of the methods here is the one under test:

* one central term: the finite sums of the incomplete gamma function for integer dofs (all terms positive);
* one non-central term: its Poisson mixture, by recurrences that only add;
* distinct weights with two dofs each: partial fractions, in up to 1500 digits, optionally convolved with
a Gaussian;
* anything else with moderate spread: Ruben's series, all terms positive.

Run ``python tests/inductive_bias/golden_log_tails.py`` to regenerate (about a minute; needs mpmath only).
"""

import json
import pathlib

import mpmath as mp

cases = []


def add(family, x, weights, dofs, shifts, upper, value, offset=0.0, sigma=0.0):
    cases.append(
        dict(
            family=family,
            x=x,
            weights=list(weights),
            dofs=list(dofs),
            shifts=list(shifts),
            offset=offset,
            sigma=sigma,
            upper=upper,
            log_tail=mp.nstr(value, 25),
        )
    )


def gamma_lower(a, z):
    """P(a, z) = z^a e^-z / Gamma(a+1) * sum_j z^j / ((a+1)...(a+j)); every term positive."""
    term = total = mp.mpf(1)
    j = 0
    while term > total * mp.eps:
        j += 1
        term *= z / (a + j)
        total += term
    return mp.exp(a * mp.log(z) - z - mp.loggamma(a + 1)) * total


def gamma_upper(a, z):
    """Q(a, z) for 2a an integer, as a finite sum of positive terms."""
    whole = int(mp.floor(a))
    half = a - whole
    total = mp.erfc(mp.sqrt(z)) if half else mp.mpf(0)
    term = mp.sqrt(z) / mp.gamma(mp.mpf(3) / 2) if half else mp.mpf(1)
    partial = mp.mpf(0)
    for j in range(whole):
        partial += term
        term *= z / (j + 1 + half)
    return total + mp.exp(-z) * partial


def central():
    mp.mp.dps = 60
    for dof in (1, 2, 3, 7, 100, 1000, 20000):
        for weight, offset in ((1.0, 0.0), (0.37, 2.5)):
            for ratio in (1e-9, 1e-4, 0.03, 0.5, 0.95, 1.0, 1.05, 2.0, 10.0, 300.0):
                x = weight * dof * ratio + offset
                z = (mp.mpf(x) - mp.mpf(offset)) / (2 * mp.mpf(weight))
                upper = ratio > 1.0 or (ratio == 1.0 and dof % 2 == 0)
                tail = (gamma_upper if upper else gamma_lower)(mp.mpf(dof) / 2, z)
                add("central", x, [weight], [dof], [0.0], upper, mp.log(tail), offset)


def noncentral_tail(x, dof, noncentrality, upper):
    half, z, lam = mp.mpf(dof) / 2, mp.mpf(x) / 2, mp.mpf(noncentrality) / 2
    last = int(lam + 60 * mp.sqrt(lam) + 400 + (4 * mp.sqrt(lam * z) if upper else 0))
    poisson = [mp.exp(-lam)]
    for j in range(1, last + 1):
        poisson.append(poisson[-1] * lam / j)
    if upper:
        tail = gamma_upper(half, z)
        step = mp.exp(half * mp.log(z) - z - mp.loggamma(half + 1))
        total = mp.mpf(0)
        for j in range(last + 1):
            total += poisson[j] * tail
            tail += step
            step *= z / (half + j + 1)
        return total
    tail = gamma_lower(half + last, z)
    step = mp.exp((half + last) * mp.log(z) - z - mp.loggamma(half + last + 1))
    total = mp.mpf(0)
    for j in range(last, -1, -1):
        total += poisson[j] * tail
        step *= (half + j) / z
        tail += step
    return total


def noncentral():
    mp.mp.dps = 60
    for dof in (1, 5, 50):
        for noncentrality in (0.5, 100.0, 2000.0):
            mean = dof + noncentrality
            for ratio in (1e-4, 0.1, 0.5, 0.95, 1.05, 2.0, 8.0):
                x, upper = mean * ratio, ratio > 1
                value = mp.log(noncentral_tail(x, dof, noncentrality, upper))
                add("noncentral", x, [1.0], [dof], [noncentrality], upper, value)


def pairs_tail(x, weights, sigma, upper):
    """Sum of independent exponentials of means 2 w_i, some negative, plus sigma Z, by partial fractions."""
    if not upper:
        return pairs_tail(-x, [-v for v in weights], sigma, True)
    w = [mp.mpf(v) for v in weights]
    x, sigma = mp.mpf(x), mp.mpf(sigma)

    def above(mean):
        """P(sign E + sigma Z > x) for an exponential of the absolute mean, without 1 - p."""
        if sigma == 0:
            if mean > 0:
                return mp.exp(-x / mean) if x > 0 else mp.mpf(1)
            return -mp.expm1(-x / mean) if x < 0 else mp.mpf(0)
        normal = mp.erfc(x / (sigma * mp.sqrt(2))) / 2
        tilt = mp.exp(-x / mean + sigma**2 / (2 * mean**2))
        if mean > 0:
            return normal + tilt * mp.erfc((sigma / mean - x / sigma) / mp.sqrt(2)) / 2
        return normal - tilt * mp.erfc((x / sigma - sigma / mean) / mp.sqrt(2)) / 2

    total = mp.mpf(0)
    for i, wi in enumerate(w):
        factor = mp.mpf(1)
        for j, wj in enumerate(w):
            if j != i:
                factor *= wi / (wi - wj)
        total += factor * above(2 * wi)
    return total


def pairs():
    halves = [2.0**-i for i in range(10)]
    slow = [0.8**i for i in range(30)]
    steep = [0.1**i for i in range(12)]
    for name, weights in (("halves", halves), ("slow", slow), ("steep", steep)):
        mp.mp.dps = 1500 if name == "steep" else 700
        mean = 2 * sum(weights)
        for ratio in (1e-8, 1e-5, 1e-2, 0.2, 0.8, 1.2, 3.0, 50.0, 5e4):
            x, upper = mean * ratio, ratio > 1
            add(f"pairs {name}", x, weights, [2] * len(weights), [0.0] * len(weights), upper,
                mp.log(pairs_tail(x, weights, 0, upper)))  # fmt: skip
    mp.mp.dps = 200
    indefinite = {
        "three": [1.0, 0.5, -0.75],
        "two": [1.0, -1.0],
        "many": [0.9**i for i in range(12)] + [-0.3 * 0.85**i for i in range(9)],
        "negative": [-0.5, -0.25, -1.5],
    }
    for name, weights in indefinite.items():
        mean, spread = 2 * sum(weights), 2 * mp.sqrt(sum(w * w for w in weights))
        for z in (-60.0, -8.0, -2.0, -0.3, 0.4, 2.0, 8.0, 60.0, 1000.0):
            x, upper = float(mean + spread * z), z > 0
            if name == "negative" and x >= 0:
                continue
            add(f"indefinite {name}", x, weights, [2] * len(weights), [0.0] * len(weights), upper,
                mp.log(pairs_tail(x, weights, 0, upper)))  # fmt: skip
        if name in ("three", "many"):
            add(f"indefinite {name}", 0.0, weights, [2] * len(weights), [0.0] * len(weights), True,
                mp.log(pairs_tail(0.0, weights, 0, True)))  # fmt: skip
    # exp(sigma^2 / (2 mean^2)) cancels, which bounds the sigma that a spectrum allows here.
    mp.mp.dps = 300
    three, many = indefinite["three"], indefinite["many"]
    for name, weights, sigmas in (
        ("halves", halves, (0.01,)),
        ("three", three, (0.01, 0.5, 8.0)),
        ("many", many, (0.3,)),
    ):
        for sigma in sigmas:
            mean = 2 * sum(weights)
            spread = mp.sqrt(4 * sum(w * w for w in weights) + sigma**2)
            for z in (-20.0, -5.0, -1.0, -0.1, 0.2, 1.0, 5.0, 20.0):
                x, upper = float(mean + spread * z), z > 0
                add(f"sigma {name}", x, weights, [2] * len(weights), [0.0] * len(weights), upper,
                    mp.log(pairs_tail(x, weights, sigma, upper)), sigma=sigma)  # fmt: skip


def ruben_lower(x, weights, dofs, shifts):
    w, k, b = ([mp.mpf(v) for v in row] for row in (weights, dofs, shifts))
    beta = min(w)
    y = mp.mpf(x) / beta
    lam = [bi / wi for bi, wi in zip(b, w)]
    gamma = [1 - beta / wi for wi in w]
    c = [mp.exp(-sum(lam) / 2)]
    for wi, ki in zip(w, k):
        c[0] *= (beta / wi) ** (ki / 2)
    g, powers = [], [mp.mpf(1)] * len(w)
    nu = sum(k)
    terms = 400
    for r in range(1, terms + 1):
        value = mp.mpf(0)
        for i in range(len(w)):
            value += r * beta * lam[i] / w[i] * powers[i] + k[i] * powers[i] * gamma[i]
            powers[i] *= gamma[i]
        g.append(value)
        c.append(sum(g[q - 1] * c[r - q] for q in range(1, r + 1)) / (2 * r))
    tail = gamma_lower(nu / 2 + terms, y / 2)
    step = mp.exp((nu / 2 + terms) * mp.log(y / 2) - y / 2 - mp.loggamma(nu / 2 + terms + 1))
    remainder = (1 - sum(c)) * tail
    total = mp.mpf(0)
    for j in range(terms, -1, -1):
        total += c[j] * tail
        step *= (nu / 2 + j) / (y / 2)
        tail += step
    assert remainder < total * mp.mpf(10) ** -20, (x, mp.nstr(remainder / total, 5))
    return total


def mixed():
    mp.mp.dps = 40
    laws = {
        "one dof": ([1.0, 0.8, 0.55, 0.35], [1, 1, 1, 1], [0.0, 0.4, 0.0, 1.3]),
        "unequal dofs": ([0.9, 0.5, 0.3], [1, 3.5, 7], [0.2, 0.0, 0.1]),
        "small dofs": ([1.0, 0.4], [0.3, 0.25], [0.0, 0.05]),
    }
    for name, (weights, dofs, shifts) in laws.items():
        mean = sum(w * k + b for w, k, b in zip(weights, dofs, shifts))
        for ratio in (1e-10, 1e-5, 1e-2, 0.3, 0.9, 1.0):
            x = mean * ratio
            add(
                f"ruben {name}",
                x,
                weights,
                dofs,
                shifts,
                False,
                mp.log(ruben_lower(x, weights, dofs, shifts)),
            )
        for ratio in (1.3, 3.0):
            x = mean * ratio
            tail = 1 - ruben_lower(x, weights, dofs, shifts)
            add(f"ruben {name}", x, weights, dofs, shifts, True, mp.log(tail))


if __name__ == "__main__":
    for family in (central, noncentral, pairs, mixed):
        family()
        print(family.__name__, len(cases), flush=True)
    path = pathlib.Path(__file__).with_name("golden_log_tails.json")
    path.write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
