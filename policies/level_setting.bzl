"""A build setting with a list of values, as bazel_skylib's string_flag, which Debian has not."""

def _level_setting_impl(ctx):
    if ctx.build_setting_value not in ctx.attr.values:
        fail("%s: no such level: %s (known: %s)" % (
            ctx.label,
            ctx.build_setting_value,
            ", ".join(ctx.attr.values),
        ))

level_setting = rule(
    implementation = _level_setting_impl,
    build_setting = config.string(flag = True),
    attrs = {"values": attr.string_list(mandatory = True)},
    doc = "One of `values`; anything else fails the build.",
)
