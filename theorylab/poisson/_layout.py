"""How the levels lie in memory: rows of the store, columns of the table of levels, places of the constants.

Level 0 is a padded grid of rows along its first axis: lines of a 2-D grid, planes of a 3-D one, in which
LINE is the step to the next line (0 in 2-D). A ring of zeros around it spares sums over neighbours their
branches. The levels below lie one after the other in the columns of the store; the unknowns of a level are
the cells of its padded grid, then the aggregates that were split off from a block. Couplings are faces of
the grid, or links (i, j, weight) where a split-off aggregate takes part.
"""

# Rows of the store of the coarse levels: a face belongs to the lower of both cells. FACE0 looks to the next
# row, FACE1 to the next cell, FACE2 to the next line.
FACE0, FACE1, FACE2, AIR_COUPLING, COUPLING, DIAGONAL, INVERSE, OWN, RHS, X = range(10)
FIELDS = 10

# Columns of the table of levels: place in the store, unknowns, cells of the padded grid, its rows, steps to
# the next row and line, first and last cell inside the ring, links, pairs (cell, target) of aggregates that
# are not the cell over the block, visits in a cycle.
START, SIZE, CELLS, ROWS, ROW, LINE, LOW, HIGH, LINK0, LINK1, GROUP0, GROUP1, VISITS = range(13)
COLUMNS = 13

# Constants in the working precision, for a Python float would promote whole loops to double: the recipe,
# the least weight of the own aggregate in the transfer, the damping of all visits to a level but the last.
W1, W2, W1C, W2C, TF, TD, OC, ALPHA, FLOOR, ONE, ZERO, HALF, DAMP = range(13)
