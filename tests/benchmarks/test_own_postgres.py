"""A server for a benchmark or the demo leaves nothing behind."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import pytest

pytestmark = pytest.mark.slow

REPOSITORY: Final = Path(__file__).parents[2]
PROGRAM: Final = """
import sys, tempfile
from pathlib import Path
from benchmarks.own_postgres import postgres_in
with tempfile.TemporaryDirectory(dir=sys.argv[1]) as folder:
    Path(folder).chmod(0o755)
    with postgres_in(Path(folder)):
        pass
"""


def test_no_folder_is_made_again_as_the_process_ends() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "XDG_RUNTIME_DIR"}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # root's PostgreSQL, which is another user's, has to enter
        subprocess.run([sys.executable, "-c", PROGRAM, folder], check=True, cwd=REPOSITORY, env=environment)

        assert list(Path(folder).iterdir()) == []
