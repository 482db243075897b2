"""The parameters of a job, from the submitter's values to the handler's arguments (R1, R2).

    values ── lift ──▸ plain tree ── document ──▸ typed tree ──▸ text, stored
                                  ── document, with defaults ──▸ typed tree ──▸ canonical text, hashed
    text ── json ──▸ plain tree ── document ──▸ typed tree ── handler's annotations ──▸ arguments

Submitters and workers use the same document, made once from the handler's signature and registered in the database. So
a process that never imported the handler stores and hashes exactly like a process that did. Only the last step, to
dataclasses, models and Enum members, needs the handler, and only there its own validators run. A process that has the
handler takes that step at submission, too, and refuses values that they refuse. For other processes the worker does so.

A default that is not given is hashed as if it were given, since both submissions ask for the same work. It is not
stored: so a handler may gain or lose an optional parameter while jobs wait and while workers are deployed. A waiting
job gets the default of the code that will run it. Some defaults are not hashed: those that nobody can give (a value of
another type), that nobody may see (a secret), or that a function makes each time (`default_factory=uuid4`).

A value without an annotation is stored, hashed and handed over as its JSON form, so that a date and its ISO text are
then the same.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from functools import partial
from inspect import Parameter, signature, unwrap
from math import inf
from types import MappingProxyType, SimpleNamespace
from typing import Any, Final, NamedTuple, Self, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, SchemaValidator

from fairlane.domain.canonical import canonical
from fairlane.domain.errors import ConfigurationError, InvalidParameters, PayloadTooLarge
from fairlane.domain.redact import REDACTED, is_secret_name
from fairlane.domain.secrets import bare, has_redacted_secret, is_hidden_name, secret_values, veiled, without
from fairlane.jobtypes.parameters_document import REQUIRED, DocumentBuilder, Node, is_read_as_it_is
from fairlane.jobtypes.parameters_validator import FLAT, SECRETS, checked, filling, kinds, validator_of, words
from fairlane.jobtypes.parameters_values import dressed, dumps, json_form, lift, stored_as_given

VERSION: Final = 1
# Long values and long lists of errors help nobody, and end in logs.
_SHOWN_CHARACTERS: Final = 80
_SAID_CHARACTERS: Final = 2_000  # of a validator's own words
_SHOWN_ERRORS: Final = 10
_Adapter = TypeAdapter[Any] | None  # None: its JSON form is the value, or there is no annotation
_GIVEN: Final = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


class PreparedParameters(NamedTuple):
    """Checked parameters: as `plain` JSON values, as they are `shown`, without secrets, and the `text` of the plain
    ones, stored."""

    plain: Mapping[str, Any]
    shown: Mapping[str, Any]
    text: str


class ParameterSchema:
    """The schema of a job type's parameters, from its registered document; the handler is not needed."""

    def __init__(self, document: Node) -> None:
        self.job_type: str = document["job_type"]
        self._document = document
        self._validator = validator_of(document)
        filled = filling(document)
        self._hashed = validator_of(filled)
        definitions = document["definitions"]
        self._ambiguous = "union" in kinds(document["parameters"], definitions)
        # If so, they are read from their text in one step, which is a sixth of the work.
        self.is_flat = FLAT.issuperset(kinds(document["parameters"], definitions))
        # If so, prepared parameters are their typed values, and there are no defaults to fill in.
        self._is_hashed_as_stored = self.is_flat and FLAT.issuperset(kinds(filled["parameters"], {}))

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Return the schema that another process got from `describe`.

        Raises ConfigurationError if a newer version of Fairlane wrote it.
        """
        if document.get("version") != VERSION:
            raise ConfigurationError(
                f"the parameters of {document.get('job_type')} are described in version {document.get('version')}, "
                f"this process reads version {VERSION}: upgrade it"
            )
        return cls(dict(document))

    def describe(self) -> Node:
        """Return the document: plain JSON, to be registered in the database."""
        return self._document

    def prepare(self, parameters: Mapping[str, object], *, limit: float = inf) -> PreparedParameters:
        """Check `parameters` and return the text to be stored.

        Typed values may be given as Python objects or in their JSON form. Raises InvalidParameters with a sentence for
        each one that is missing, unknown or of the wrong type, or that can't be stored. Raises PayloadTooLarge if the
        JSON of what was given, or of what would be stored, has more than `limit` bytes.
        """
        flat = stored_as_given(self._validator, parameters, limit)
        if flat is not None and not any(map(is_hidden_name, flat[0])):
            return PreparedParameters(flat[0], *flat)
        try:
            # A dict that is marked as a secret is one value; the parameters as a whole are never secret.
            given = MappingProxyType(parameters) if isinstance(parameters, dict) else parameters
            lifted = lift(given, "parameters", limit=limit)
        except InvalidParameters as error:
            raise InvalidParameters(f"{self.job_type}: {error}") from error
        except PayloadTooLarge:
            raise self._too_large(limit) from None
        typed = self._typed(lifted, self._validator)
        plain = json_form(typed)
        text = dumps(plain)
        if len(text.encode()) > limit:
            raise self._too_large(limit)
        shown = veiled(plain)
        if shown is not plain and has_redacted_secret(plain):
            raise InvalidParameters(
                f"{self.job_type}: a secret parameter is {REDACTED!r}, which is what people are shown in its place: "
                "give its value"
            )
        prepared = PreparedParameters(plain, shown, text)
        if self._ambiguous:
            self._check_read_back(typed, prepared)
        return prepared

    def canonical(self, plain: Mapping[str, Any]) -> str:
        """Return the text to hash of prepared parameters: that of their typed values, with the defaults."""
        return canonical(plain if self._is_hashed_as_stored else self._typed(plain, self._hashed))

    def read(self, text: str) -> dict[str, Any]:
        """Read stored parameters as a typed tree, objects as dicts. Raises InvalidParameters if they no longer fit."""
        try:
            if self.is_flat:
                flat: dict[str, Any] = self._validator.validate_json(text)
                return flat
        except ValidationError:
            pass  # the other way finds the error
        try:
            plain = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InvalidParameters(f"{self.job_type}: the stored parameters are not JSON: {error}") from error
        return self._typed(plain, self._validator, text)

    def _typed(self, plain: object, validator: SchemaValidator, text: str = "") -> dict[str, Any]:
        try:
            typed: dict[str, Any] = checked(validator, plain)
        except ValidationError as error:
            raise self.refusal(error.errors(include_url=False), secret_values(text)) from None
        except InvalidParameters as error:
            raise InvalidParameters(f"{self.job_type}: {error}") from None
        return typed

    def _check_read_back(self, typed: dict[str, Any], prepared: PreparedParameters) -> None:
        """Refuse values that JSON can't tell apart: a date given to `str | date` would arrive as text."""
        again = self.read(prepared.text)
        for name, value in typed.items():
            if canonical(again[name]) != canonical(value):
                raise InvalidParameters(
                    f"{self.job_type}: parameter '{name}' is ambiguous: its JSON form would be read back as another "
                    "member of the union, so put the value's type first in the handler's annotation"
                )

    def _too_large(self, limit: float) -> PayloadTooLarge:
        return PayloadTooLarge(
            f"The parameters of {self.job_type} have more than {limit} bytes as JSON; "
            "store the data elsewhere and submit where it is."
        )

    def refusal(self, errors: list[ErrorDetails], secrets: tuple[str, ...]) -> InvalidParameters:
        """Return one error with a sentence for each of pydantic's `errors`.

        Args:
            secrets: the values (`secret_values`) to remove; a validator's own words may quote them.
        """
        sentences = [self._sentence(error, secrets) for error in errors[:_SHOWN_ERRORS]]
        if len(errors) > _SHOWN_ERRORS:
            sentences.append(f"and {len(errors) - _SHOWN_ERRORS} more")
        names = dict.fromkeys(_place(error["loc"][:1], secrets) for error in errors if error["loc"])
        return InvalidParameters(f"{self.job_type}: {'; '.join(sentences)}", names=tuple(names))

    def _sentence(self, error: ErrorDetails, secrets: tuple[str, ...]) -> str:
        fields = self._document["parameters"]["fields"]
        place, kind = _place(error["loc"], secrets), error["type"]
        if kind == "missing":
            expected = f" (it must be {words(fields[place]['schema'])})" if place in fields else ""
            return f"parameter '{place}' is missing{expected}"
        if kind == "extra_forbidden":
            close = get_close_matches(place, fields, n=1)
            return f"unknown parameter '{place}'" + (f", did you mean '{close[0]}'?" if close else "")
        subject = f"parameter '{place}'" if place else "parameters"
        message = _cut(error["msg"].removeprefix("Value error, "), secrets, _SAID_CHARACTERS)
        message = message.replace("Input should be", "must be")
        colon = "" if message.startswith(("must ", "can't ")) else ":"
        if not place:
            return f"{subject} must be a dict of values by name, not {type(error['input']).__name__}"
        got = REDACTED if self._may_be_secret(error["loc"]) else _shown(error["input"], secrets)
        return f"{subject}{colon} {message} (got {got})"

    def _may_be_secret(self, location: tuple[int | str, ...]) -> bool:
        """Return True if the value there, or a part of it, must not be shown: Fairlane's sentences end in logs."""
        if not location or any(isinstance(step, str) and is_secret_name(step) for step in location):
            return True
        parameters = self._document["parameters"]
        field = parameters["fields"].get(location[0])
        node = field["schema"] if field is not None else parameters.get("extras")
        return node is not None and not SECRETS.isdisjoint(kinds(node, self._document["definitions"]))


