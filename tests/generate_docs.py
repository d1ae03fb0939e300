"""References that are generated from the code: ``python -m tests.generate_docs`` (``make docs``).

A page is generated as a whole, or holds blocks between ``<!-- generated: NAME -->`` and
``<!-- end -->``; what stands around a block is written by hand.
"""

import ast
import inspect
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

from hub import config
from hub.auth import roles
from hub.auth.roles import GRANTS, MACHINE_ROLES, READS_MODALITIES, SITE_ROLES, Permission, Role
from hub.config import Settings
from hub.web.i18n import translator
from hub.worklist import states
from hub.worklist.states import TRANSITIONS, Event, State

ROOT = Path(__file__).parents[1]
SETTINGS_PAGE = ROOT / "docs/settings.md"
BLOCK = re.compile(r"(<!-- generated: ([a-z_]+) -->\n).*?(<!-- end -->)", re.DOTALL)

chinese, english = translator("zh-CN"), translator("en")


def table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; bars in cells are escaped."""
    lines = [list(headings)]
    lines += [["---"] * len(lines[0])]
    lines += [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return (
        "\n".join("| " + " | ".join(line) + " |" for line in lines)
        .replace("| --- ", "|---")
        .replace("|--- |", "|---|")
    )


def described(module: ModuleType, name: str) -> dict[str, str]:
    """The sentence under each name of a class, empty where there is none."""
    tree = ast.parse(inspect.getsource(module))
    body = next(n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name)
    found = {}
    for field, after in pairwise([*body, ast.Pass()]):
        target = field.target if isinstance(field, ast.AnnAssign) else None
        target = field.targets[0] if isinstance(field, ast.Assign) else target
        if isinstance(target, ast.Name):
            text = (
                after.value.value
                if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                else ""
            )
            found[target.id] = " ".join(str(text).split()).replace("``", "`")
    return found


# ---------------------------------------------------------------- settings.md

SETTINGS_INTRODUCTION = """# Settings

Generated from `hub/config.py` by `make docs`; a test keeps the two alike.

Every setting is an environment variable, or the same name without `HUB_` and in lower case in
`hub.toml`. The command line beats the environment, the environment beats the file. A value that the
hub cannot work with stops it and names the setting. Tables and lists are written as JSON in the
environment, as TOML in the file.

"""


def described_fields() -> dict[str, str]:
    """The sentence under each field of `Settings`."""
    return {
        name: text
        for name, text in described(config, Settings.__name__).items()
        if name in Settings.model_fields
    }


def shown(name: str) -> str:
    """The default of a setting as one would write it."""
    value = Settings.model_fields[name].get_default(call_default_factory=True, validated_data={})
    if value == "":
        return "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"see below: {name}" if isinstance(value, dict | tuple) else f"`{value}`"


def settings_page() -> str:
    """docs/settings.md."""
    fields = ((f"`HUB_{name.upper()}`", shown(name), text) for name, text in described_fields().items())
    settle = ((modality, f"{seconds:g}") for modality, seconds in config.SETTLE_SECONDS.items())
    due = ((rule.urgency, rule.modality, str(rule.minutes)) for rule in config.DUE_RULES)
    return "\n".join(
        (
            SETTINGS_INTRODUCTION + table(("variable", "default", "meaning"), fields),
            "\n## settle_seconds\n",
            table(("modality", "quiet seconds"), settle),
            "\n## due_rules\n\nThe first rule that fits decides.\n",
            table(("urgency", "modality", "minutes"), due),
            "",
        )
    )


# ---------------------------------------------------------------- commands.md


COMMANDS_INTRODUCTION = """# Commands

Generated from `hub/cli.py` by `make docs`; a test keeps the two alike.

