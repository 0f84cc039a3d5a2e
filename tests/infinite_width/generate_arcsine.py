"""Generate the polynomials of ``arcsin(sqrt x) / sqrt x`` used by the compiled kernels.

Chebyshev interpolation in 60 digits, converted to powers of x in 60 digits. Run by hand::

    python tests/infinite_width/generate_arcsine.py

Prints the coefficients and the largest relative error over a grid: degrees 18 and 9 on [0, 1/2] for
angles up to pi / 4 in both precisions, degree 10 for angles up to pi / 8 in double precision.
"""

import mpmath as mp

mp.mp.dps = 60


def ratio(x):
    return mp.asin(mp.sqrt(x)) / mp.sqrt(x) if x else mp.mpf(1)


def powers(degree, top):
    n = degree + 1
    nodes = [top / 2 * (1 + mp.cos(mp.pi * (2 * k + 1) / (2 * n))) for k in range(n)]
    rows = mp.matrix(n, n)
    for i, x in enumerate(nodes):
        for j in range(n):
            rows[i, j] = x**j
    return list(mp.lu_solve(rows, mp.matrix([ratio(x) for x in nodes])))


if __name__ == "__main__":
    for degree, angle in ((18, mp.pi / 4), (9, mp.pi / 4), (10, mp.pi / 8)):
        top = mp.sin(angle) ** 2
        c = powers(degree, top)
        grid = [top * k / 160 for k in range(161)]
        error = max(abs(mp.polyval(c[::-1], x) / ratio(x) - 1) for x in grid)
        print(f"degree {degree} to {mp.nstr(angle, 3)}: largest relative error {mp.nstr(error, 3)}")
        print("(" + ", ".join(repr(float(v)) for v in c) + ")")