class Signature:
    """A handler's parameters: its schema, and how stored text becomes its arguments.

    `has_code`: types or validators of its own may refuse values that fit the schema. `runs_code`: to decode may run
    them, or other code of the application's classes.
    """

    def __init__(
        self,
        schema: ParameterSchema,
        adapters: Mapping[str, _Adapter],
        more: _Adapter,
        *,
        has_code: bool,
        runs_code: bool,
    ) -> None:
        self.schema = schema
        self.has_code, self.runs_code = has_code, has_code or runs_code
        self._adapters = adapters
        self._more = more  # for the parameters that `**` takes
        self._is_read = schema.is_flat and not any(adapters.values()) and more is None

    @classmethod
    def of(cls, job_type: str, handler: Callable[..., object]) -> Self:
        """Read the signature of `handler`: behind the context, which was checked before, all are the job's parameters.

        Raises ConfigurationError if it takes parameters that have no name, or of types that pydantic can't read.
        """
        context, *rest = _parameters(job_type, handler)
        builder = DocumentBuilder()
        fields: dict[str, Node] = {}
        adapters: dict[str, _Adapter] = {}
        parameters: Node = {"kind": "object", "fields": fields, "extra": "forbid"}
        more: _Adapter = None
        for parameter in rest:
            node, adapter = _typing(job_type, handler, parameter, builder)
            if parameter.kind is Parameter.VAR_KEYWORD:
                parameters |= {"extra": "allow", "extras": node}
                more = adapter
                if context.kind is not Parameter.POSITIONAL_ONLY:
                    fields[context.name] = {"schema": {"kind": "reserved"}, "required": False}
                continue
            adapters[parameter.name] = adapter
            default = REQUIRED if parameter.default is Parameter.empty else parameter.default
            fields[parameter.name] = builder.field(parameter.name, node, default)
        _put_defaults(builder)
        document = {"version": VERSION, "job_type": job_type, "parameters": parameters}
        schema = ParameterSchema(document | {"definitions": builder.definitions})
        return cls(schema, adapters, more, has_code=builder.has_code, runs_code=builder.runs_code)

    def judge(self, text: str) -> None:
        """Raise InvalidParameters if `text` fits the schema, but not the handler's own types and validators."""
        if not self.has_code:
            return
        try:
            self.decode(text)
        except InvalidParameters:
            raise
        except Exception:  # noqa: BLE001 - a validator that is broken: the attempt tells of it, with its traceback
            return

    def decode(self, text: str) -> dict[str, object]:
        """Return the handler's keyword arguments from stored `text`; only those that were given.

        Raises InvalidParameters if the text does not fit the handler, by its types or its own validators.
        """
        arguments = self.schema.read(text)
        if self._is_read:
            return arguments
        errors: list[ErrorDetails] = []
        for name in arguments:
            adapter = self._adapters.get(name, self._more)
            if adapter is None:
                arguments[name] = bare(arguments[name])
                continue
            try:
                # Not strict, whatever the model says: the types were checked; objects and Enum members are JSON.
                arguments[name] = adapter.validate_python(dressed(arguments[name]), strict=False)
            except ValidationError as error:
                errors.extend({**detail, "loc": (name, *detail["loc"])} for detail in error.errors(include_url=False))
            except InvalidParameters as refused:  # by a validator of the handler
                said = _cut(str(refused), secret_values(text), _SAID_CHARACTERS)
                raise InvalidParameters(said) from None
        if errors:
            raise self.schema.refusal(errors, secret_values(text))
        return arguments