Commands read the same [settings](settings.md) as the hub itself, from the environment or `./hub.toml`;
run them on a machine that reaches its database and object store. `hub --config FILE COMMAND` takes
another file. What a person has to mend is one line on stderr and exit status 2; a check that fails
exits with 1.
"""


def commands_page() -> str:
    """docs/commands.md: every command with its arguments and options."""
    from typer.main import get_command

    from hub.cli import LATER, app

    parts = [COMMANDS_INTRODUCTION]
    parts += [_command(path, command) for path, command in _leaves("hub", get_command(app))]
    parts.append("## Not in this release\n")
    parts.append("These names are taken; the commands say that they are missing and exit with 2.\n")
    parts.append(
        table(("command", "what it is for"), ((f"`hub {name}`", what) for name, what in LATER.items()))
    )
    return "\n".join(parts) + "\n"


def _leaves(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    for name, below in getattr(command, "commands", {}).items():
        if not below.hidden:
            yield from _leaves(f"{path} {name}", below)
    if not hasattr(command, "commands"):
        yield path, command


def _command(path: str, command: Any) -> str:
    shown_params = [param for param in command.params if param.name != "help"]
    arguments = [param for param in shown_params if param.param_type_name == "argument"]
    usage = " ".join([path, *(_argument(param) for param in arguments)])
    rows = [(_spelling(param), _needed(param), getattr(param, "help", None) or "") for param in shown_params]
    text = f"## {path}\n\n`{usage}{' [OPTIONS]' if len(shown_params) > len(arguments) else ''}`\n\n"
    text += f"{inspect.cleandoc(command.help or '').splitlines()[0]}\n"
    return text + (f"\n{table(('argument or option', 'needed', 'meaning'), rows)}\n" if rows else "")


def _argument(param: Any) -> str:
    name = (param.metavar or param.name or "").upper()
    return f"{name}…" if param.nargs == -1 else name


def _spelling(param: Any) -> str:
    if param.param_type_name == "argument":
        return f"`{_argument(param)}`"
    return f"`{'`, `'.join([*param.opts, *param.secondary_opts])}`"


def _needed(param: Any) -> str:
    return "yes" if param.required else ""


# ---------------------------------------------------------------- states.md, roles.md


STATES_INTRODUCTION = """# The states of an exam

Generated from `hub/worklist/states.py` by `make docs`; a test keeps the two alike.
A pair of state and event that is in neither table of steps cannot happen.
"""
STEPS_INTRODUCTION = """
## Steps

Where it says *the hub*, nobody takes the step by hand. `complete` is also taken by the hub, when a study
has gone quiet.
"""
ROLES_INTRODUCTION = """# Roles and permissions

Generated from `hub/auth/roles.py` by `make docs`; a test keeps the two alike.
A person may hold several posts, each a role at a place with first and last day.
"""


def _who(allowed: Iterable[Role]) -> str:
    names = [str(role) for role in Role if role in set(allowed)]
    return ", ".join(names) or "the hub"


def _state_name(state: State) -> str:
    return chinese(f"common.state.{state.name}")


def _steps(*, built: bool) -> str:
    rows = (
        (str(start or "–"), str(event), str(transition.to), _who(transition.roles))
        for (start, event), transition in TRANSITIONS.items()
        if transition.built is built
    )
    return table(("from", "event", "to", "who"), rows)


def states_page() -> str:
    """docs/states.md: the exam's states, and who may move it."""
    meaning = described(states, State.__name__)
    names = (
        (
            str(state),
            _state_name(state),
            english(f"common.state.{state.name}"),
            meaning[state.name].partition(": ")[2],
        )
        for state in State
    )
    events = (
        (str(event), text) for event in Event if (text := described(states, Event.__name__)[event.name])
    )
    return "\n".join(
        (
            STATES_INTRODUCTION,
            table(("state", "中文", "on English pages", "meaning"), names),
            STEPS_INTRODUCTION,
            _steps(built=True),
            "\n## Events that do not explain themselves\n",
            table(("event", "meaning"), events),
            "\n## Declared, and refused in this release\n",
            _steps(built=False),
            "",
        )
    )


def roles_page() -> str:
    """docs/roles.md: roles and what each may do."""
    meaning = described(roles, Role.__name__)
    rows = (
        (
            f"`{role}`",
            chinese(f"auth.role.{role}"),
            "a site" if role in SITE_ROLES else "the centre, or a site",
            "token" if role in MACHINE_ROLES else "person",
            READS_MODALITIES.get(role, ""),
            meaning[role.name],
        )
        for role in Role
    )
    grants = (
        (f"`{permission}`", *("●" if permission in GRANTS[role] else "" for role in Role))
        for permission in Permission
        if permission is not Permission.SELF
    )
    return "\n".join(
        (
            ROLES_INTRODUCTION,
            table(("role", "中文", "held at", "held by", "reads", "meaning"), rows),
            "\n`self` (the own session) everybody has who is logged in.\n",
            table(("permission", *(str(role) for role in Role)), grants),
            "",
        )
    )


# ---------------------------------------------------------------- routes.md


ROUTES_INTRODUCTION = """# Routes

Generated from the application by `make docs`; a test keeps the two alike.

One of the permissions named opens a route; what is then shown is only what the caller's posts cover
([roles](roles.md)). The interfaces for programs are described at `/api/openapi.json`. Files under
`/static` are public.

"""


