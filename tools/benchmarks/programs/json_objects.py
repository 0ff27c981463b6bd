"""Builds, writes and reads JSON of many small objects."""

import hashlib
import json

people = [{"id": i, "name": f"name {i}", "tags": [f"tag{(i * j) % 97}" for j in range(5)],
           "place": {"street": f"{i % 999} street", "zip": i * 7919 % 99991, "at": [i / 3, i / 7]}}
          for i in range(20_000)]
for _ in range(2):
    text = json.dumps(people)
    people = json.loads(text)
by_zip = {}
for person in people:
    by_zip.setdefault(person["place"]["zip"] % 1000, []).append(dict(person, copy=True))
text = json.dumps(by_zip, indent=1)
print(len(text), hashlib.sha256(text.encode()).hexdigest())
