"""One fuzzer, three engines: replay of a corpus (plain build), libFuzzer, AFL++."""

load("@rules_cc//cc:defs.bzl", "cc_binary", "cc_test")

def fuzzer(name, srcs, corpus, deps, copts = [], test_tags = []):
    """Defines the fuzzer NAME and its test NAME_replay.

    Args:
      name: the fuzzer; tools/fuzz finds it as //fuzzers:NAME.
      srcs: the sources, with LLVMFuzzerTestOneInput.
      corpus: the inputs; one test case each.
      deps: the libraries, without the engine.
      copts: further options of the compiler.
      test_tags: tags of the test.
    """
    cc_binary(
        name = name,
        testonly = True,
        srcs = srcs,
        copts = copts,
        linkstatic = True,
        tags = ["fuzzer"],
        deps = deps + ["//fuzzers:engine"],
    )
    cc_test(
        name = name + "_replay",
        size = "small",
        srcs = srcs,
        args = ["$(rootpath %s)" % file for file in corpus],
        copts = copts,
        data = corpus,
        linkstatic = True,
        tags = test_tags,
        deps = deps + ["//fuzzers:replay_main"],
    )

def backed_fuzzer(name, srcs, corpus = [], copts = [], planted = False):
    """Defines the fuzzer NAME, whose malloc is //fuzzers/backing_allocator.

    tools/fuzz builds it without a sanitizer: --config=backed_libfuzzer, backed_afl. Only `srcs` are
    watched by the engine. For the plain build there is NAME_replay_binary, which runs the inputs
    that it is given, and NAME_replay, its test.

    Args:
      name: the fuzzer.
      srcs: the sources, with LLVMFuzzerTestOneInput.
      corpus: the inputs of the test; none: no test.
      copts: further options of the compiler.
      planted: its bug is there to be found: "tools/fuzz planted" expects a crash.
    """
    backing = ["//fuzzers/backing_allocator", "//fuzzers/backing_allocator:api"]
    watched = select({
        "//fuzzers:afl": ["-fsanitize-coverage=trace-pc-guard"],
        "//fuzzers:libfuzzer": ["-fsanitize=fuzzer-no-link"],
        "//conditions:default": [],
    })
    cc_binary(
        name = name,
        testonly = True,
        srcs = srcs,
        copts = copts + watched,
        linkopts = ["-pthread"],
        linkstatic = True,
        tags = ["nosan", "planted_fuzzer" if planted else "backed_fuzzer"],
        deps = backing + ["//fuzzers:engine"],
    )
    cc_binary(
        name = name + "_replay_binary",
        testonly = True,
        srcs = srcs,
        copts = copts,
        linkopts = ["-pthread"],
        linkstatic = True,
        tags = ["nosan"],
        deps = backing + ["//fuzzers:replay_main"],
    )
    if corpus:
        cc_test(
            name = name + "_replay",
            size = "small",
            srcs = srcs,
            args = ["$(rootpath %s)" % file for file in corpus],
            copts = copts,
            data = corpus,
            linkopts = ["-pthread"],
            linkstatic = True,
            tags = ["nosan"],
            deps = backing + ["//fuzzers:replay_main"],
        )
