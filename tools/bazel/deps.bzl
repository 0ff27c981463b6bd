"""The repositories that Bazel 4 needs to build the allocator, from the disk alone.

For WORKSPACE, here and in projects that depend on this one; newer Bazel reads
MODULE.bazel. A repository that is there under its name stays as it is.
"""

load("//tools/bazel/debian:absl.bzl", "debian_absl")

def _stub_impl(ctx):
    # A folder of this package's repository, wherever that is: a consumer cannot
    # know the path that local_repository would need. Not by a label of its own,
    # because .bazelignore hides the folder here.
    folder = ctx.path(Label("//tools/bazel:deps.bzl")).dirname.get_child("bazel4").get_child(ctx.attr.folder)
    for child in folder.readdir():
        ctx.symlink(child, child.basename)

_stub = repository_rule(
    implementation = _stub_impl,
    attrs = {"folder": attr.string(mandatory = True)},
    local = True,
)

def hardened_dependencies():
    """What @hardened//:hardened and the preload libraries are built with."""

    # What Bazel 4 itself would otherwise fetch.
    for name in ["rules_cc", "rules_java", "remote_coverage_tools"]:
        if not native.existing_rule(name):
            _stub(name = name, folder = name)
    if not native.existing_rule("com_google_absl"):
        debian_absl(name = "com_google_absl")

def hardened_test_dependencies():
    """What the tests and tools of this repository need beyond that."""
    if not native.existing_rule("com_google_googletest"):
        native.new_local_repository(
            name = "com_google_googletest",
            build_file = "@hardened//tools/bazel/debian:googletest.BUILD",
            path = "/usr/src/googletest",
        )
    if not native.existing_rule("com_github_nlohmann_json"):
        native.new_local_repository(
            name = "com_github_nlohmann_json",
            build_file = "@hardened//tools/bazel/debian:nlohmann_json.BUILD",
            path = "/usr/include/nlohmann",
        )
