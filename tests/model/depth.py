"""How far these tests go: a little way with the others, far where FAIRLANE_TEST_DEEP is set."""

import os

DEEP = bool(os.environ.get("FAIRLANE_TEST_DEEP"))
