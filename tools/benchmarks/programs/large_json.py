"""Reads JSON into a heap of many small objects, goes through them, and replaces a part of them.

Argument: the number of records; 40,000 take about 100 MB.
"""

import json
import sys

COUNT = int(sys.argv[1])


def text_of(first):
    return json.dumps([
        {"id": i, "name": f"name {i}", "tags": [f"tag {(i * j) % 97}" for j in range(5)],
         "place": {"street": f"{i % 999} street", "zip": i * 7919 % 99991, "at": [i / 3, i / 7]}}
        for i in range(first, first + COUNT // 4)])


def total(people):
    sizes = 0
    for person in people:
        sizes += person["id"] + len(person["name"]) + person["place"]["zip"]
        for tag in person["tags"]:
            sizes += len(tag)
    return sizes


people = []
for part in range(4):
    people += json.loads(text_of(part * COUNT))
print(*(total(people) for _ in range(4)))
people = [person for person in people if person["place"]["zip"] % 4]
people += json.loads(text_of(5 * COUNT))
print(*(total(people) for _ in range(4)), len(json.dumps(people)))
