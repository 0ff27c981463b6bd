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
