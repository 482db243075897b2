"""A name may hold everything that Python prints, except for what a pattern says."""

import re
import sys

from fairlane.domain.texts import NAMES


def test_the_pattern_of_names_refuses_nothing_that_is_printed() -> None:
    printed = "".join(filter(str.isprintable, map(chr, range(sys.maxunicode + 1))))
    assert re.search(NAMES.pattern, printed) is not None
