"""The parts of the binary, as CycloneDX 1.5: `cargo metadata` on standard input, the list on standard output."""

import json
import sys

version, commit = sys.argv[1:3]
metadata = json.load(sys.stdin)
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
packages = {package["id"]: package for package in metadata["packages"]}

# What the binary is linked from: dependencies of tests and of build scripts are no part of it.
found, todo = set(), [metadata["resolve"]["root"]]
while todo:
    one = todo.pop()
    if one not in found:
        found.add(one)
        kinds = lambda dep: {kind["kind"] for kind in dep["dep_kinds"]}
        todo.extend(dep["pkg"] for dep in nodes[one]["deps"] if None in kinds(dep))


def component(package):
    name, number = package["name"], package["version"]
    part = {"type": "library", "name": name, "version": number, "purl": f"pkg:cargo/{name}@{number}"}
    if package.get("license"):
        part["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    return part


root = metadata["resolve"]["root"]
parts = sorted((component(packages[one]) for one in found if one != root), key=lambda part: part["purl"])
print(json.dumps({
    "bomFormat": "CycloneDX",
    "specVersion": "1.5",
    "version": 1,
    "metadata": {"component": {"type": "application", "name": "coordinator", "version": version,
                               "properties": [{"name": "commit", "value": commit}]}},
    "components": parts,
}, indent=1))
