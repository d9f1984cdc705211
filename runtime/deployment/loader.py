"""A handler's name → the callable. Files are loaded under unique module names, so that nothing can collide."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runtime.deployment.fresh import FreshLoader, import_fresh
from runtime.errors import HandlerError
from runtime.values.handler_name import parse_handler
from runtime.values.nearest import nearest


def prepare_path(root: Path) -> None:
    """Let functions import what lies beside functions.yaml. At the end of the path: it shadows nothing installed.

    Called once in a process that runs code of the project, which is compiled from its files as they are.
    """
    if str(root) not in sys.path:
        sys.path.append(str(root))
        import_fresh(root)


def load_handler(handler: str, root: Path) -> Callable[..., Any]:
    """Load `path/to/file.py:name` (relative to `root`) or `package.module:name`. Raises HandlerError."""
    try:
        file, module_name, name = parse_handler(handler)
    except ValueError as error:
        raise HandlerError(f"{handler!r} {error}.") from error
    place = file or module_name or handler
    try:
        module = _load_file((root / file).resolve()) if file else importlib.import_module(str(module_name))
    except HandlerError:
        raise
    except SyntaxError as error:
        raise HandlerError(f"{_relative(error.filename, root)}:{error.lineno}: {error.msg}") from error
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise HandlerError(f"{_where(error, root) or place}: {type(error).__name__}: {error}") from error
    found = getattr(module, name, None)
    if found is None:
        names = [
            key
            for key, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module.__name__
        ]
        raise HandlerError(f"{place} has no function {name}{nearest(name, names) or '; it has none at all'}")
    if not callable(found):
        raise HandlerError(f"{name} in {place} is a {type(found).__name__}, not a function")
    result: Callable[..., Any] = found
    return result


def _load_file(file: Path) -> types.ModuleType:
    """Import a file as a module of a package that stands for its folder, so that `from ._helpers import x` works."""
    package = "_tundish_" + hashlib.sha256(bytes(file.parent)).hexdigest()[:12]
    if package not in sys.modules:
        parent = types.ModuleType(package)
        parent.__path__ = [str(file.parent)]
        sys.modules[package] = parent
    name = f"{package}.{file.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file, loader=FreshLoader(name, str(file)))
    if spec is None or spec.loader is None or not file.is_file():
        raise HandlerError(f"there is no Python file {file}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _relative(file: str | None, root: Path) -> str:
    path = Path(file or "?")
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _where(error: BaseException, root: Path) -> str:
    """`functions/shop.py:12`: the innermost line of the project's own code in a traceback."""
    place, trace = "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if Path(file).is_relative_to(root) and ".venv" not in Path(file).parts:
            place = f"{_relative(file, root)}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place
