"""Every claim and every control, at quick size.

With the environment variable THEORYLAB_STORE set, results are kept in that
folder and not redone, so that `theorylab run --resume` can go on from them.
"""

import os

import pytest

from theorylab.validation._discovery import builtin_scripts, collect

COLLECTION = collect(builtin_scripts())


def test_every_script_loads():
    assert builtin_scripts()
    assert COLLECTION.broken == []


@pytest.mark.claims
@pytest.mark.parametrize("claim", COLLECTION.claims, ids=lambda claim: claim.id)
def test_claim(claim, tmp_path):
    kept = os.environ.get("THEORYLAB_STORE")
    result = claim.run(store=kept or tmp_path, resume=bool(kept))
    assert result.as_expected, result.table()


@pytest.mark.parametrize("claim", COLLECTION.claims, ids=lambda claim: claim.id)
def test_claim_is_well_formed(claim):
    assert "." in claim.id, f"{claim.id} does not start with its system and a dot"
    assert claim.controls, f"{claim.id} has no control: nothing shows that it can fail"
    assert claim.statement.endswith("."), f"the statement of {claim.id} is no sentence"
    assert claim.source
    assert all(control.reason for control in claim.controls.values())