def _parameters(job_type: str, handler: Callable[..., object]) -> list[Parameter]:
    parameters = list(signature(handler).parameters.values())
    for parameter in parameters[1:]:
        if parameter.kind not in (*_GIVEN, Parameter.VAR_KEYWORD):
            raise ConfigurationError(
                f"{job_type}: the handler's parameter '{parameter}' can't be given by name: "
                "parameters of jobs have names, so remove the `*args` or the `/`"
            )
        if isinstance(parameter.default, FieldInfo):
            raise ConfigurationError(
                f"{job_type}: the handler is a function, which would be handed what `Field(…)` makes as the value of "
                f"'{parameter.name}'; write `{parameter.name}: Annotated[int, Field(ge=1)] = 3`, or the like."
            )
    return parameters


def _typing(
    job_type: str, handler: Callable[..., object], parameter: Parameter, builder: DocumentBuilder
) -> tuple[Node, _Adapter]:
    """Return its node of the document, and the adapter that makes a value of its type."""
    if parameter.annotation is Parameter.empty:
        return {"kind": "any"}, None
    try:
        annotation = resolved(handler, parameter.annotation)
        return builder.node(annotation), None if is_read_as_it_is(annotation) else TypeAdapter(annotation)
    except (ConfigurationError, PydanticUserError, NameError, TypeError) as error:
        # pydantic's own text is about models.
        why = "use a type that JSON can hold, a dataclass or a model, or leave it out"
        if isinstance(error, ConfigurationError | NameError):
            why = str(error)
        elif isinstance(error, PydanticUserError) and error.code == "typed-dict-version":
            why = "before Python 3.12 import TypedDict from typing_extensions, not from typing"
        raise ConfigurationError(
            f"{job_type}: the annotation of the handler's parameter '{parameter.name}' can't be used: {why}"
        ) from error


