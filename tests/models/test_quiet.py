"""TensorFlow's remarks are left out; all else that is written to standard error arrives."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

REMARK = "I0000 00:00:1 port.cc:153] oneDNN custom operations are on. You may see slightly different results"


def stderr_of(code: str) -> str:
    start = "import os\nfrom karyoseg.models.quiet import _sifted, import_tensorflow\n"
    env = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    run = subprocess.run([sys.executable, "-c", start + code], env=env, capture_output=True, text=True, check=False)
    return run.stderr


def test_remarks_are_left_out_and_the_rest_stays_in_order() -> None:
    code = f"with _sifted():\n    os.write(2, b'one\\n{REMARK}\\ntwo\\n')\nos.write(2, b'three\\n')"
    assert stderr_of(code) == "one\ntwo\nthree\n"


def test_what_is_said_before_a_crash_arrives() -> None:
    said = "F0000 compiled to use AVX instructions, but these aren't available on your machine."
    code = f'with _sifted():\n    os.write(2, b"{REMARK}\\n{said}\\n")\n    os.abort()'
    assert stderr_of(code).startswith(said)


@pytest.mark.slow
def test_tensorflow_starts_silently() -> None:
    assert stderr_of("import_tensorflow()") == ""
