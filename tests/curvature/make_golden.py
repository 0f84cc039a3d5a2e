"""Print the golden values of test_golden.py in exact rational arithmetic (run it as a script)."""

from fractions import Fraction as F

import mpmath

G = [[1, 2, 0, -1], [3, -1, 1, 0], [0, 1, -2, 2]]
LAM, N = F(1, 100), 3
X = [1, -2, 3, -4]


def inverse(A):
    """Gauss-Jordan on fractions; also returns the determinant."""
    n, det = len(A), F(1)
    M = [[F(v) for v in row] + [F(int(i == j)) for j in range(n)] for i, row in enumerate(A)]
    for i in range(n):
        det *= M[i][i]
        M[i] = [v / M[i][i] for v in M[i]]
        for k in range(n):
            if k != i:
                M[k] = [v - M[k][i] * w for v, w in zip(M[k], M[i])]
    return [row[n:] for row in M], det


def main():
    d, m = len(G[0]), len(G)
    A = [[LAM * (i == j) + sum(F(g[i] * g[j], N) for g in G) for j in range(d)] for i in range(d)]
    inv, det = inverse(A)

    def apply(x):
        return [sum(inv[i][j] * x[j] for j in range(d)) for i in range(d)]

    show = lambda name, values: print(name, [float(v) for v in values])  # noqa: E731
    show("A^-1 x", apply(X))
    show("diagonal", [inv[j][j] for j in range(d)])
    show("element (0, 3)", [inv[0][3]])
    show("trace", [sum(inv[j][j] for j in range(d))])
    mpmath.mp.dps = 30
    print("log det", mpmath.log(mpmath.mpf(det.numerator) / det.denominator))
    show("A^-1 g_2", apply(G[1]))
    cross = [[sum(a * b for a, b in zip(g, apply(h))) for h in G] for g in G]
    show("diagonal of G A^-1 G^T", [cross[i][i] for i in range(m)])
    show("entry (0, 1)", [cross[0][1]])
    # The published recursion: F_0 = lam I, F_i = F_{i-1} + g_i g_i^T / N.
    current, q = [[LAM * (i == j) for j in range(d)] for i in range(d)], []
    for g in G:
        back, _ = inverse(current)
        p = [sum(back[i][j] * g[j] for j in range(d)) for i in range(d)]
        q.append(N + sum(a * b for a, b in zip(g, p)))
        current = [[current[i][j] + F(g[i] * g[j], N) for j in range(d)] for i in range(d)]
    show("q", q)


if __name__ == "__main__":
    main()
