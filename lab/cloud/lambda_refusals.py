"""Errors as Lambda answers them."""

from __future__ import annotations


def refusal(code: str, message: str, status: int = 400) -> Exception:
    """An error of Lambda."""
    from moto.awslambda.exceptions import LambdaClientError

    error = LambdaClientError(code, message)
    error.code = status
    return error


def conflict(message: str) -> Exception:
    """What Lambda says when a thing is in use or being changed."""
    return refusal("ResourceConflictException", message, 409)
