"""What bodies are made of, taken as JSON has it: false is no 0, "5" is no 5, and 1e999 is no number."""

from typing import Annotated, TypeAlias

from pydantic import AllowInfNan, Strict

Whole: TypeAlias = Annotated[int, Strict()]
Number: TypeAlias = Annotated[float, Strict(), AllowInfNan(False)]
Flag: TypeAlias = Annotated[bool, Strict()]