def _put_defaults(builder: DocumentBuilder) -> None:
    """Add to the document each default that may be given and seen, as JSON."""
    names = [str(place) for place, _ in enumerate(builder.defaults)]
    given = {
        name: {"schema": field["schema"], "required": False}
        for name, (_, field, _) in zip(names, builder.defaults, strict=True)
    }
    parameters = {"kind": "object", "fields": given, "extra": "forbid"}
    schema = ParameterSchema({"job_type": "", "parameters": parameters, "definitions": builder.definitions})
    for place, (name, field, default) in zip(names, builder.defaults, strict=True):
        with suppress(InvalidParameters):
            plain = {name: schema.prepare({place: default}).plain[place]}
            if veiled(plain) is plain:
                field["default"] = plain[name]


def resolved(handler: Callable[..., object], annotation: object) -> Any:
    """Return an annotation of the handler's, text or not, as a type.

    One by one: the annotation of the context, which is often imported for type checkers only, need not be resolved.
    """
    function: Any = handler
    while isinstance(function, partial):
        function = function.func
    if not hasattr(function, "__code__") and not hasattr(function, "__func__"):
        function = type(function).__call__
    namespace = getattr(unwrap(function), "__globals__", {})
    holder = SimpleNamespace(__annotations__={"parameter": annotation})
    return get_type_hints(holder, namespace, include_extras=True)["parameter"]


def _place(location: tuple[int | str, ...], secrets: tuple[str, ...]) -> str:
    """Return pydantic's path as text, `items[3].price`; names in it may have any length, so it is cut."""
    steps = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in location if step != "[key]"]
    return _cut("".join(steps).removeprefix("."), secrets)


def _shown(value: object, secrets: tuple[str, ...]) -> str:
    return _cut(repr(veiled(value)), secrets)


def _cut(text: str, secrets: tuple[str, ...], limit: int = _SHOWN_CHARACTERS) -> str:
    """Return at most `limit` characters of a text, without secret values, and a mark if that is not all."""
    clean = without(text, secrets, stop=limit)
    return clean if len(text) <= limit and len(clean) <= limit else f"{clean[:limit]}…"
