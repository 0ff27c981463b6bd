"""How the allocator's code is compiled and its preload libraries are linked."""

load("@rules_cc//cc:defs.bzl", "cc_binary", "cc_library")
load(":levels.bzl", "DEFAULT_LEVEL")

# The allocator runs below libstdc++ and inside malloc: nothing may need the C++
# runtime, a lazy binding, or TLS that ld.so allocates on first use.
#
# Unwind tables stay: an exception thrown for operator new passes through the
# allocator's frames. With them a frame pointer serves nobody, so the fast paths
# do without.
#
# The language is named here too: .bazelrc counts for nothing in a workspace that
# depends on this one.
_COPTS = [
    "-D_GLIBCXX_NO_ASSERTIONS",
    "-fno-builtin-calloc",
    "-fno-builtin-free",
    "-fno-builtin-malloc",
    "-fno-builtin-realloc",
    "-fno-exceptions",
    "-fno-plt",
    "-fno-rtti",
    "-fno-threadsafe-statics",
    "-fomit-frame-pointer",
    "-fstack-clash-protection",
    "-fstack-protector",
    "-ftls-model=initial-exec",
    "-fvisibility-inlines-hidden",
    "-fvisibility=hidden",
    "-std=c++20",
]

# What processors and compilers do for the allocator's own code, where they can:
# indirect calls land on endbr64 and returns are checked (CET), libc's calls know
# the sizes of buffers.
_PROTECTION_COPTS = select({
    "@platforms//cpu:x86_64": ["-fcf-protection=full"],
    "//conditions:default": [],
}) + select({
    "//tools/bazel:optimized": [
        "-U_FORTIFY_SOURCE",
        "-D_FORTIFY_SOURCE=2",
    ],
    "//conditions:default": [],
})

ALLOCATOR_COPTS = _COPTS + _PROTECTION_COPTS

def policy_copts(level):
    """The copts of code that is compiled once per level, for policies/<level>.h."""
    return header_policy_copts(
        "policies/%s.h" % level,
        "hardened::policies::" + level.capitalize(),
        level,
    )

def header_policy_copts(header, type, nearest_level = DEFAULT_LEVEL):
    """The copts of code that is compiled for the policy `type` in `header`.

    Args:
      header: from the root of the workspace.
      type: with its namespace.
      nearest_level: whose settings have an effect with this policy.
    """
    return _policy_copts(header, type, nearest_level, "true")

def dispatching_policy_copts():
    """The copts of the code that has all levels and lets the process choose."""
    return _policy_copts(
        "hardened/shim/dispatched_heap.h",
        "hardened::shim::ByEnvironment",
        DEFAULT_LEVEL,
        "false",
    )

def _policy_copts(header, type, level, fixed):
    return _COPTS + [
        '-DHARDENED_POLICY_HEADER=\\"%s\\"' % header,
        "-DHARDENED_ACTIVE_POLICY=" + type,
        "-DHARDENED_BUILD_LEVEL=k" + level.capitalize(),
        "-DHARDENED_FIXED_LEVEL=" + fixed,
    ]

_MALLOC_DEPS = [
    "//hardened:api",
    "//hardened:protections",
    "//hardened/core",
    "//hardened/prim",
    "//policies:engine",
    "@com_google_absl//absl/base:core_headers",
]

