"""Foundations that every subpackage may use and that use nothing of ours.

============  =======================================================
`backend`     which array library do these arrays belong to?
`jit`         the one policy for compiling kernels
`checks`      validate once, at the public door
`rng`         one way to turn anything into a random generator
`threads`     limit BLAS and Numba together
============  =======================================================
"""
