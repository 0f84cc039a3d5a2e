"""Settings for all tests: two Numba threads so that thread independence can be tested, no deadlines."""

import os

os.environ.setdefault("NUMBA_NUM_THREADS", "2")
# Tests run in two processes; more BLAS threads than cores would only fight each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

# The first call of a compiled kernel takes longer than any sensible deadline.
settings.register_profile("theorylab", deadline=None, print_blob=True)
settings.load_profile("theorylab")
