"""Runs named cases and prints the closing line; looks at the server as an account does."""
import json
import os
import sys
import time
import traceback
import urllib.error
import urllib.request

ROOT = os.environ["ROOT"]
KEY = os.environ["KEY"]
POOR_KEY = os.environ["POOR_KEY"]
HELLO = [{"role": "user", "content": "Say hello."}]
passed = failed = 0


def get(path, key=KEY):
    request = urllib.request.Request(ROOT + path, headers={"authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


MODEL = get("/v1/models")["data"][0]["id"]


def case(function):
    """Runs it at once. Its name is what it says."""
    global passed, failed
    name = function.__name__.replace("_", " ")
    try:
        function()
        passed += 1
        print(f"PASS {name}", flush=True)
    except Exception as error:  # noqa: BLE001
        failed += 1
        print(f"FAIL {name}: {type(error).__name__}: {str(error)[:300]}", flush=True)
        if os.environ.get("TRACE"):
            traceback.print_exc()
    return function


def native(function):
    """A case of what a server that speaks chat alone does not have."""
    return function if os.environ.get("IMITATE") else case(function)


def raises(kind, status, call):
    try:
        call()
    except kind as error:
        assert error.status_code == status, f"{error.status_code}, wanted {status}"
        return error
    raise AssertionError(f"no {kind.__name__}")


def newest_row():
    return get("/v1/payments/usage?limit=1")[0]


def row_after(before, seconds=10):
    """The usage row of a request whose client is gone already."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        row = newest_row()
        if row["request_id"] != before:
            return row
        time.sleep(0.05)
    raise AssertionError("no usage row")


def agrees(request_id, prompt, completion):
    """The row of a request says what its answer said."""
    row = next(row for row in get("/v1/payments/usage?limit=20") if row["request_id"] == request_id)
    assert (row["prompt_tokens"], row["completion_tokens"]) == (prompt, completion), (row, prompt, completion)
    assert row["outcome"] == "completed" and row["metered_by"] == "provider", row


def done():
    print(f"{passed} passed, {failed} failed", flush=True)
    sys.exit(1 if failed or not passed else 0)
