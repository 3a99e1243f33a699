"""requirements.lock pins what requirements.txt asks for, each file by its hash; docs/licences.md names the licences."""

import re
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
HERE = {
    "sys_platform": "linux",
    "platform_machine": "x86_64",
    "python_version": "3.11",
    "python_full_version": "3.11.9",
}


def locked():
    """Each package of the lock: its requirement, and the hashes of its files."""
    entries = re.split(r"\n(?=[A-Za-z0-9])", (ROOT / "requirements.lock").read_text(encoding="utf-8"))[1:]
    for entry in entries:
        head, _, rest = entry.partition(" \\\n")
        yield Requirement(head), re.findall(r"--hash=sha256:([0-9a-f]{64})\b", rest)


def asked(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and line[0] not in "#-"]


def test_every_requirement_is_pinned_to_one_version():
    for requirement in (*asked("requirements.txt"), *asked("requirements-dev.txt")):
        assert re.fullmatch(r"==[\w.]+", str(requirement.specifier)), requirement


def test_the_lock_holds_what_is_asked_for_and_a_hash_of_every_file():
    found = {canonicalize_name(each.name): (str(each.specifier), hashes) for each, hashes in locked()}
    assert all(hashes and specifier.startswith("==") for specifier, hashes in found.values())
    for requirement in asked("requirements.txt"):
        assert found[canonicalize_name(requirement.name)][0] == str(requirement.specifier)


def test_the_licence_of_every_package_is_named():
    text = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\w.-]+) \| ([\w.]+) \| (.+) \|$", text, re.M)
    named = {(canonicalize_name(name), f"=={version}") for name, version, licence in rows if licence.strip()}
    needed = {
        (canonicalize_name(each.name), str(each.specifier))
        for each, _ in locked()
        if each.marker is None or each.marker.evaluate(HERE)
    }
    assert len(needed) > 80 and needed - named == set()
    assert not re.search(r"\| [^|]*(AGPL|GPL|UNKNOWN)[^|]*\|$", text, re.M)


def test_no_package_is_older_than_the_release_that_mended_a_known_hole():
    text = (ROOT / "docs" / "vulnerabilities.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\w.-]+) \| .+ \| .+ \| ([\d.]+) \| ([\d.]+) \|$", text, re.M)
    here = {canonicalize_name(each.name): str(each.specifier).removeprefix("==") for each, _ in locked()}
    assert len(rows) >= 8
    for name, mended, told in rows:
        assert here[canonicalize_name(name)] == told and Version(told) >= Version(mended), name
