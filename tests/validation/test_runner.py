"""Same bits for every number of workers, any order, after a resume and after a killed process."""

import json
import os
import random
import re
import signal
import stat
import subprocess
import sys
import time

import numpy as np
import pytest

from theorylab.validation import Claim, StoreError, Verdict, Within, grid
from theorylab.validation import _store as store_module
from theorylab.validation._discovery import claims_of, load_script

from .scripts import write_mean


def run_command(*arguments, cwd, **options):
    command = [sys.executable, "-m", "theorylab", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, **options)


def load(path):
    (claim,) = claims_of(load_script(path))
    return claim


@pytest.fixture
def claim(tmp_path):
    return load(write_mean(tmp_path))


def test_confirmed_with_its_control(claim):
    result = claim.run()
    assert result.verdict is Verdict.CONFIRMED
    assert result.controls == {"squared": Verdict.REFUTED}
    assert 0 < result.margin < 1
    assert re.fullmatch(r"[0-9a-f]{12}", result.samples_digest)
    table = result.table()
    assert "control squared" in table
    assert "refuted, as it must be" in table
    assert "99.9% interval" in table


def test_same_bits_for_one_and_two_workers_and_another_seed_differs(claim):
    one, two = claim.run(workers=1), claim.run(workers=2)
    assert one.samples_digest == two.samples_digest
    assert claim.run(seed=1).samples_digest != one.samples_digest


def test_each_cell_has_its_own_stream(claim):
    result = claim.run()
    streams = [result.samples(a=a) / a for a in (1.0, 2.0, 5.0)]
    assert not np.allclose(streams[0], streams[1])
    assert not np.allclose(streams[0][:2000], streams[0][2000:4000])


def test_resume_redoes_only_what_is_missing(claim, tmp_path):
    store = tmp_path / "store"
    first = claim.run(store=store)
    cells = sorted(store.rglob("*.npz"))
    assert len(cells) == claim.n_cells("quick") == 24
    times = {path: path.stat().st_mtime_ns for path in cells}
    for path in cells[::3]:
        path.unlink()
    cells[1].write_bytes(b"torn")  # a file that another program has damaged
    again = claim.run(store=store, resume=True)
    assert again.samples_digest == first.samples_digest
    kept = [path for path in cells if path.stat().st_mtime_ns == times[path]]
    assert len(kept) == 24 - 8 - 1


def test_an_edited_script_does_not_reuse_old_cells(tmp_path):
    store = tmp_path / "store"
    old = load(write_mean(tmp_path)).run(store=store)
    edited = load(write_mean(tmp_path, before="n += 1"))
    assert edited.run(store=store, resume=True).samples_digest != old.samples_digest


def test_an_edited_helper_module_changes_the_key(tmp_path):
    from theorylab.validation._digest import source_digest

    script = write_mean(tmp_path, before="import _demo_helper")
    helper = tmp_path / "_demo_helper.py"
    helper.write_text("x = 1\n")
    before = source_digest(script)
    helper.write_text("x = 2\n")
    assert source_digest(script) != before


def test_an_edited_helper_package_changes_the_key(tmp_path):
    from theorylab.validation._digest import source_digest

    script = write_mean(tmp_path, before="import demo_package.inner")
    package = tmp_path / "demo_package"
    package.mkdir()
    (package / "__init__.py").write_text("import _demo_helper\n")
    digests = [source_digest(script)]
    for path in (package / "inner.py", tmp_path / "_demo_helper.py"):
        path.write_text("x = 1\n")
        digests.append(source_digest(script))
    assert len(set(digests)) == 3