def _routes(routes: Iterable[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every route with its whole path, those of included routers too."""
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is None:
            yield prefix + route.path, route
        else:
            yield from _routes(included.routes, prefix + route.include_context.prefix)


def routes_page() -> str:
    """docs/routes.md: path, method and the permissions of which one opens it."""
    from starlette.routing import Mount

    from hub.app import create_app
    from hub.auth.deps import guard_of
    from hub.context import open_context

    with tempfile.TemporaryDirectory() as folder:
        context = open_context(Settings(data_dir=Path(folder)))
        found = {
            (path, method): (path, method, _permissions(guard_of(route.dependant)))
            for path, route in _routes(create_app(context).routes)
            if not isinstance(route, Mount)
            for method in route.methods
        }
        context.db.dispose()
    rows = ((f"`{path}`", method, opened) for _, (path, method, opened) in sorted(found.items()))
    return f"{ROUTES_INTRODUCTION}{table(('path', 'method', 'opened by'), rows)}\n"


def _permissions(found: tuple[Permission, ...] | None) -> str:
    assert found is not None, "an application with an unguarded route does not start"
    return ", ".join(f"`{permission}`" for permission in found) or "everybody"


# ---------------------------------------------------------------- blocks of other pages


def storage_classes_block() -> str:
    """The abstract syntaxes of storage."""
    from pydicom.uid import UID

    from hub.dicom.contexts import storage_classes

    rows = (
        (UID(uid).name if UID(uid).name != uid else keyword, uid)
        for uid, keyword in storage_classes().items()
    )
    return table(
        ("SOP class", "UID"), sorted(rows, key=lambda row: [int(part) for part in row[1].split(".")])
    )


def transfer_syntaxes_block() -> str:
    """The transfer syntaxes of storage, and whether their frames are decoded here."""
    from pydicom.uid import UID

    from hub.dicom.contexts import DEFLATED_IMAGE_FRAME, transfer_syntaxes

    names = {DEFLATED_IMAGE_FRAME: "Deflated Image Frame Compression"}
    rows = (
        (names.get(uid, UID(uid).name), uid, "yes" if _decoded(uid) else "no") for uid in transfer_syntaxes()
    )
    return table(("transfer syntax", "UID", "frames decoded"), rows)


def _decoded(uid: str) -> bool:
    """Whether the hub has a decoder for the frames of a syntax."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    from hub.dicom.contexts import DEFLATED_IMAGE_FRAME

    if uid == DEFLATED_IMAGE_FRAME or not UID(uid).is_compressed:
        return True
    try:
        return get_decoder(UID(uid)).is_available
    except NotImplementedError:
        return False


def statuses_block() -> str:
    """The answers to C-STORE, from the listener and from the error tree."""
    from hub import errors
    from hub.dicom import ingest, reception
    from hub.dicom.wire import status as statuses

    causes: dict[int, list[str]] = {
        statuses.SUCCESS: [
            "bytes and index row are durable",
            "the same data set was filed before",
            "bytes and desk item are durable: unknown device, or other bytes under a UID that is taken",
        ],
        statuses.OUT_OF_RESOURCES: ["the machine is out of disk or memory"],
        reception.NOT_UNDERSTOOD: ["a fault of the hub"],
    }
    for error in (
        errors.Rejected,
        errors.Malformed,
        errors.TooLarge,
        errors.StoreUnavailable,
        ingest.WrongObject,
    ):
        causes.setdefault(error.dimse_status, []).append((error.__doc__ or "").strip().splitlines()[0])
    rows = ((f"{status:04X}", " · ".join(texts)) for status, texts in sorted(causes.items()))
    return table(("status", "when"), rows)


def query_keys_block() -> str:
    """What QIDO-RS matches, by level."""
    from hub.dicom.qido import INSTANCE_KEYS, SERIES_KEYS, STUDY_KEYS
    from hub.dicom.query import TAGS

    levels = (("study", STUDY_KEYS), ("series", SERIES_KEYS), ("instance", INSTANCE_KEYS))
    rows = (
        (
            keyword.replace(".", " > "),
            " > ".join(f"({step[:4]},{step[4:]})" for step in tag.split(".")),
            ", ".join(level for level, keys in levels if keyword in keys),
        )
        for keyword, tag in TAGS.items()
    )
    return table(("attribute", "tag", "level"), rows)


def retrieve_keys_block() -> str:
    """What C-FIND can ask for, by level."""
    from hub.dicom.qr_keys import KEYS, UNIQUE_KEYS

    rows = (
        (
            key.keyword,
            f"({key.tag >> 16:04X},{key.tag & 0xFFFF:04X})",
            key.level.name,
            "unique" if key in UNIQUE_KEYS.values() else "yes" if key.matched else "",
        )
        for key in KEYS.values()
    )
    return table(("attribute", "tag", "level", "matched"), rows)


def worklist_keys_block() -> str:
    """What a worklist query can ask for; attributes without a value are returned empty."""
    from hub.worklist import mwl_keys

    rows = [
        (
            key.keyword,
            f"({key.tag >> 16:04X},{key.tag & 0xFFFF:04X})",
            "yes" if key.matched else "",
            "always" if key.always else "when asked for",
            "always empty" if key.value in (mwl_keys._empty, mwl_keys._none) else "",
        )
        for key in (*mwl_keys.STEP_KEYS, *mwl_keys.KEYS)
    ]
    return table(("attribute", "tag", "matched", "returned", ""), rows)


def step_statuses_block() -> str:
    """The answers to N-CREATE and N-SET of procedure steps."""
    from hub.dicom.peers import NotRegistered
    from hub.worklist import mpps, steps

    errors = (steps.AttributeInvalid, steps.DuplicateStep, steps.NoSuchStep, steps.AttributeMissing)
    errors += (steps.AttributeEmpty, mpps.StepUnreadable, NotRegistered)
    rows = [(f"{error.dimse_status:04X}", (error.__doc__ or "").strip()) for error in errors]
    final = f"{(steps.StepFinal.__doc__ or '').strip()} Error ID {mpps.NO_LONGER_UPDATED:04X}."
    rows += [("0000", "The report is kept."), (f"{steps.StepFinal.dimse_status:04X}", final)]
    return table(("status", "when"), sorted(rows))


def dicomweb_block() -> str:
    """The resources under /dicom-web."""
    from hub.dicom import archive, qido, wado

    rows = (
        (f"`/dicom-web{route.path}`", (route.endpoint.__doc__ or "").strip().splitlines()[0])
        for module in (qido, wado, archive)
        for route in module.routes.routes
    )
    return table(("GET", "answers"), rows)


def unbuilt_steps_block() -> str:
    """Steps of the state table that are refused."""
    return _steps(built=False)


def later_commands_block() -> str:
    """Commands that are not in this release."""
    from hub.cli import LATER

    return table(("command", "what it is for"), ((f"`hub {name}`", what) for name, what in LATER.items()))


PAGES: dict[str, Callable[[], str]] = {
    "docs/settings.md": settings_page,
    "docs/commands.md": commands_page,
    "docs/states.md": states_page,
    "docs/roles.md": roles_page,
    "docs/routes.md": routes_page,
}
BLOCKS: dict[str, dict[str, Callable[[], str]]] = {
    "docs/conformance.md": {
        "storage_classes": storage_classes_block,
        "transfer_syntaxes": transfer_syntaxes_block,
        "retrieve_keys": retrieve_keys_block,
        "worklist_keys": worklist_keys_block,
        "step_statuses": step_statuses_block,
        "statuses": statuses_block,
        "query_keys": query_keys_block,
        "dicomweb": dicomweb_block,
    },
    "docs/limits.md": {"unbuilt_steps": unbuilt_steps_block, "later_commands": later_commands_block},
}


def filled(text: str, blocks: dict[str, Callable[[], str]]) -> str:
    """The page with its blocks made anew; every block must be there."""
    names = [found[2] for found in BLOCK.finditer(text)]
    assert sorted(names) == sorted(blocks), f"blocks {names}, expected {sorted(blocks)}"
    return BLOCK.sub(lambda found: f"{found[1]}{blocks[found[2]]()}\n{found[3]}", text)


def expected(root: Path = ROOT) -> Iterator[tuple[Path, str]]:
    """Every generated page with what should be in it."""
    for name, make in PAGES.items():
        yield root / name, make()
    for name, blocks in BLOCKS.items():
        yield root / name, filled((root / name).read_text(encoding="utf-8"), blocks)


def outdated(root: Path = ROOT) -> list[str]:
    """Names of pages that do not say what the code says."""
    return [
        path.relative_to(root).as_posix()
        for path, text in expected(root)
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]


if __name__ == "__main__":
    for page, content in expected():
        page.write_text(content, encoding="utf-8")
