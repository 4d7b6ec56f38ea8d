"""Check the docstrings of everything public in src/karyoseg with numpydoc's validation.

``numpydoc lint`` alone is not enough: it reads the source without importing it, so it does not know that the
fields of a dataclass are its parameters, and it asks for docstrings of functions inside functions. The checks
and exclusions are those of ``[tool.numpydoc_validation]`` in pyproject.toml.

A method whose docstring is one line may leave out the Parameters section: the class says what goes in. So may all
pipeline code: the catalog and the parameter models say what goes in, and docstrings are prose for kedro-viz. So may
commands: their docstring is the help text, and click describes the options.

Usage: python scripts/check_docstrings.py [FILE ...]
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

from numpydoc import validate
from numpydoc.hooks.validate_docstrings import AstValidator, DocstringVisitor, parse_config

PROJECT = Path(__file__).resolve().parents[1]
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class _SourceValidator(AstValidator):
    """Validator that counts the fields of a dataclass among its parameters."""

    @property
    def signature_parameters(self) -> tuple[str, ...]:
        if not (self.is_class and _is_dataclass(self.node)):
            return tuple(super().signature_parameters)
        fields = [item for item in self.node.body if isinstance(item, ast.AnnAssign)]
        return tuple(ast.unparse(field.target) for field in fields if _is_public(field))


class _PublicVisitor(DocstringVisitor):
    """Visitor of the public classes, functions and methods of one file."""

    def visit(self, node: ast.AST) -> None:
        if not any(isinstance(outer, _FUNCTIONS) for outer in self.stack):
            super().visit(node)

    def _get_numpydoc_issues(self, node: ast.AST) -> None:
        report = validate.validate(
            self.node_name, _SourceValidator, ast_node=node, filename=self.filepath, ancestry=self.stack[:-1]
        )
        for check, description in report["errors"]:
            if not self._ignore_issue(node, check) and not (check == "PR01" and self._may_be_short(node)):
                where = f"{self.filepath}:{report['file_line']}"
                self.findings.append([where, self.node_name, check, description])

    def _may_be_short(self, node: ast.AST) -> bool:
        """Tell whether a docstring needs no Parameters section: short ones of methods, pipeline code and commands."""
        if not isinstance(node, _FUNCTIONS):
            return False
        is_method = any(isinstance(outer, ast.ClassDef) for outer in self.stack[:-1])
        is_adapter = "pipelines" in Path(self.filepath).parts
        is_command = any(ast.unparse(each) == "with_readable_errors" for each in node.decorator_list)
        return is_adapter or is_command or (is_method and len((ast.get_docstring(node) or "").splitlines()) == 1)


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)


def _is_public(field: ast.AnnAssign) -> bool:
    in_init = field.value is None or "init=False" not in ast.unparse(field.value)
    is_field = "ClassVar" not in ast.unparse(field.annotation)
    return in_init and is_field and not ast.unparse(field.target).startswith("_")


def check_file(path: Path, config: dict[str, Any]) -> list[list[str]]:
    """Validate the docstrings of one file.

    Parameters
    ----------
    path : Path
        Python source.
    config : dict
        Parsed ``[tool.numpydoc_validation]``.

    Returns
    -------
    list of list of str
        Place, name, check and description of every finding.
    """
    visitor = _PublicVisitor(str(path), config)
    visitor.visit(ast.parse(path.read_text(encoding="utf-8"), str(path)))
    return visitor.findings


def main(arguments: list[str]) -> int:
    """Check the given files, or all of src/karyoseg; return the number of findings, at most 1.

    Parameters
    ----------
    arguments : list of str
        Files; none means all.

    Returns
    -------
    int
        Exit status.
    """
    config = parse_config(PROJECT)
    files = [Path(name) for name in arguments] or sorted((PROJECT / "src" / "karyoseg").rglob("*.py"))
    findings = [finding for path in files for finding in check_file(path, config)]
    for where, name, check, description in findings:
        print(f"{where}: {name}: {check} {description}")
    print(f"{len(files)} files, {len(findings)} findings", file=sys.stderr)
    return int(bool(findings))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
