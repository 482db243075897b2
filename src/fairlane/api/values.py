"""What bodies are made of, taken as JSON has it: false is no 0, "5" is no 5, 1e999 is no number, and 5 is no moment."""

import re
from typing import Annotated, Any, Final, TypeAlias

from pydantic import AllowInfNan, AwareDatetime, BeforeValidator, Field, Strict, StringConstraints

from fairlane.registry.options import LONGEST_TEXT

CENTURY: Final = 100 * 365 * 86_400  # seconds
_DATE_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d")


def _written_out(value: Any) -> Any:
    """Refuse the seconds since 1970, as a number or as text, which pydantic would take."""
    if value is not None and not (isinstance(value, str) and _DATE_TIME.match(value)):
        raise ValueError("a time is written out, with a time zone, such as 2026-11-01T08:00:00Z")
    return value


# Patterns for the OpenAPI document alone: what they refuse, the verbs refuse in a sentence, and names a little more.
Text: TypeAlias = Annotated[str, Field(json_schema_extra={"pattern": r"^[^\x00]*$"})]
Name: TypeAlias = Annotated[str, Field(json_schema_extra={"pattern": r"^[^\x00-\x1f\x7f-\xa0]*$"})]
OrganizationId: TypeAlias = Annotated[str, Field(json_schema_extra={"pattern": r"^[^\x00-\x1f\x7f-\xa0,/]*$"})]
Pair: TypeAlias = Annotated[str, Field(json_schema_extra={"pattern": r"^[^\x00=]*=[^\x00]*$"})]
Whole: TypeAlias = Annotated[int, Strict()]
Number: TypeAlias = Annotated[float, Strict(), AllowInfNan(False)]
Flag: TypeAlias = Annotated[bool, Strict()]
Label: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_TEXT)]
Labels: TypeAlias = dict[Label, Annotated[Name, StringConstraints(min_length=1, max_length=LONGEST_TEXT)]]
Moment: TypeAlias = Annotated[AwareDatetime, BeforeValidator(_written_out)]
