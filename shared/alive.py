"""`equipoise-alive PROGRAM`: asks a program of this member how it is; for health checks.

Only the standard library, and little of it: it starts in milliseconds, once a second, for ever.

    exit 0   it is ready, or with --live: it answers
    exit 1   it is not: the checks that failed are printed
    exit 2   it was asked wrongly
"""

import os
import socket
import sys

RUN_DIRECTORY = "/run/equipoise"
PROGRAMS = ("arbiter", "console", "health_probe", "heartbeat", "traffic_switcher")
WITHIN_S = 2.0
SOCKET, ENDED = ".health.sock", ".ended"  # where it answers; its last words
ANSWER_MAX = 65_536
USAGE = f"usage: equipoise-alive [--live] PROGRAM; programs are {', '.join(PROGRAMS)}"


def main() -> None:
    """Ask, print what is wrong, and end the process with the answer."""
    sys.exit(ask(sys.argv[1:], os.environ.get("EQUIPOISE_RUN_DIR") or RUN_DIRECTORY))


def ask(arguments: list[str], run_directory: str) -> int:
    """Return the exit code for a program's health."""
    path = "/livez" if "--live" in arguments else "/readyz"
    programs = [each.replace("-", "_") for each in arguments if each != "--live"]
    if len(programs) != 1 or programs[0] not in PROGRAMS:
        print(USAGE, file=sys.stderr)  # noqa: T201 - a program for terminals and engines
        return 2
    answer = asked(f"{run_directory}/{programs[0]}{SOCKET}", path)
    print(answer[1].strip() or "no answer")  # noqa: T201
    return 0 if answer[0] == 200 else 1  # noqa: PLR2004 - HTTP's OK


def asked(address: str, path: str) -> tuple[int, str]:
    """Return the status and text of the answer; 0 and why where there is none."""
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(WITHIN_S)
        try:
            asking.connect(address)
            asking.sendall(request.encode())
            while len(answer) < ANSWER_MAX and (part := asking.recv(ANSWER_MAX)):
                answer += part
        except OSError as error:
            return 0, f"[-]process failed: {_why(address, error)}"
    head, _, body = answer.decode("utf-8", "replace").partition("\r\n\r\n")
    status = head.split(" ", 2)[1:2]
    return int(status[0]) if status and status[0].isdigit() else 0, body


def _why(address: str, error: OSError) -> str:
    """Return why nobody answers: in its own last words, if it left any."""
    if isinstance(error, TimeoutError):
        return f"{address}: it did not answer in {WITHIN_S:g} s: it hangs, or this machine does"
    gone = isinstance(error, ConnectionRefusedError)
    if (gone or isinstance(error, FileNotFoundError)) and (words := _last_words(address)):
        return f"it ended with {words}"
    if gone:
        return f"nobody answers at {address}: it was killed, or is starting again"
    if isinstance(error, FileNotFoundError):
        return (
            f"there is no {address}: it has not started yet, or has another run directory"
            " (EQUIPOISE_RUN_DIR; in containers, the volume that they share)"
        )
    return f"{address}: {error.strerror}"


def _last_words(address: str) -> str:
    try:
        with open(address.removesuffix(SOCKET) + ENDED) as words:  # noqa: PTH123 - pathlib costs 10 ms
            return words.read(ANSWER_MAX).strip()
    except OSError:
        return ""


if __name__ == "__main__":
    main()
