#!/bin/sh
echo "bazel coverage needs tools that are not on this machine" >&2
exit 1