@pytest.mark.parametrize("workers", ["1", "2"])
def test_each_script_sees_the_modules_beside_it(tmp_path, workers):
    scripts = []
    for folder, factor in (("one", 1), ("two", 3)):
        place = tmp_path / folder
        (place / "package").mkdir(parents=True)
        for module in ("_same.py", "common.py", "package/__init__.py"):
            (place / module).write_text(f"FACTOR = {factor}\n")
        # Some are imported with the script, others when the measurement runs.
        code = "from _same import FACTOR as f; import package; assert f == FACTOR == package.FACTOR"
        script = write_mean(place, before=f"{code}; assert f == {factor}", id=f"demo.{folder}")
        script.write_text("from common import FACTOR\n" + script.read_text())
        scripts.append(script)
    done = run_command("run", *scripts, "--workers", workers, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_raising_cell_is_an_error_with_its_text_and_the_others_still_run(tmp_path):
    good = write_mean(tmp_path, "good.py", id="demo.good")
    bad = write_mean(
        tmp_path, "bad.py", before="if a == 2.0: raise RuntimeError('the pump is off')", id="demo.bad"
    )
    done = run_command("run", bad, good, "--json", cwd=tmp_path)
    lines = {line["id"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 1
    assert lines["demo.good"]["verdict"] == "CONFIRMED"
    assert lines["demo.bad"]["verdict"] == "ERROR"
    assert "RuntimeError: the pump is off" in lines["demo.bad"]["errors"][0]
    assert "a=2.0" in lines["demo.bad"]["errors"][0] or "a=2" in lines["demo.bad"]["errors"][0]


@pytest.mark.parametrize("how", ["os._exit(3)", "os.kill(os.getpid(), 9)"])
def test_a_dying_worker_is_reported_for_its_cells(tmp_path, how):
    script = write_mean(tmp_path, before=f"import os\n    if a == 2.0: {how}")
    script.write_text(script.read_text().replace("replicates=4", "replicates=2"))
    result = load(script).run(workers=2)
    assert result.verdict is Verdict.ERROR
    assert {error.cell["a"] for error in result.errors} == {2.0}
    assert len(result.errors) == 2
    reason = "exit code 3" if "exit" in how else "SIGKILL"
    assert all(reason in error.text for error in result.errors)
    assert result.controls == {"squared": Verdict.REFUTED}


def test_a_control_that_is_not_refuted_makes_the_claim_void(tmp_path):
    script = write_mean(tmp_path)
    script.write_text(script.read_text().replace("rng.random(n) ** 2", "rng.random(n)"))
    result = load(script).run()
    assert result.verdict is Verdict.VOID
    assert "NOT refuted" in result.table()


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("np.full(3, np.nan)", "3 of 3 samples that are not finite"),
        ("np.array([1.0, np.inf])", "1 of 2 samples that are not finite"),
        ("[]", "expected a multiple of 1 numbers"),
        ("'abc'", "could not convert"),
    ],
)
def test_bad_samples_are_errors(tmp_path, returned, message):
    result = load(write_mean(tmp_path, before=f"return {returned}")).run()
    assert result.verdict is Verdict.ERROR
    assert message in result.errors[0].text


def test_joint_axes_and_extras(tmp_path):
    from theorylab.validation import Samples

    claim = Claim(
        "demo.curve",
        "A random walk of t steps has mean square t.",
        "independence",
        Within(rel=0.2),
        grid(sigma=[1.0, 2.0], replicates=3, joint=dict(t=[1, 4, 16])),
    )
    claim.predict(lambda sigma, t: sigma**2 * t)

    @claim.measure
    def walk(sigma, rng):
        paths = sigma * np.cumsum(rng.standard_normal((2000, 16)), axis=1)
        return Samples(paths[:, [0, 3, 15]] ** 2, last=paths[0, -1])

    result = claim.run()
    assert result.verdict is Verdict.CONFIRMED
    assert result.estimate.shape == (2, 3)
    assert result.samples(sigma=2.0, t=4).shape == (6000,)
    assert len(result.extras("last", sigma=1.0)) == 3
    t, estimate, low, high = result.curve(sigma=1.0)
    assert list(t) == [1, 4, 16]
    assert np.all((low < estimate) & (estimate < high))


# Killing and interrupting ---------------------------------------------------------------------


def test_kill_minus_nine_loses_only_cells_in_flight(tmp_path):
    whole = load(write_mean(tmp_path)).run(scale="full").samples_digest
    script = write_mean(tmp_path, before="import time; time.sleep(0.03)")
    rng = random.Random(0)
    command = [sys.executable, "-m", "theorylab", "run", str(script), "--full", "--resume", "--json"]
    stored = 0
    for attempt in range(5):
        workers = ["--workers", "2"] if attempt % 2 else []
        process = subprocess.Popen(
            [*command, *workers],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.time() + 60
        while len(list(tmp_path.glob(".theorylab/**/*.npz"))) <= stored and time.time() < deadline:
            time.sleep(0.02)
        time.sleep(0.3 * rng.random())
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        now = len(list(tmp_path.glob(".theorylab/**/*.npz")))
        assert now > stored
        stored = now
    assert stored > 0
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["samples"] == whole
    assert not list(tmp_path.glob(".theorylab/**/.writing-*"))


def _is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # Where nobody reaps orphans they stay as zombies.
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(state.stdout.strip()) and not state.stdout.startswith("Z")


@pytest.mark.skipif(os.name == "nt", reason="needs signals")
def test_workers_end_with_a_killed_parent(tmp_path):
    # Both are in the middle of cells that take longer than the test waits.
    script = write_mean(tmp_path, before=(
        "import os, pathlib, time; pathlib.Path(f'pid-{os.getpid()}').touch(); "
        "time.sleep(30 if a == 1.0 else 0)"
    ))  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "theorylab", "run", str(script), "--workers", "2"],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.time() + 60
    while len(found := list(tmp_path.glob("pid-*"))) < 2 and time.time() < deadline:
        time.sleep(0.1)
    process.kill()
    process.wait()
    workers = [int(path.name.partition("-")[2]) for path in found]
    assert len(workers) == 2
    deadline = time.time() + 15
    while any(map(_is_alive, workers)) and time.time() < deadline:
        time.sleep(0.1)
    assert not any(map(_is_alive, workers))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c_says_what_is_known(tmp_path, workers):
    fast = write_mean(tmp_path, "fast.py", id="demo.fast")
    slow = write_mean(tmp_path, "slow.py", before="import time; time.sleep(20)", id="demo.slow")
    process = subprocess.Popen(
        [sys.executable, "-m", "theorylab", "run", str(fast), str(slow), "--workers", workers],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        # Shells start what runs in the background with Ctrl-C ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    deadline = time.time() + 60
    while not list(tmp_path.glob("figures/demo.fast.svg")) and time.time() < deadline:
        time.sleep(0.1)
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "demo.fast" in out
    assert "1 of 2 claims: 1 confirmed; interrupted, go on with --resume" in out
    assert "Traceback" not in err


# The folder of results --------------------------------------------------------------------------


def test_a_full_disk_is_one_clear_sentence(claim, tmp_path, monkeypatch):
    def no_space(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store_module.np, "savez", no_space)
    with pytest.raises(StoreError, match="the disk is full; choose another folder with --store"):
        claim.run(store=tmp_path / "store")
    assert not list((tmp_path / "store").rglob("*.npz"))


@pytest.mark.skipif(os.name == "nt", reason="needs a file in the place of a folder")
def test_a_folder_that_cannot_be_made_is_one_clear_sentence(tmp_path):
    script = write_mean(tmp_path)
    (tmp_path / "taken").write_text("a file")
    done = run_command("run", script, "--store", tmp_path / "taken", cwd=tmp_path)
    assert done.returncode == 1
    assert "cannot write to" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_read_only_folder_is_one_clear_sentence(tmp_path):
    script = write_mean(tmp_path)
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        if os.access(folder, os.W_OK):  # the superuser may write everywhere
            with (
                pytest.raises(StoreError, match="the file system is read-only"),
                store_module._explained(folder),
            ):
                raise OSError(30, "Read-only file system")
            return
        done = run_command("run", script, "--store", folder / "x", cwd=tmp_path)
        assert done.returncode == 1
        assert "the folder is not writable" in done.stderr
        assert "Traceback" not in done.stderr
    finally:
        folder.chmod(stat.S_IRWXU)


def test_results_are_readable_by_others(claim, tmp_path):
    claim.run(store=tmp_path / "store")
    mode = next((tmp_path / "store").rglob("*.npz")).stat().st_mode
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(mode) == 0o666 & ~umask


# Dask ---------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")  # of dask's own making
def test_dask_gives_the_same_bits(tmp_path):
    distributed = pytest.importorskip("distributed")
    script = write_mean(tmp_path)
    alone = load(script).run().samples_digest
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        done = run_command("run", script, "--dask", cluster.scheduler_address, "--json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["samples"] == alone
        bad = write_mean(
            tmp_path, "dying.py", before="import os\n    if a == 5.0: os._exit(1)", id="demo.dying"
        )
        bad.write_text(bad.read_text().replace("replicates=4", "replicates=1"))
        done = run_command("run", bad, "--dask", cluster.scheduler_address, "--json", cwd=tmp_path)
        record = json.loads(done.stdout)
        assert record["verdict"] == "ERROR"
        assert all("a=5" in error and "worker" in error for error in record["errors"])


@pytest.mark.parametrize(
    ("address", "message"),
    [("nowhere", "looks like tcp://host:8786"), ("tcp://127.0.0.1:9", "no dask scheduler")],
)
def test_a_wrong_dask_address_is_one_sentence(tmp_path, address, message):
    pytest.importorskip("distributed")
    done = run_command("run", write_mean(tmp_path), "--dask", address, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


# Scripts that misbehave -----------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["claim.main()", "from theorylab.validation import main; main()"])
def test_a_script_without_guard_runs_in_workers_and_under_the_command(tmp_path, ending):
    script = write_mean(tmp_path)
    text = script.read_text()
    script.write_text(text[: text.index("if __name__")] + ending + "\n")
    for command in ([str(script)], ["-m", "theorylab", "run", str(script)]):
        done = subprocess.run(
            [sys.executable, *command, "--workers", "2", "--json"],
            cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["verdict"] == "CONFIRMED"
        assert "Traceback" not in done.stderr


def test_a_claim_from_standard_input_runs_with_any_number_of_workers(tmp_path):
    source = write_mean(tmp_path).read_text()
    source = source[: source.index("if __name__")]
    source += "print(*(claim.run(workers=n).samples_digest for n in (1, 2)))\n"
    done = subprocess.run(
        [sys.executable, "-"], input=source, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    one, two = done.stdout.split()
    assert one == two


def test_a_script_that_simulates_on_import_is_told(tmp_path):
    script = write_mean(tmp_path)
    script.write_text(script.read_text().replace("if __name__", "claim.run()\nif __name__"))
    done = run_command("run", script, cwd=tmp_path)
    assert done.returncode == 1
    assert "a script simulates nothing while it is imported" in done.stderr


def test_leaving_python_in_a_script_or_a_measurement_is_an_error_of_its_own(tmp_path):
    leaves = tmp_path / "leaves.py"
    leaves.write_text("raise SystemExit(0)\n")
    empty = tmp_path / "empty.py"
    empty.write_text("")
    quits = write_mean(tmp_path, "quits.py", before="raise SystemExit(0)", id="demo.quits")
    good = write_mean(tmp_path)
    for workers in ("1", "2"):
        done = run_command(
            "run", leaves, empty, quits, good, good, "--workers", workers, "--json", cwd=tmp_path
        )
        verdicts = {line["id"]: line["verdict"] for line in map(json.loads, done.stdout.splitlines())}
        assert verdicts == {"demo.quits": "ERROR", "demo.mean": "CONFIRMED"}
        assert done.returncode == 1
        assert "leaves.py: SystemExit: 0" in done.stderr
        assert "empty.py declares no claim" in done.stderr
        assert "declared twice" not in done.stderr


def test_two_claims_with_one_id_are_told_and_two_names_for_one_claim_are_fine(tmp_path):
    script = write_mean(tmp_path)
    text = script.read_text().replace("claim.main()", "from theorylab.validation import main; main()")
    script.write_text(text.replace("if __name__", "same = claim\nif __name__"))
    command = [sys.executable, str(script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    script.write_text(text.replace("if __name__", "import copy\ntwin = copy.copy(claim)\nif __name__"))
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the id 'demo.mean' is declared twice" in done.stderr
    assert "1 of 1 claims: 1 confirmed" in done.stdout


def test_a_prediction_that_raises_is_told_with_its_cell_and_line(tmp_path):
    script = write_mean(tmp_path)
    script.write_text(script.read_text().replace("return a / 2", "return 1 / (a - 2)"))
    result = load(script).run()
    assert str(result.errors[0]).startswith("claim at a=2.0: ZeroDivisionError: ")
    assert "(demo_mean.py, line " in str(result.errors[0])
    assert "in half) while predicting" in str(result.errors[0])
