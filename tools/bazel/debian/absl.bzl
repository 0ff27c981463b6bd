"""@com_google_absl from Debian's libabsl-dev: same labels, prebuilt archives."""

# package -> targets the project uses. Header-only ones link nothing.
_HEADER_ONLY = {
    "absl/base": ["config", "core_headers", "prefetch"],
    "absl/meta": ["type_traits"],
    "absl/numeric": ["bits"],
    "absl/strings": ["string_view"],
    "absl/types": ["span", "optional"],
    "absl/utility": ["utility"],
    "absl/functional": ["function_ref"],
    "absl/cleanup": ["cleanup"],
}
_LINKED = {
    "absl/base": ["base", "raw_logging_internal", "log_severity"],
    "absl/container": ["flat_hash_map", "flat_hash_set", "inlined_vector", "fixed_array", "btree"],
    "absl/debugging": ["stacktrace", "symbolize", "failure_signal_handler"],
    "absl/flags": ["flag", "parse", "usage", "commandlineflag", "marshalling", "reflection"],
    "absl/hash": ["hash"],
    "absl/numeric": ["int128"],
    "absl/random": ["random", "bit_gen_ref"],
    "absl/status": ["status", "statusor"],
    "absl/strings": ["strings", "str_format", "cord"],
    "absl/synchronization": ["synchronization"],
    "absl/time": ["time"],
}

def _impl(ctx):
    libdir = ""
    for d in ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"]:
        if ctx.path(d + "/libabsl_base.a").exists:
            libdir = d
    if not libdir:
        fail("libabsl-dev is not installed (apt-get install libabsl-dev)")
    archives = sorted([
        str(p)
        for p in ctx.path(libdir).readdir()
        if p.basename.startswith("libabsl_") and p.basename.endswith(".a") and
           "random_internal_distribution_test_util" not in p.basename
    ])
    ctx.file("BUILD", "\n".join([
        'load("@rules_cc//cc:defs.bzl", "cc_library")',
        'package(default_visibility = ["//visibility:public"])',
        "# The headers are in /usr/include, which the toolchain already searches.",
        'cc_library(name = "headers")',
        'cc_library(name = "absl", linkopts = ["-Wl,--start-group"] + %r + ["-Wl,--end-group", "-pthread"])' % archives,
    ]) + "\n")
    for pkg in depset(_HEADER_ONLY.keys() + _LINKED.keys()).to_list():
        lines = ['package(default_visibility = ["//visibility:public"])']
        for t in _HEADER_ONLY.get(pkg, []):
            lines.append('alias(name = "%s", actual = "//:headers")' % t)
        for t in _LINKED.get(pkg, []):
            lines.append('alias(name = "%s", actual = "//:absl")' % t)
        ctx.file(pkg + "/BUILD", "\n".join(lines) + "\n")

debian_absl = repository_rule(implementation = _impl, local = True, configure = True)
