"""What is in the tree is in the wheel, and the package works where it cannot write."""

import configparser
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(not (ROOT / "setup.cfg").exists(), reason="needs the source tree")


def listed_packages():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return {line.strip() for line in config["options"]["packages"].splitlines() if line.strip()}


def test_every_package_is_listed():
    folders = {
        ".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "theorylab").rglob("__init__.py")
    }
    assert listed_packages() == folders | {"theorylab._validations"}


def test_works_where_nothing_is_writable(tmp_path):
    """Neither the package's folder nor the home folder: kernels go uncached, with one hint."""
    code = (
        "import warnings\n"
        "with warnings.catch_warnings(record=True) as seen:\n"
        "    warnings.simplefilter('always')\n"
        "    from numba.core import caching\n"
        "    caching.CacheImpl._locator_classes = []\n"  # as if no locator found a writable folder
        "    from theorylab._lib.jit import jit\n"
        "    double = jit(lambda x: 2 * x)\n"
        "    triple = jit(lambda x: 3 * x)\n"
        "assert (double(2), triple(2)) == (4, 6)\n"
        "hints = [w for w in seen if 'NUMBA_CACHE_DIR' in str(w.message)]\n"
        "assert len(hints) == 1, hints\n"
    )
    code += (
        "import subprocess, sys\n"  # a worker process stays silent
        "again = 'from numba.core import caching; caching.CacheImpl._locator_classes = []; '\\\n"
        "    'from theorylab._lib.jit import jit; assert jit(lambda x: x)(2) == 2'\n"
        "worker = subprocess.run([sys.executable, '-c', again], capture_output=True, text=True)\n"
        "assert (worker.returncode, worker.stderr) == (0, ''), worker.stderr\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("THEORYLAB_HINTED", None)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