def malloc_library(name, copts, policy, preload = None, srcs = [], tags = [], visibility = None):
    """The malloc family as malloc_<name>, and lib<preload>.so for LD_PRELOAD.

    Args:
      name: the policy's name.
      copts: policy_copts or header_policy_copts; the protections come on top.
      policy: the cc_library with the policy's header.
      preload: hardened_<name> when None.
      srcs: besides those of every such library.
      tags: of every target.
      visibility: of malloc_<name>.
    """

    # What is the same in a program and in a preloaded library.
    _malloc_part("malloc_core_" + name, ["//hardened/shim:malloc_sources"] + srcs, copts, policy, tags)

    # operator new and delete: a new handler may throw through the nothrow forms.
    _malloc_part(
        "new_delete_" + name,
        ["//hardened/shim:new_delete_sources"],
        copts + ["-fexceptions"],
        policy,
        tags,
    )
    both = [":malloc_core_" + name, ":new_delete_" + name]

    _malloc_part(
        "malloc_" + name,
        ["//hardened/shim:linked_sources"],
        copts + ["-fexceptions"],
        policy,
        tags,
        deps = both,
        visibility = visibility,
    )

    _malloc_part(
        "preloaded_" + name,
        ["//hardened/shim:preloaded_sources"],
        copts + ["-fexceptions"],
        policy,
        tags,
        deps = both,
    )

    # First of all its constructors register the fork handlers, so that the prepare handlers of
    # others, which may allocate, run before. One object in a process can have the flag.
    hardened_preload_library(
        name = preload or "hardened_" + name,
        dep = ":preloaded_" + name,
        linkopts = ["-Wl,-z,initfirst"],
        tags = tags,
    )

def _malloc_part(name, srcs, copts, policy, tags, deps = [], visibility = None):
    cc_library(
        name = name,
        srcs = srcs + ["//hardened/shim:headers"],
        copts = copts + _PROTECTION_COPTS,
        linkstatic = True,
        tags = tags,
        visibility = visibility,
        deps = _MALLOC_DEPS + [policy] + deps,
        alwayslink = True,
    )

_VERSION_SCRIPT = "//hardened/shim:exported_symbols.lds"

def hardened_preload_library(name, dep, linkopts = [], tags = [], version_script = _VERSION_SCRIPT):
    """Links lib<name>.so for LD_PRELOAD; building //pkg:all checks what it needs.

    Args:
      name: the library's name, without "lib" and ".so".
      dep: the cc_library (alwayslink) with what it exports.
      linkopts: besides those of every such library.
      tags: of the library.
      version_script: names what it exports.
    """
    so = "lib%s.so" % name

    # The version script's node must be anonymous: a named one would export
    # malloc@@NODE, which no program asks for. bfd, because gold leaks local TLS
    # symbols into .dynsym. --as-needed lands before the toolchain's -lstdc++ -lm
    # and drops both.
    #
    # The mark for CET has to be forced, because Debian's crti.o and pthread_atfork
    # lack the note. Both are only called directly once there is no DT_INIT and no
    # DT_FINI, which names that nothing defines leave out; their code is empty.
    cc_binary(
        name = so,
        additional_linker_inputs = [version_script],
        features = ["-supports_start_end_lib"],  # gold's and lld's option alone
        linkopts = [
            "-fuse-ld=bfd",
            "-Wl,--version-script=$(location %s)" % version_script,
            "-Wl,-soname," + so,
            "-Wl,-z,now",
            "-Wl,-z,relro",
            "-Wl,-z,defs",
            "-Wl,-z,nodelete",
            "-Wl,-init=hardened_no_init",
            "-Wl,-fini=hardened_no_fini",
            "-Wl,--as-needed",
        ] + linkopts + select({
            "@platforms//cpu:x86_64": [
                "-Wl,-z,ibt",
                "-Wl,-z,shstk",
            ],
            "//conditions:default": [],
        }),
        linkshared = True,
        linkstatic = True,
        tags = ["nosan"] + tags,
        visibility = ["//visibility:public"],
        deps = [dep],
    )

    # Fails when the library needs more than libc.
    native.genrule(
        name = "lib%s_needed" % name,
        srcs = [so],
        outs = ["lib%s.needed" % name],
        cmd = """
readelf -d $(location {so}) | sed -n 's/.*(NEEDED).*\\[\\(.*\\)\\]/\\1/p' > $@
test "$$(cat $@)" = libc.so.6 || {{ echo "{so} needs:" $$(cat $@) >&2; exit 1; }}
""".format(so = so),
        tags = ["nosan"] + tags,
        visibility = ["//visibility:public"],
    )
