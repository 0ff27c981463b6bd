// environment: the process environment without the C library, and exact parsing of its values.
//
// malloc may be called before libc has set `environ`, and getenv(), strtol() are not usable then.
//
// Threads: reading the environment races with setenv() of the program, as getenv() does; read it
// once, early. The parsers are pure.

#ifndef HARDENED_PRIM_ENVIRONMENT_H_
#define HARDENED_PRIM_ENVIRONMENT_H_

#include <cstdint>
#include <string_view>

namespace hardened::prim {

// Returns: the value of the first "name=value" in `envp` (ends with a null pointer; may be null),
// or a view whose data() is null if there is none. An empty value has a data() that is not null.
// The view points into the environment.
std::string_view FindEnvironment(std::string_view name, const char* const* envp);

// Returns: `environ` when libc has set it, else what the kernel put above the stack's first frame
// (glibc's __libc_stack_end), else null.
const char* const* ProcessEnvironment();

// The environment in the block argc, argv, null, envp, null that the kernel leaves on the stack.
// Returns: its start; null if the block does not look like one. Reads no further than the
// block's first implausible word.
const char* const* EnvironmentFromStackBlock(const void* block);

// Whether the kernel asks for secure execution (AT_SECURE: set-uid, file capabilities, ...). Then
// the environment is the attacker's. Keeps errno.
bool RunsWithRaisedPrivileges();

// Decimal digits, then optionally one of K, M, G (either case; powers of 1024). Nothing else: no
// sign, space or empty text.
// Returns: false, and leaves *value alone, if `text` is anything else or exceeds 64 bits.
bool ParseUnsigned(std::string_view text, uint64_t* value);

// Exactly 1, on, true, yes or 0, off, false, no, in either case.
// Returns: false, and leaves *value alone, if `text` is anything else.
bool ParseBoolean(std::string_view text, bool* value);

}  // namespace hardened::prim

#endif  // HARDENED_PRIM_ENVIRONMENT_H_
