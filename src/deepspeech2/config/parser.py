"""The strict parser of a recipe: a YAML file gives defaults, the command line wins, all faults are reported at once."""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from transformers import HfArgumentParser
from transformers.hf_argparser import string_to_bool

from .arguments import Recipe
from .suggestions import did_you_mean, given_twice
from .validation import contradictions, without_effect
from .yaml_loader import read_yaml

RECIPE_ARGUMENTS: dict[str, Any] = {one.name: one.type for one in fields(Recipe) if one.name != "settings"}


class RecipeError(ValueError):
    """All faults of a configuration, in one message."""

    def __init__(self, faults: Sequence[str]):
        self.faults = list(faults)
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        super().__init__(f"the configuration has {count}:\n" + "\n".join(f"  - {fault}" for fault in faults))


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults, and the description with its own line breaks."""


class _Parser(HfArgumentParser):
    """Collects the faults that argparse would exit on. Keys cannot be abbreviated."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, allow_abbrev=False, **kwargs)
        self.faults: list[str] = []
        self.words: list[str] = []
        self.known: set[str] = set()

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        try:
            return super()._get_value(action, arg_string)
        except argparse.ArgumentError as error:
            self.faults.append(f"the command line: {error}")
            return action.default

    def error(self, message: str) -> None:  # type: ignore[override]
        flags = [word[2:].split("=")[0] for word in self.words if word.startswith("--")]
        unknown = [_unknown_key(flag, self.known, "the command line") for flag in flags if flag not in self.known]
        raise RecipeError([*self.faults, f"the command line: {message}", *unknown])


def parse_recipe(argv: Sequence[str], default_config: Path, description: str = "") -> Recipe:
    """
    Parse `[config.yaml] [--key value ...]`. The file gives defaults and the command line wins, in objects key by key.

    Args:
        argv: the command line without the name of the program.
        default_config: the YAML file to read if the command line names none.
        description: the text at the head of `--help`.

    Raises:
        RecipeError: the recipe has faults: unknown keys (the message names the nearest known key), values of a wrong
            type or out of range, or values that contradict each other.
    """
    parser = _Parser(
        RECIPE_ARGUMENTS.values(),
        usage="%(prog)s [CONFIG.yaml] [--key value ...]",
        description=description,
        formatter_class=_HelpFormatter,
    )
    parser.add_argument("config", nargs="?", help="YAML file of settings; it must be the first argument")
    parser.set_defaults(config=None)
    actions: dict[str, argparse.Action] = {}
    for action in parser._actions:
        if action.type is dict:
            action.type = _json_object
        actions.setdefault(action.dest, action)  # the first of --key and --no_key
    known = set(actions) - {"config", "help"}

    defaults = default_settings()

    parser.words, parser.known = list(argv), known | {"help"} | {f"no_{name}" for name in known}
    named = bool(argv) and not argv[0].startswith("-")
    config_path = Path(argv[0]) if named else default_config
    written = _read_yaml(config_path, actions, known, parser.faults)
    parser.set_defaults(**written)
    namespace, unknown = parser.parse_known_args(list(argv[named:]))
    objects: dict[str, Any] = {name: {} for name, value in defaults.items() if isinstance(value, dict)}
    _merge_objects(namespace, objects | written, parser.faults)
    twice = given_twice(argv, parser._option_string_actions)
    parser.faults += [f"the command line: {fault}" for fault in twice]
    flags = [word for word in unknown if word.startswith("--")]
    parser.faults += [_unknown_key(flag[2:].split("=")[0], known, "the command line") for flag in flags]
    if not flags:  # else the words may be the values of an unknown key
        parser.faults += [
            f"the command line has the stray word {word!r}; a config file must be the first argument"
            for word in [namespace.config, *unknown]
            if word is not None
        ]
    groups = _build_groups(namespace, parser.faults)
    given = {word[2:].split("=")[0].replace("-", "_") for word in argv if word.startswith("--")} | written.keys()
    settings = {
        name: _plain(getattr(namespace, name))
        for name in sorted(known)
        if not name.endswith("token") and (name in given or getattr(namespace, name) != defaults[name])
    }
    parser.faults += without_effect({name: value for name, value in settings.items() if value != defaults[name]})
    recipe = Recipe(**groups, settings=settings)
    parser.faults += contradictions(recipe)
    if parser.faults:
        raise RecipeError(parser.faults)
    return recipe


