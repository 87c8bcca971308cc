"""Ansible doing the nearest to one batch: an artifact is copied, a link is switched, a handler restarts nothing.

Its hosts are this machine (`connection: local`): no login, no network, so what is left is what it takes to order the
work. It has what favours it: no facts, pipelining, a fork for every host, and no work on the nodes beside the three
tasks.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - name: the artifact is there
      ansible.builtin.copy: {src: "{{ artifact }}", dest: "{{ folder }}/artifact-{{ version }}"}
    - name: it is what serves
      ansible.builtin.file: {src: "artifact-{{ version }}", dest: "{{ folder }}/current", state: link}
      notify: restart
  handlers:
    - name: restart
      ansible.builtin.command: "true"
"""
CONFIG = """
[defaults]
host_key_checking = false
retry_files_enabled = false
[ssh_connection]
pipelining = true
"""
ARTIFACT_BYTES = 1000


class Absent(Exception):
    """Ansible is not installed; says what to do."""


def playbook(program: Path, folder: Path, nodes: int, rounds: int) -> dict[str, Any]:
    """The seconds and CPU seconds of one run over all nodes, and the median of `rounds`.

    Raises:
        Absent: there is no `program`.
    """
    if not program.exists():
        raise Absent(f"expected {program}, found nothing; `make bench-scale` installs it")
    hosts = {f"node-{number}": _host(folder / "nodes" / f"node-{number}") for number in range(nodes)}
    (folder / "artifact").write_bytes(os.urandom(ARTIFACT_BYTES))
    (folder / "playbook.yml").write_text(PLAYBOOK)
    (folder / "ansible.cfg").write_text(CONFIG)
    (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    found = [_run(program, folder, nodes, version) for version in range(rounds)]
    return {
        "nodes": nodes,
        "rounds_s": [seconds for seconds, _ in found],
        "s": statistics.median(seconds for seconds, _ in found),
        "cpu_s": statistics.median(cpu for _, cpu in found),
    }


def _host(folder: Path) -> dict[str, str]:
    folder.mkdir(parents=True)
    return {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "folder": str(folder),
    }


def _run(program: Path, folder: Path, nodes: int, version: int) -> tuple[float, float]:
    command = [str(program), "-i", "hosts.json", "--forks", str(nodes), "playbook.yml"]
    command += ["-e", json.dumps({"artifact": str(folder / "artifact"), "version": version})]
    before, began = _children_s(), time.monotonic()
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "ANSIBLE_HOME": str(folder / "home"), "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    took = time.monotonic() - began
    if done.returncode:
        raise SystemExit(f"expected the playbook to succeed, found\n{done.stdout}{done.stderr}")
    for number in range(nodes):
        current = (folder / "nodes" / f"node-{number}" / "current").readlink()
        if current != Path(f"artifact-{version}"):
            raise SystemExit(f"expected node-{number} at artifact-{version}, found {current}")
    return took, _children_s() - before


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
