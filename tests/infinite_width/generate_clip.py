"""Generate ``E[clip(u) clip(v)]`` for clip to [-1, 1], by nested quadrature with breakpoints; run by hand."""

import mpmath as mp


def clip_reference(a, b, c):
    """E[clip(u) clip(v)] by nested mpmath quadrature with breakpoints."""

    def inner(x):
        s, m = mp.sqrt(b - c * c / a), c * x / mp.sqrt(a)
        stops = sorted([-12, *(k for k in ((-1 - m) / s, (1 - m) / s) if -12 < k < 12), 12])
        return mp.quad(lambda t: max(-1, min(1, m + s * t)) * mp.npdf(t), stops)

    stops = [-12, -1 / mp.sqrt(a), 1 / mp.sqrt(a), 12]
    return mp.quad(lambda x: max(-1, min(1, x * mp.sqrt(a))) * inner(x) * mp.npdf(x), stops)


if __name__ == "__main__":
    print(mp.nstr(clip_reference(mp.mpf("0.7"), mp.mpf("1.9"), mp.mpf("0.3")), 14))
