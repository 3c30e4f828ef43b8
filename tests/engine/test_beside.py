"""Background jobs: their results come back, and an exit does not wait for them."""

import subprocess
import sys
import time

import pytest

from nasjax.engine.beside import beside


def test_what_a_job_returns_and_raises_comes_back():
    assert beside(lambda: 3).result() == 3
    with pytest.raises(ZeroDivisionError):
        beside(lambda: 1 / 0).result()


@pytest.mark.parametrize(("job", "code"), [("time.sleep(60)", 143), ("None", 3)])
def test_leaving_waits_for_no_job_and_loses_no_word(job, code):
    program = (
        "import time; from nasjax.engine.beside import beside, leave; "
        f"beside(lambda: {job}); print('the last words'); leave(lambda: {code})"
    )
    began = time.time()
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=50
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (
        code,
        "the last words\n",
        "",
    )
    assert time.time() - began < 30
