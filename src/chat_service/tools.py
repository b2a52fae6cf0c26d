"""The tools that the agent may use: the time, and arithmetic."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from datetime import UTC, datetime

from strands import tool

__all__ = ["calculate", "current_time"]

_LARGEST = 10**15
_OPERATORS: dict[type[ast.operator] | type[ast.unaryop], Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}


@tool
def current_time() -> str:
    """Tell the current date and time in UTC."""
    return datetime.now(UTC).strftime("%A, %d %B %Y, %H:%M:%S UTC")


@tool
def calculate(expression: str) -> str:
    """Work out an arithmetic expression.

    Args:
        expression: Numbers with + - * / // % ** and parentheses, for example "2 * (3 + 4)".
    """
    if len(expression) > 200:
        raise ValueError("the expression is too long")
    try:
        value = _value(ast.parse(expression.strip(), mode="eval").body)
    except (SyntaxError, ZeroDivisionError, OverflowError) as error:
        raise ValueError(f"cannot work out this expression: {error}") from None
    return str(int(value)) if float(value).is_integer() else str(value)


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return _bounded(number)
        case ast.UnaryOp(op=sign, operand=operand) if type(sign) in _OPERATORS:
            return _OPERATORS[type(sign)](_value(operand))
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _OPERATORS:
            return _bounded(_applied(sign, _value(left), _value(right)))
    raise ValueError("only numbers, + - * / // % ** and parentheses are understood")


def _applied(sign: ast.operator, left: float, right: float) -> float:
    if isinstance(sign, ast.Pow) and abs(right) > 64:
        raise ValueError("the exponent is too large")  # refused before the work is done
    return _OPERATORS[type(sign)](left, right)


def _bounded(value: float) -> float:
    if isinstance(value, complex) or abs(value) > _LARGEST:
        raise ValueError("the number is too large")
    return value