def _plain(value: Any) -> Any:
    """Return a setting as JSON and YAML can hold it: transformers puts its enumerations in place of some strings."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value.value if isinstance(value, Enum) else value


def _merge_objects(namespace: argparse.Namespace, written: dict[str, Any], faults: list[str]) -> None:
    """Merge the objects of the command line into those of the file, key by key. null clears an object."""
    for name, value in written.items():
        given = getattr(namespace, name)
        if not isinstance(value, dict):
            continue
        if isinstance(given, str):  # a field that may be a string too
            try:
                given = _json_object(given)
            except argparse.ArgumentTypeError:
                faults.append(f"the command line: {name} is {given!r}; expected a JSON object, or null for none")
                continue
        setattr(namespace, name, {} if given is None else value | given)


def _build_groups(namespace: argparse.Namespace, faults: list[str]) -> dict[str, Any]:
    """Return the argument groups of a recipe by name. A group that fails its own validation is None."""
    groups: dict[str, Any] = {}
    for name, dataclass_type in RECIPE_ARGUMENTS.items():
        values = {f.name: getattr(namespace, f.name) for f in fields(dataclass_type) if f.init}
        try:
            groups[name] = dataclass_type(**values)
        except (ValueError, TypeError, ImportError, OSError) as error:
            groups[name] = None
            faults.append(str(error))
    return groups


def default_settings() -> dict[str, Any]:
    """Return every key of a recipe with its default."""
    return vars(_Parser(RECIPE_ARGUMENTS.values()).parse_known_args([])[0])


def _json_object(text: str) -> dict | None:
    try:
        value = json.loads(text, object_pairs_hook=_each_key_once)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a JSON object: {error}") from error
    if not (value is None or isinstance(value, dict)):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a JSON object nor null")
    return value


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
        raise ValueError(f"the key {twice[0]!r} is given twice")
    return dict(pairs)


def _read_yaml(path: Path, actions: dict, known: set[str], faults: list[str]) -> dict[str, Any]:
    try:
        content = read_yaml(path)
    except ValueError as error:
        raise RecipeError([str(error)]) from error
    hints = {name: hint for group in RECIPE_ARGUMENTS.values() for name, hint in get_type_hints(group).items()}
    values = {}
    for key, value in content.items():
        if key not in known:
            faults.append(_unknown_key(str(key), known, str(path)))
            continue
        try:
            values[key] = _convert(value, actions[key], hints[key])
        except (ValueError, TypeError, argparse.ArgumentTypeError):
            faults.append(f"{path}: {key} is {value!r}; expected {_expected(actions[key])}")
    return values


def _expected(action: argparse.Action) -> str:
    if action.choices:
        return f"one of {', '.join(map(str, action.choices))}"
    names = {string_to_bool: "true or false", _json_object: "'key: value' pairs", str: "text; quote 'no' or '1.10'"}
    name = names.get(action.type) or action.type.__name__  # type: ignore[union-attr]
    return f"a list of {name}" if action.nargs == "+" else name


def _convert(value: Any, action: argparse.Action, hint: Any) -> Any:
    """Convert a YAML value as the command line would: `3e-4`, which YAML reads as a string, becomes a float."""
    if action.nargs == "+":
        return [_scalar(one, action) for one in (value if isinstance(value, list) else [value])]
    if value is None or isinstance(value, dict | list):
        kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        if type(value) not in [get_origin(kind) or kind for kind in kinds]:
            raise TypeError
        return value
    return _scalar(value, action)


def _scalar(value: Any, action: argparse.Action) -> Any:
    convert: Any = action.type
    if isinstance(value, bool) and convert is not string_to_bool:
        raise TypeError
    if isinstance(value, float) and convert in (int, str):  # as text, 1.10 would become 1.1
        raise TypeError
    converted = convert(str(value))
    if action.choices and converted not in action.choices:
        raise ValueError
    return converted


def _unknown_key(key: str, known: set[str], where: str) -> str:
    return f"{where}: unknown key {key!r}{did_you_mean(key, known)}"
