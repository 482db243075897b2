"""The rules of the house that no linter knows. Each test names the file and line that breaks one.

`make check` runs them.
"""

import ast
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import cache, cached_property
from inspect import Parameter, getmembers, ismethod, signature
from pathlib import Path

import pytest

from fairlane import Fairlane
from fairlane.domain.jobs import JobOrId
from fairlane.domain.statuses import JobStatus

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "fairlane"
MIGRATIONS = PACKAGE / "store" / "migrations"
# What is delivered or run beside the package.
BESIDE = ("benchmarks", "docs", "examples")
LONGEST_FUNCTION = 45
# No docstring begins with one of these: it says what something is, or what it does.
QUESTIONS = {
    *("What", "Where", "Who", "How", "Whether", "Which", "When", "Why"),
    *("Whoever", "Whatever", "Whose", "One", "All", "That", "Those", "Each", "As", "Is", "If"),
}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)

# A status as a plain string, where it is no status. (file, string): why.
NO_STATUS = {
    ("engine/executors/child.py", "failed"): "a key of the protocol with child processes",
    ("engine/executors/process.py", "failed"): "a key of the protocol with child processes",
}
# Who may read the machine's clock, and why. Times in the database come from `store.clock` alone.
CLOCKS = {
    "store/clock.py": "it is the clock",
    "testing.py": "it stands in for it",
    "api/rates.py": "compares with `limits`, which counts by the machine's clock",
    "cli/checks.py": "compares the machine's clock with the database's",
    "cli/output.py": "ages on the screen",
}
CLOCK_CALLS = {"datetime.now", "datetime.utcnow", "datetime.today", "date.today", "time.time", "time.time_ns"}
# Code from data.
FORBIDDEN_CALLS = {
    *("eval", "exec", "compile", "__import__", "yaml.load", "yaml.unsafe_load", "marshal.loads"),
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"),
    *("asyncio.create_subprocess_shell", "create_subprocess_shell"),
}
FORBIDDEN_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle"}
# Who may ask which database or driver a connection leads to, and why. All others ask `store.engine` for what they need.
WHICH_DATABASE = {
    "engine/open_transactions.py": "compares a host's settings with the URL",
    "store/engine.py": "it answers",
    "store/borrow.py": "refuses the drivers of hosts that it does not know",
    "store/postgres/engine.py": "hosts bring drivers that say in their own ways whether a transaction is open",
    "store/tables.py": "a moment is another type of column in each",
}
NAMES_OF_A_DATABASE = {
    "dialect.name",
    "dialect.driver",
    "get_backend_name",
    "is_sqlite",
    "is_postgres",
    "is_postgresql",
}
# Verbs of the public API that change nothing.
READS = {
    *(
        "get",
        "list",
        "history",
        "log_lines",
        "explain",
        "result",
        "artifact",
        "stream_artifact",
        "save_artifact",
        "list_artifacts",
        "find_artifact",
        "wait",
    ),
    *("metrics", "names", "groups", "groups_of_all", "breakers", "limits", "of", "missing", "export"),
    *("is_empty", "principal", "principals", "identified"),
}
# Verbs that change something for nobody in particular, and why.
WITHOUT_ACTOR = {
    **dict.fromkeys(
        ("close", "migrate", "job_type", "worker", "directory_changed", "middleware", "on_submit"),
        "they change no organization",
    ),
    **dict.fromkeys(("submit_many", "idempotency.submit"), "each submission names its own user"),
    **dict.fromkeys(("users.log_in", "users.log_out", "users.redeem", "users.change_password"), "they prove who acts"),
    **dict.fromkeys(("tickets.create", "tickets.redeem"), "they prove who acts"),
}
# Groups whose verbs act on an organization, so that it comes first, as a job does elsewhere.
ABOUT_ORGANIZATIONS = {"organizations", "members"}
# Faces name what they show as the rest of the code does: these are the words of those who call.
FACES = ("api/", "cli/", "realtime/")
SQL = {"select", "insert", "update", "delete", "text", "exists", "union", "union_all", "literal_column"}


@cache
def files() -> dict[str, Path]:
    """The package's own files by their path in it, without migrations, which stay as they were released."""
    found = (path for path in sorted(PACKAGE.rglob("*.py")) if MIGRATIONS not in path.parents)
    return {path.relative_to(PACKAGE).as_posix(): path for path in found}


