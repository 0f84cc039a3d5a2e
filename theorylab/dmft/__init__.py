from ._solve import dmft_solve, predict_memory
from ._spec import QuadraticNetwork, PolynomialTask, SmoothNetwork, SmoothTask
