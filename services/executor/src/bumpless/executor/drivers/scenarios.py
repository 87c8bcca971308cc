"""Plays one scenario over HTTP: request after request, until the first answer that is not what was expected."""

from __future__ import annotations

import json
from typing import Any

import aiohttp

from bumpless.common.model.scenario import Call, ScenarioFile, at_path, filled
from bumpless.executor.drivers.probing import DETAIL, Outcome, beginning


async def play(scenario: ScenarioFile, timeout_s: float) -> Outcome:
    """`timeout_s` is for all requests together. Cookies are kept from one to the next; redirects are not followed."""
    variables: dict[str, str] = {}
    where = ""
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    try:
        async with aiohttp.ClientSession(
            timeout=timeout,
            headers={"User-Agent": "bumpless-probe"},
            cookie_jar=aiohttp.CookieJar(unsafe=True),  # nodes are called by their addresses
        ) as session:
            for number, call in enumerate(scenario.calls, start=1):
                where = f"call {number}{f' ({call.name})' if call.name else ''}: "
                fault = await _call(session, scenario.base, call, variables)
                if fault:
                    return Outcome(False, (where + fault)[:DETAIL])
    except TimeoutError:
        return Outcome(False, f"{where}no answer within {timeout_s:g} s"[:DETAIL])
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return Outcome(False, f"{where}{str(error) or type(error).__name__}"[:DETAIL])
    return Outcome(True)


async def _call(session: aiohttp.ClientSession, base: str, call: Call, variables: dict[str, str]) -> str:
    """What is wrong with the answer; empty: nothing, and `variables` has what was captured."""
    body: bytes | None = None
    headers = {name: filled(text, variables) for name, text in call.headers.items()}
    if call.json_body is not None:
        body = json.dumps(_filled_in(call.json_body, variables)).encode()
        headers.setdefault("Content-Type", "application/json")
    elif call.body is not None:
        body = filled(call.body, variables).encode()
    async with session.request(
        call.method, base + filled(call.path, variables), headers=headers, data=body, allow_redirects=False
    ) as answer:
        said = await beginning(answer)
    wanted = call.expect
    if answer.status not in wanted.status:
        return f"status {answer.status}, expected {' or '.join(map(str, wanted.status))}"
    if wanted.contains is not None and filled(wanted.contains, variables).encode() not in said:
        return f"no {wanted.contains!r} in the answer"
    if not wanted.json_values and not call.capture:
        return ""
    try:
        document = json.loads(said)
    except ValueError:
        return "expected JSON, found something else"
    return _json_fault(document, call, variables)


def _json_fault(document: Any, call: Call, variables: dict[str, str]) -> str:
    for path, value in call.expect.json_values.items():
        try:
            found = at_path(document, path)
        except LookupError:
            return f"nothing at {path}"
        if found != _filled_in(value, variables):
            return f"{path} is {json.dumps(found)}, expected {json.dumps(_filled_in(value, variables))}"
    for name, path in call.capture.items():
        try:
            found = at_path(document, path)
        except LookupError:
            return f"nothing to capture at {path}"
        variables[name] = found if isinstance(found, str) else json.dumps(found)
    return ""


def _filled_in(value: Any, variables: dict[str, str]) -> Any:
    """`value` with the variables in its texts."""
    if isinstance(value, str):
        return filled(value, variables)
    if isinstance(value, list):
        return [_filled_in(one, variables) for one in value]
    if isinstance(value, dict):
        return {name: _filled_in(one, variables) for name, one in value.items()}
    return value