@cache
def walked(name: str) -> list[ast.AST]:
    return list(ast.walk(ast.parse(files()[name].read_text(encoding="utf-8"))))


@cache
def beside() -> dict[str, Path]:
    """Migrations, and all Python that is not the package's, but for the tests; by its path from the root.

    Packages that benchmarks install in hidden folders are excluded.
    """
    found = (
        *MIGRATIONS.rglob("*.py"),
        *ROOT.glob("*.py"),
        *(one for name in BESIDE for one in (ROOT / name).glob("[!.]*/**/*.py")),
        *(one for name in BESIDE for one in (ROOT / name).glob("*.py")),
    )
    return {path.relative_to(ROOT).as_posix(): path for path in sorted(found)}


def nodes(*, outside: str = " ") -> Iterator[tuple[str, ast.AST]]:
    """Yield all nodes of the syntax trees, each with its file's name."""
    for name in files():
        if not name.startswith(outside):
            for node in walked(name):
                yield name, node


def nodes_of(paths: Mapping[str, Path]) -> Iterator[tuple[str, ast.AST]]:
    for name, path in paths.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            yield name, node


def dotted(node: ast.AST) -> str:
    """`a.b` for an attribute of a name, the name for a name, else nothing."""
    match node:
        case ast.Attribute(value=ast.Name(id=owner), attr=attribute):
            return f"{owner}.{attribute}"
        case ast.Attribute(value=ast.Attribute(attr=owner), attr=attribute):
            return f"{owner}.{attribute}"
        case ast.Name(id=name):
            return name
        case _:
            return ""


def at(name: str, node: ast.AST, what: str) -> str:
    return f"{name}:{getattr(node, 'lineno', 0)} {what}"


def imported(node: ast.AST) -> list[str]:
    """The modules that an import statement names."""
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=str(module)):
            return [module]
        case _:
            return []


def verbs() -> dict[str, tuple[Callable[..., object], Callable[..., object] | None]]:
    """The public verbs by name, such as "cancel" and "schedules.put", each with its async twin if it has one."""
    with Fairlane("sqlite://") as fl:
        groups: dict[str, object] = {"": fl}
        for name, _ in getmembers(Fairlane, lambda member: isinstance(member, cached_property)):
            if not name.startswith("_") and name != "aio":
                groups[f"{name}."] = getattr(fl, name)
        return {
            prefix + name: (verb, getattr(getattr(fl.aio, prefix[:-1], None) if prefix else fl.aio, name, None))
            for prefix, group in groups.items()
            for name, verb in getmembers(group, ismethod)
            if not name.startswith("_")
        }


def test_every_public_verb_has_the_same_order_of_arguments_and_one_word_for_who_acts() -> None:
    wrong = []
    for name, (verb, twin) in verbs().items():
        given = signature(verb).parameters
        of_keyword = {one.name for one in given.values() if one.kind is Parameter.KEYWORD_ONLY}
        optional = {one.name for one in given.values() if one.default is not Parameter.empty}
        group, _, last = name.rpartition(".")
        if given.keys() & {"by", "actor", "job_id"}:
            wrong.append(f"{name}: say `user` for who acts, and `job` for a job or its id")
        if "job" in given and (next(iter(given)) != "job" or given["job"].annotation != JobOrId):
            wrong.append(f"{name}: the job or its id comes first")
        if "organization" in given.keys() - of_keyword and group not in ABOUT_ORGANIZATIONS:
            wrong.append(f"{name}: an organization is a keyword")
        if optional - of_keyword:
            wrong.append(f"{name}: what may be omitted is a keyword")
        if last not in READS and name not in WITHOUT_ACTOR and "user" not in of_keyword & optional:
            wrong.append(f"{name}: who acts is the keyword `user`, None for the system")
        if twin is not None and signature(twin).parameters != given:
            wrong.append(f"{name}: its async twin takes other arguments")

    assert wrong == []


def test_lists_of_verbs_name_none_that_is_gone() -> None:
    names = verbs().keys()

    assert WITHOUT_ACTOR.keys() - names == set()
    assert READS - {name.rpartition(".")[2] for name in names} == set()


