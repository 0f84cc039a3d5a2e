"""Train the shipped recipes of the learned multigrid. Not part of the collection: it writes package data.

python validations/extra/poisson_recipes.py 2|3
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

import theorylab
from theorylab.poisson import problems
from theorylab.poisson._recipe_training import convergence_rate, train_recipe
from theorylab.poisson._recipes import certify, digest

# Starts are the results of earlier searches; a low power looks at the slowest problems.
PLANS = {
    2: {"side": 160, "draws": 3, "iterations": 9, "evaluations": 300, "power": -16.0,
        "start": (0.5363, 1.3719, 0.6036, 2.6702, 0.95, 1.45, 1.0307, 1.55)},
    3: {"side": 48, "draws": 2, "iterations": 10, "evaluations": 160, "power": -16.0,
        "start": (0.5864, 1.7503, 0.5812, 2.2624, 0.9474, 1.75, 1.033, 1.7)},
}  # fmt: skip
TRAIN, HELD_OUT = 100, 200


def draw(dimension, side, draws, first):
    shape = (side,) * dimension
    return [problems.make(f, shape, seed) for f in problems.FAMILIES for seed in range(first, first + draws)]


def main(dimension):
    plan = PLANS[dimension]
    training = draw(dimension, plan["side"], plan["draws"], TRAIN)
    held_out = draw(dimension, plan["side"], plan["draws"], HELD_OUT)
    begin = time.process_time()
    trained = train_recipe(
        training, start=plan["start"], evaluations=plan["evaluations"], iterations=plan["iterations"],
        power=plan["power"], seconds=3600.0,
    )  # fmt: skip
    recipe = [round(x, 4) for x in trained]
    meta = {
        "architecture": "multigrid recipe", "parameters": 8, "dimension": dimension,
        "families": list(problems.FAMILIES), **plan, "seeds": [TRAIN, HELD_OUT],
        "optimiser": "Nelder-Mead", "tried": len(trained.history),
        "cpu_seconds": round(time.process_time() - begin, 1),
        "train_rate": convergence_rate(recipe, training, iterations=plan["iterations"]),
        "heldout_rate": convergence_rate(recipe, held_out, iterations=plan["iterations"]),
        "heldout_rate_default": convergence_rate("default", held_out, iterations=plan["iterations"]),
        "curve": [round(x, 4) for x in trained.history[::10]],
        "certificate": certify(tuple(recipe)).value, "sha256": digest(recipe),
        "version": theorylab.__version__,
    }  # fmt: skip
    folder = Path(theorylab.__file__).parent / "poisson" / "weights"
    np.savez(folder / f"recipe_{dimension}d.npz", recipe=np.array(recipe), meta=json.dumps(meta))
    print(recipe, json.dumps(meta, indent=1))


if __name__ == "__main__":
    main(int(sys.argv[1]))
