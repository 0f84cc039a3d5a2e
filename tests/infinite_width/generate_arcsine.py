"""Generate the polynomials of ``arcsin(sqrt x) / sqrt x`` on [0, 1/2] used by the fused kernels.

Chebyshev interpolation in 60 digits, converted to powers of x in 60 digits. Run by hand::

    python tests/infinite_width/generate_arcsine.py

Prints the coefficients and the largest relative error over 4001 points.
"""

import mpmath as mp

mp.mp.dps = 60


def ratio(x):
    return mp.asin(mp.sqrt(x)) / mp.sqrt(x) if x else mp.mpf(1)


def powers(degree):
    n = degree + 1
    nodes = [mp.mpf(1) / 4 + mp.cos(mp.pi * (2 * k + 1) / (2 * n)) / 4 for k in range(n)]
    rows = mp.matrix(n, n)
    for i, x in enumerate(nodes):
        for j in range(n):
            rows[i, j] = x**j
    return list(mp.lu_solve(rows, mp.matrix([ratio(x) for x in nodes])))


if __name__ == "__main__":
    for degree in (18, 9):
        c = powers(degree)
        error = max(
            abs(mp.polyval(c[::-1], mp.mpf(k) / 8000) / ratio(mp.mpf(k) / 8000) - 1)
            for k in range(0, 4001, 25)
        )
        print(f"degree {degree}: largest relative error {mp.nstr(error, 3)}")
        print("(" + ", ".join(repr(float(v)) for v in c) + ")")