def test_only_the_engines_know_which_database_it_is() -> None:
    engines = ("fairlane.store.postgres", "fairlane.store.sqlite")
    asked = [
        (name, node, what)
        for name, node in nodes()
        for what in (dotted(node), *imported(node))
        if what.rpartition(".")[2] in NAMES_OF_A_DATABASE
        or what in NAMES_OF_A_DATABASE
        or (what.startswith(engines) and not name.startswith(("store/postgres/", "store/sqlite/")))
    ]

    assert [at(*one) for one in asked if one[0] not in WHICH_DATABASE] == []
    assert WHICH_DATABASE.keys() - {name for name, _, _ in asked} == set()


def test_statuses_are_written_in_one_file_only() -> None:
    values = {status.value for status in JobStatus}
    found = [
        (name, node, node.value)
        for name, node in nodes(outside="domain/statuses.py")
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in values
    ]

    assert [at(*one) for one in found if (one[0], one[2]) not in NO_STATUS] == []
    assert NO_STATUS.keys() - {(name, value) for name, _, value in found} == set(), "no longer there"


def test_functions_are_short() -> None:
    def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
        assert node.end_lineno is not None
        documented = ast.get_docstring(node, clean=False) is not None
        # A docstring tells what many arguments are; it is the code that has to be short.
        start = (node.body[0].end_lineno or node.lineno) if documented else node.lineno
        return node.end_lineno - start + 1

    functions = [(name, node) for name, node in nodes() if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]

    assert [at(name, node, node.name) for name, node in functions if length(node) > LONGEST_FUNCTION] == []


def test_a_class_name_stands_once() -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    for name, node in nodes():
        if isinstance(node, ast.ClassDef) and not name.startswith(FACES):
            homes[node.name].append(name)

    assert {name: where for name, where in homes.items() if len(where) > 1} == {}


def test_a_docstring_begins_with_a_noun_or_a_verb() -> None:
    tests = {path.relative_to(ROOT).as_posix(): path for path in ROOT.glob("tests/**/*.py")}
    everywhere = [*nodes(), *nodes_of(beside()), *nodes_of(tests)]
    documented = [(name, node) for name, node in everywhere if isinstance(node, DOCUMENTED)]
    texts = [(name, node, text) for name, node in documented if (text := ast.get_docstring(node))]

    assert [at(*one) for one in texts if one[2].split()[0].strip(",.:") in QUESTIONS] == []


def test_every_package_says_what_lives_in_it() -> None:
    packages = {path.parent for path in PACKAGE.rglob("*.py")}
    inits = [package / "__init__.py" for package in packages]

    assert [str(init) for init in inits if not init.exists()] == []
    assert [str(init) for init in inits if not ast.get_docstring(ast.parse(init.read_text(encoding="utf-8")))] == []


def test_nothing_turns_data_into_code() -> None:
    everywhere = [*nodes(), *nodes_of(beside())]
    calls = [(name, node, dotted(node.func)) for name, node in everywhere if isinstance(node, ast.Call)]
    imports = [(name, node, module) for name, node in everywhere for module in imported(node)]
    shells = [
        at(name, node, "shell=")
        for name, node, _ in calls
        for keyword in node.keywords
        if keyword.arg == "shell" and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
    ]

    assert shells == []
    assert [at(*call) for call in calls if call[2] in FORBIDDEN_CALLS] == []
    assert [at(*one) for one in imports if one[2].split(".")[0] in FORBIDDEN_MODULES] == []


def test_one_clock() -> None:
    uses = [(name, node, dotted(node)) for name, node in nodes() if name not in CLOCKS]

    assert [at(*use) for use in uses if use[2] in CLOCK_CALLS] == []


def test_sql_stays_in_the_store() -> None:
    found = [
        at(name, node, alias.name)
        for name, node in nodes(outside="store/")
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "sqlalchemy"
        for alias in node.names
        if alias.name in SQL
    ]
    drivers = [
        at(name, node, module)
        for name, node in nodes(outside="store/")
        for module in imported(node)
        if module.split(".")[0] in {"sqlite3", "psycopg"}
    ]

    assert found == []
    assert drivers == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [("datetime.now()", "datetime.now"), ("datetime.datetime.now()", "datetime.now"), ("now()", "now"), ("f()()", "")],
)
def test_a_call_is_known_by_its_last_two_names(source: str, expected: str) -> None:
    call = ast.parse(source, mode="eval").body

    assert isinstance(call, ast.Call)
    assert dotted(call.func) == expected
