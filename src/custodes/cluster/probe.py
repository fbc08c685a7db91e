"""Says of a Ray cluster whether it answers somebody whose token is wrong: ``open`` or ``closed``; nothing where none answers. Not a command."""

from __future__ import annotations

import os
import sys

__all__ = ["main"]


def main() -> None:
    """Entry point: the address is the one argument."""
    from ray._raylet import GcsClient  # type: ignore[attr-defined]  # noqa: PLC0415
    from ray.exceptions import AuthenticationError, RayError  # noqa: PLC0415

    try:
        GcsClient(address=sys.argv[1]).internal_kv_keys(b"", None, 5)
        answer = b"open"
    except AuthenticationError:
        answer = b"closed"
    except (RayError, RuntimeError, ValueError):
        answer = b""
    os.write(1, answer)


if __name__ == "__main__":
    main()
