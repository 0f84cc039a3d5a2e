"""Golden values of architectures from another library; needs neural-tangents 0.6.5 with JAX 0.4.30.

Run by hand in an environment of those versions; prints the table kept in test_layers.py.
"""

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)
from neural_tangents import stax  # noqa: E402

IMAGES = np.sin(np.arange(3 * 6 * 5 * 2) * 1.7).reshape(3, 6, 5, 2)
VECTORS = np.cos(np.arange(4 * 5) * 1.3).reshape(4, 5)


def show(name, network, x):
    value = network[2](x, None, ("nngp", "ntk"))
    print(f'    "{name}": ({float(value.nngp[0, 1])!r}, {float(value.ntk[0, 1])!r}),')


if __name__ == "__main__":
    for pad in ("SAME", "CIRCULAR", "VALID"):
        for head in ("Flatten", "GlobalAvgPool"):
            for f in ((3, 3), (2, 2)):
                conv = stax.Conv(7, f, padding=pad, W_std=1.3, b_std=0.2)
                net = stax.serial(
                    conv,
                    stax.Relu(),
                    conv,
                    stax.Erf(),
                    getattr(stax, head)(),
                    stax.Dense(1, W_std=1.1, b_std=0.1),
                )
                show(f"{pad} {head} {f[0]}", net, IMAGES)
    branch = stax.serial(stax.Relu(), stax.Dense(5, W_std=1.2, b_std=0.3))
    block = stax.serial(stax.FanOut(2), stax.parallel(stax.Identity(), branch), stax.FanInSum())
    first = stax.Dense(5, W_std=1.2, b_std=0.3)
    show("residual", stax.serial(first, block, block, stax.Relu(), stax.Dense(1, W_std=1, b_std=0)), VECTORS)
    show("norm", stax.serial(first, stax.LayerNorm(), stax.Relu(), stax.Dense(1, W_std=1, b_std=0)), VECTORS)
